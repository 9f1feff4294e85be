import duckdb

from assets.presentation import column_schema, table_metadata
from pipelines.contracts import ITEMS, QUARANTINE

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
