from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from assets.gx_duckdb import MAX_BUFFERED_ROWS, BufferedDialect


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    engine = sa.create_engine("duckdb+buffered:///:memory:")
    yield engine
    engine.dispose()


def test_the_driver_is_the_buffered_dialect(engine: sa.Engine) -> None:
    assert isinstance(engine.dialect, BufferedDialect)
    assert engine.dialect.name == "duckdb"


def test_rows_outlive_their_connection(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        result = connection.execute(sa.text("select n, 'é' as text from range(3) as r(n)"))
        connection.execute(sa.text("select 'another query'"))
    assert result.mappings().fetchmany(2) == [{"n": 0, "text": "é"}, {"n": 1, "text": "é"}]
    assert result.fetchall() == [(2, "é")]


def test_a_statement_without_rows_runs(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("create table t as select 1 as a"))
        assert connection.execute(sa.text("select a from t where a > 1")).fetchall() == []


def test_too_many_rows_are_refused_not_cut(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        most = connection.execute(sa.text(f"select * from range({MAX_BUFFERED_ROWS})"))
        assert len(most.fetchall()) == MAX_BUFFERED_ROWS
        with pytest.raises(sa.exc.InvalidRequestError, match="more than 10000 rows"):
            connection.execute(sa.text(f"select * from range({MAX_BUFFERED_ROWS + 1})"))


def test_columns_of_a_view_are_named_in_order(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("create view v as select [1] as numbers, map {'a': 1} as counts, 'x' as \"A b\""))
        inspector = sa.inspect(connection)
        assert [column["name"] for column in inspector.get_columns("v")] == ["numbers", "counts", "A b"]
        assert inspector.get_pk_constraint("v")["constrained_columns"] == []


def test_times_are_in_utc(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert connection.execute(sa.text("select current_setting('TimeZone')")).scalar_one() == "UTC"
