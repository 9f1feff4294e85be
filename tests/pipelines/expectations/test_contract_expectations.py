from collections.abc import Sequence
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import CONTRACTS, INTERACTIONS, QUARANTINE, RECOMMENDATIONS, SOURCE_FILES
from pipelines.expectations.contract_expectations import contract_expectations

from .both_ways import batch_of, found, proven
from .conftest import VALID_TABLES, Judge, Tables

_, NO_NULLS, UNIQUE_KEY = contract_expectations(INTERACTIONS)
LEAST, MOST = -(2**63), 2**63 - 1
ROW_NUMBERS = st.one_of(
    st.sampled_from([LEAST, -4096, -1, 0, 1, 4095, 4096, 4097, 8191, 8192, MOST]),
    st.integers(1, 6),
    st.integers(LEAST, MOST),
)
KEYS = st.tuples(st.sampled_from(["a.csv", "b.csv", ""]), ROW_NUMBERS)
KEYS_OR_NULLS = st.tuples(st.sampled_from(["a.csv", None]), st.one_of(st.none(), ROW_NUMBERS))
many = hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _with_keys(con: duckdb.DuckDBPyConnection, keys: Sequence[tuple[str | None, int | None]]) -> None:
    """A batch of one event for each key; every other event is of another partition."""
    event = VALID_TABLES["interactions"][0]
    dates = (event["event_date"], event["event_date"].replace(day=4))
    rows = [event | {"source_file": f, "source_row": r, "event_date": dates[n % 2]} for n, (f, r) in enumerate(keys)]
    batch_of(con, "interactions", rows)


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


@pytest.mark.parametrize(
    ("keys", "repeated"),
    [
        ([("a", 1), ("a", 2), ("b", 1), ("b", 2)], []),
        ([("a", 1), ("b", 2), ("a", 3), ("a", 1), ("a", 1)], [("a", 1, 3)]),
        ([("a", 7), ("a", 7), ("b", 7)], [("a", 7, 2)]),  # in two partitions
        ([("a", 4095), ("a", 4096), ("a", 8191), ("a", 8192)], []),
        ([("a", 4096), ("a", 1), ("a", 4096)], [("a", 4096, 2)]),
        ([("a", 1), ("a", 1), ("a", 3)], [("a", 1, 2)]),  # as many rows as there are numbers from 1 to 3
        ([("a", MOST), ("a", LEAST), ("a", MOST)], [("a", MOST, 2)]),
        ([("a", -1), ("a", 0), ("a", -1)], [("a", -1, 2)]),
        ([("a", None), ("a", None), (None, 1)], [("a", None, 2)]),
    ],
)
def test_repeated_keys_are_told_with_their_number(
    keys: list[tuple[str, int]], repeated: list[Any], con: duckdb.DuckDBPyConnection
) -> None:
    _with_keys(con, keys)
    assert found(con, UNIQUE_KEY) == repeated
    assert proven(con, UNIQUE_KEY) is (not repeated)


@many
@given(keys=st.lists(KEYS, min_size=1, max_size=12))
def test_the_proof_of_uniqueness_says_what_the_groups_say(
    con: duckdb.DuckDBPyConnection, keys: list[tuple[str, int]]
) -> None:
    _with_keys(con, keys)
    assert proven(con, UNIQUE_KEY) is (not found(con, UNIQUE_KEY)) is (len(set(keys)) == len(keys))


@many
@given(keys=st.lists(KEYS_OR_NULLS, max_size=8))
def test_nulls_in_a_key_prove_nothing_that_the_groups_deny(
    con: duckdb.DuckDBPyConnection, keys: list[tuple[str | None, int | None]]
) -> None:
    _with_keys(con, keys)
    assert not (proven(con, UNIQUE_KEY) and found(con, UNIQUE_KEY))


def test_only_keys_that_end_in_a_row_number_are_proved_by_bits() -> None:
    proved = {contract.name for contract in CONTRACTS.values() if contract_expectations(contract)[2].proof}
    assert proved == {INTERACTIONS.name, QUARANTINE.name}


@many
@given(nulls=st.lists(st.sets(st.sampled_from(INTERACTIONS.required), max_size=2), max_size=3))
def test_the_proof_of_no_nulls_says_what_the_rows_say(con: duckdb.DuckDBPyConnection, nulls: list[set[str]]) -> None:
    batch_of(con, "interactions", [VALID_TABLES["interactions"][0] | dict.fromkeys(columns) for columns in nulls])
    assert proven(con, NO_NULLS) is (not found(con, NO_NULLS)) is (not any(nulls))


@pytest.mark.parametrize("table", CONTRACTS)
def test_proofs_hold_for_a_valid_table(table: str, tables: Tables, con: duckdb.DuckDBPyConnection) -> None:
    batch_of(con, table, tables[table])
    proofs = [expectation for expectation in contract_expectations(CONTRACTS[table]) if expectation.proof]
    assert all(proven(con, expectation) for expectation in proofs)
    assert proofs


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
