import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.expectations.expectation import Sql, column_list, no_rows, sql_literal


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_texts_come_back_from_duckdb_as_they_were(con: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    assert con.execute(f"select {sql_literal(texts)}::varchar[]").fetchall() == [(texts,)]


def test_literals_of_other_types() -> None:
    assert sql_literal([True, 2, 0.05, ["a"], Sql("x + 1")]) == "[True, 2, 0.05, ['a'], x + 1]"


def test_a_type_without_literal_is_refused() -> None:
    with pytest.raises(TypeError, match="no SQL literal for dict"):
        sql_literal({})


def test_columns_are_quoted() -> None:
    assert column_list(["rank", 'odd"name']) == '"rank", "odd""name"'


def test_values_enter_a_query_as_literals_and_the_batch_stays_open() -> None:
    expectation = no_rows("a_is_b", "\n select * from {batch} where a <> $b \n", "a is b", b="it's")
    assert expectation.arguments == {"unexpected_rows_query": "select * from {batch} where a <> 'it''s'"}
    assert (expectation.kind, expectation.severity) == ("UnexpectedRowsExpectation", "error")


def test_a_proof_takes_the_same_values_as_its_query() -> None:
    expectation = no_rows("a_is_b", "from {batch} where a <> $b", "a is b", proof="\n select max(a) = $b\n ", b="it's")
    assert expectation.proof == "select max(a) = 'it''s'"
    assert no_rows("a_is_b", "from {batch}", "a is b").proof == ""
