"""What the Dagster UI shows of a table: its columns with their meaning, rows, a small sample, a picture."""

import html
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
import duckdb

from assets.plots import plot
from pipelines.contracts import Contract
from pipelines.engine import create_views

SAMPLE_ROWS: Final = 5
MAX_CELL: Final = 60


def column_schema(contract: Contract) -> dg.TableSchema:
    """Columns of a table as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type),
                description=column.meaning,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in contract.columns
        ]
    )


def table_metadata(
    con: duckdb.DuckDBPyConnection, contract: Contract, views: Mapping[str, str], *, with_plot: bool
) -> dict[str, Any]:
    """Rows, sample and, if asked for, picture of a staged table, which is the view ``batch`` of ``views``."""
    create_views(con, views)
    count = con.execute("select count(*) from batch").fetchone()
    assert count is not None
    metadata: dict[str, Any] = {
        "dagster/row_count": count[0],
        "sample": dg.MetadataValue.md(_sample(con, contract)),
    }
    if contract.name == "training_runs":
        metadata |= _figures_of_training(con)
    picture = plot(con, contract.name) if with_plot else None
    if picture:
        metadata["plot"] = dg.MetadataValue.md(picture)
    return metadata


def _figures_of_training(con: duckdb.DuckDBPyConnection) -> dict[str, float | int]:
    """Figures of a model's fit, which the UI draws over the nights; those that the model has none of are left out."""
    figures = con.execute("""
        select
            max(validation_metric) as best_validation_ndcg_10,
            max(epoch) filter (where chain = 'serving') as serving_epochs,
            arg_max(loss, step) filter (where chain = 'serving') as serving_loss,
            coalesce(max(seconds) filter (where chain = 'evaluation'), 0) as evaluation_seconds,
            max(seconds) filter (where chain = 'serving') as serving_seconds
        from batch
    """).fetchall()[0]
    names = [column[0] for column in con.description or ()]
    return {name: figure for name, figure in zip(names, figures, strict=True) if figure is not None}


def _sample(con: duckdb.DuckDBPyConnection, contract: Contract) -> str:
    rows = con.execute(f"select * from batch limit {SAMPLE_ROWS}").fetchall()
    names = contract.column_names
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """Text for a Markdown table: hostile titles must neither break the table nor become HTML."""
    text = "" if value is None else str(value)
    text = text if len(text) <= MAX_CELL else text[:MAX_CELL] + "..."
    escaped = html.escape(" ".join(text.split()))
    return "".join(f"\\{c}" if c in "\\`*_[]|~" else c for c in escaped)
