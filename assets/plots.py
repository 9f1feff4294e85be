"""One picture for each table where a picture helps, as Markdown with the PNG inside, for the Dagster UI.

A plot reads the staged rows from the view ``batch``, and tables already published from views of their names.
"""

import base64
import io
from collections.abc import Callable
from typing import Any, Final

import duckdb
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK: Final = "#33415c"
MARK: Final = "#e07a5f"


def plot(con: duckdb.DuckDBPyConnection, table: str) -> str | None:
    """Markdown of the table's picture; None if it has none or there is nothing to show."""
    if table not in _PLOTS:
        return None
    figure = Figure(figsize=(7, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    if not _PLOTS[table](con, axes):
        return None
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return f"![{table}](data:image/png;base64,{base64.b64encode(file.getvalue()).decode()})"


def _columns(con: duckdb.DuckDBPyConnection, query: str) -> list[list[Any]]:
    """Columns of a query's answer; empty if it has no rows."""
    return [list(column) for column in zip(*con.execute(query).fetchall(), strict=True)]


def _interactions(con: duckdb.DuckDBPyConnection, axes: Axes) -> bool:
    rows = _columns(con, """
        select event_date, count(*) from (select event_date from batch union all select event_date from interactions
            where event_date not in (select event_date from batch))
        group by event_date order by event_date desc limit 60
    """)  # fmt: skip
    if not rows:
        return False
    axes.bar(rows[0], rows[1], color=INK)
    axes.set(title="Events a day, the last 60 days with any", ylabel="events")
    axes.tick_params(axis="x", rotation=30)
    return True


def _quarantine(con: duckdb.DuckDBPyConnection, axes: Axes) -> bool:
    rows = _columns(con, "select reason, count(*) as n from batch group by reason order by n, reason")
    if not rows:
        return False
    axes.barh(rows[0], rows[1], color=MARK)
    axes.set(title="Rejected rows by reason", xlabel="rows")
    return True


def _item_frequency(con: duckdb.DuckDBPyConnection, axes: Axes) -> bool:
    rows = _columns(con, "select popularity_rank, num_events, is_frequent from batch order by popularity_rank")
    if not rows:
        return False
    ranks, counts, frequent = (np.asarray(column) for column in rows)
    axes.loglog(ranks[frequent], counts[frequent], ".", color=MARK, label="frequent")
    axes.loglog(ranks[~frequent], counts[~frequent], ".", color=INK, label="less frequent")
    axes.set(title="How often each item is met", xlabel="popularity rank", ylabel="events")
    axes.legend(frameon=False)
    return True


def _interval_uniformity(con: duckdb.DuckDBPyConnection, axes: Axes) -> bool:
    rows = _columns(con, "select log_gap_dispersion, is_uniform from batch where log_gap_dispersion is not null")
    if not rows:
        return False
    dispersion, uniform = (np.asarray(column) for column in rows)
    bins = np.linspace(0, float(np.quantile(dispersion, 0.99)) or 1, 50)
    axes.hist([dispersion[uniform], dispersion[~uniform]], bins.tolist(), stacked=True, color=[MARK, INK])
    axes.set(title="How even users' visits are", xlabel="dispersion of log gap (left: uniform)", ylabel="users")
    return True


def _training_runs(con: duckdb.DuckDBPyConnection, axes: Axes) -> bool:
    shown = False
    for chain, colour in (("evaluation", INK), ("serving", MARK)):
        rows = _columns(con, f"select step, loss from batch where chain = '{chain}' and loss is not null order by step")
        if rows:
            axes.plot(*rows, color=colour, label=chain)
            shown = True
    axes.set(title="Training loss", xlabel="step")
    if shown:
        axes.legend(frameon=False)
    return shown


def _metrics(con: duckdb.DuckDBPyConnection, axes: Axes) -> bool:
    rows = _columns(con, """
        select model, value, value - low, high - value from batch
        where metric = 'ndcg@10' and slice = 'users' and low is not null order by value
    """)  # fmt: skip
    if not rows:
        return False
    models, values, below, above = rows
    axes.barh(models, values, xerr=[below, above], color=INK, ecolor=MARK, capsize=4)
    axes.set(title="NDCG@10 on the next night, users, 95 % interval")
    return True


_PLOTS: Final[dict[str, Callable[[duckdb.DuckDBPyConnection, Axes], bool]]] = {
    "interactions": _interactions,
    "quarantine": _quarantine,
    "item_frequency": _item_frequency,
    "interval_uniformity": _interval_uniformity,
    "training_runs": _training_runs,
    "metrics": _metrics,
}
