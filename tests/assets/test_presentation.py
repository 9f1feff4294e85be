import duckdb

from assets.presentation import column_schema, table_metadata
from pipelines.contracts import ITEMS, QUARANTINE, TRAINING_RUNS

HOSTILE = "select '<script>alert(1)</script> | [x](javascript:1)\n# **head**' as reason, repeat('y', 500) as raw_row"


def test_every_column_is_shown_with_its_meaning_and_whether_it_may_be_null() -> None:
    columns = {column.name: column for column in column_schema(ITEMS).columns}
    assert list(columns) == ITEMS.column_names
    assert columns["price"].description == "price in the shop's currency"
    assert columns["price"].constraints.nullable
    assert not columns["item_id"].constraints.nullable


def test_a_sample_shows_hostile_text_as_text_and_cuts_long_cells() -> None:
    batch = f"select date '2026-01-01' as file_date, 'f' as source_file, 1 as source_row, * from ({HOSTILE})"
    with duckdb.connect() as con:
        metadata = table_metadata(con, QUARANTINE, {"batch": batch}, with_plot=False)
    lines = metadata["sample"].value.splitlines()
    assert metadata["dagster/row_count"] == 1
    assert len(lines) == 3
    assert "<script>" not in lines[2]
    assert "[x](" not in lines[2]
    assert lines[2].replace("\\|", "").count("|") == len(QUARANTINE.columns) + 1
    assert "y" * 60 + "..." in lines[2]
    assert "y" * 61 not in lines[2]


def test_at_most_five_rows_are_a_sample() -> None:
    batch = (
        "select date '2026-01-01' as file_date, 'f' as source_file, i as source_row, 'r' as reason from range(9) t(i)"
    )
    with duckdb.connect() as con:
        metadata = table_metadata(con, QUARANTINE, {"batch": batch}, with_plot=False)
    assert metadata["dagster/row_count"] == 9
    assert len(metadata["sample"].value.splitlines()) == 2 + 5


def test_a_picture_is_made_only_where_it_is_asked_for() -> None:
    batch = f"select date '2026-01-01' as file_date, 'f' as source_file, 1 as source_row, * from ({HOSTILE})"
    with duckdb.connect() as con:
        for asked in (True, False):
            assert ("plot" in table_metadata(con, QUARANTINE, {"batch": batch}, with_plot=asked)) == asked


def test_a_fit_is_shown_with_figures_that_can_be_drawn_over_the_nights() -> None:
    rows = """
        select date '2026-01-01' as as_of_date, 'sasrec' as model, 'fit' as stage, 'h' as checkpoint_hash, *
        from (values
            ('evaluation', 10, 1, 3.5, 0.25, 1.5), ('evaluation', 20, 2, 3.0, 0.125, 3.0),
            ('serving', 10, 1, 3.25, null, 2.0)
        ) t(chain, step, epoch, loss, validation_metric, seconds)
    """
    with duckdb.connect() as con:
        metadata = table_metadata(con, TRAINING_RUNS, {"batch": rows}, with_plot=False)
    assert {name: float(metadata[name]) for name in metadata if name not in ("dagster/row_count", "sample")} == {
        "best_validation_ndcg_10": 0.25,
        "serving_epochs": 1,
        "serving_loss": 3.25,
        "evaluation_seconds": 3,
        "serving_seconds": 2,
    }


def test_a_model_without_a_loss_has_no_figure_of_one() -> None:
    rows = """
        select date '2026-01-01' as as_of_date, 'markov' as model, 'serving' as chain, 'fit' as stage, 1 as step,
            1 as epoch, null::double as loss, null::double as validation_metric, 0.5 as seconds, 'h' as checkpoint_hash
    """
    with duckdb.connect() as con:
        metadata = table_metadata(con, TRAINING_RUNS, {"batch": rows}, with_plot=False)
    assert "serving_loss" not in metadata
    assert metadata["serving_seconds"] == 0.5
