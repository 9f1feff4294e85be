import duckdb
import pytest

from pipelines.contracts import CONTRACTS, INTERACTIONS, RECOMMENDATIONS, SOURCE_FILES
from pipelines.expectations.contract_expectations import contract_expectations

from .conftest import Judge, Tables


@pytest.mark.parametrize(
    ("table", "column"), [(contract.name, column) for contract in CONTRACTS.values() for column in contract.required]
)
def test_a_null_in_a_required_column_is_told(table: str, column: str, tables: Tables, judge: Judge) -> None:
    tables[table][0][column] = None
    assert "required_columns_are_never_null" in judge(table, tables)


def test_a_null_is_told_with_its_column_and_the_key_of_its_row() -> None:
    query = contract_expectations(INTERACTIONS)[1].arguments["unexpected_rows_query"]
    with duckdb.connect() as con:
        con.execute("create table batch as select * from (select " + _typed_nulls() + ")")
        con.execute("update batch set source_file = 'a.csv', source_row = 7, weight = 1, event_type = 'view'")
        rows = con.execute(query.replace("{batch}", "batch")).fetchall()
    assert rows == [("event_date, item_id, event_time", "a.csv", 7)]


def _typed_nulls() -> str:
    return ", ".join(
        f"null::{'bigint' if c.name == 'source_row' else 'varchar'} as {c.name}" for c in INTERACTIONS.columns
    )


@pytest.mark.parametrize("table", CONTRACTS)
def test_a_repeated_row_breaks_the_key(table: str, tables: Tables, judge: Judge) -> None:
    tables[table].append(tables[table][0])
    assert contract_expectations(CONTRACTS[table])[2].name in judge(table, tables)


def test_key_expectations_are_named_by_the_columns_that_tell_rows_of_a_partition_apart() -> None:
    assert contract_expectations(SOURCE_FILES)[2].name == "source_file_is_unique"
    assert contract_expectations(INTERACTIONS)[2].name == "source_file_and_source_row_are_unique_together"
    assert contract_expectations(RECOMMENDATIONS)[2].name == (
        "model_subject_type_subject_id_and_rank_are_unique_together"
    )


def test_columns_are_expected_in_the_order_of_the_contract() -> None:
    expectation = contract_expectations(INTERACTIONS)[0]
    assert expectation.arguments["column_list"][:3] == ["event_date", "user_id", "item_id"]
    assert "event_date, user_id, item_id" in expectation.meaning
