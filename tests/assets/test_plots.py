import base64

import duckdb
import pytest

from assets.plots import plot

BATCHES = {
    "quarantine": "select * from (values ('too_late'), ('too_late'), ('missing_item')) as t(reason)",
    "item_frequency": "select i as popularity_rank, 9 // i num_events, i < 4 as is_frequent from range(1, 9) as t(i)",
    "interval_uniformity": "select i / 10 as log_gap_dispersion, i < 4 as is_uniform from range(9) as t(i)",
    "training_runs": "select 'serving' as chain, i as step, 1 / (i + 1) as loss from range(9) as t(i)",
    "metrics": "select 'popular' as model, 'ndcg@10' as metric, 'users' as slice, .2 as value, .1 as low, .3 as high",
}


@pytest.mark.parametrize("table", BATCHES)
def test_a_table_with_rows_has_a_png_of_its_own(table: str) -> None:
    with duckdb.connect() as con:
        con.execute(f"create view batch as {BATCHES[table]}")
        markdown = plot(con, table)
    assert markdown is not None
    label, _, rest = markdown.partition("](data:image/png;base64,")
    assert label == f"![{table}"
    assert base64.b64decode(rest.removesuffix(")")).startswith(b"\x89PNG")


@pytest.mark.parametrize("table", BATCHES)
def test_a_table_without_rows_has_no_picture(table: str) -> None:
    with duckdb.connect() as con:
        con.execute(f"create view batch as select * from ({BATCHES[table]}) where false")
        assert plot(con, table) is None


def test_events_a_day_join_the_staged_rows_with_published_days() -> None:
    with duckdb.connect() as con:
        con.execute("create view batch as select date '2026-01-03' as event_date from range(5)")
        con.execute("create view interactions as select date '2026-01-02' as event_date from range(3)")
        assert plot(con, "interactions") is not None


def test_a_table_that_no_picture_helps_has_none() -> None:
    with duckdb.connect() as con:
        assert plot(con, "items") is None
