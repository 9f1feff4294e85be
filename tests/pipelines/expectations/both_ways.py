"""Ask an expectation both ways: what its proof says, and which rows its query finds."""

import duckdb
import pyarrow as pa

from pipelines.contracts import CONTRACTS
from pipelines.expectations import Expectation

from .conftest import Rows


def batch_of(con: duckdb.DuckDBPyConnection, table: str, rows: Rows) -> None:
    """Put the rows into the table ``asked``, which stands for the batch."""
    con.execute("set TimeZone = 'UTC'")
    con.register("given", pa.Table.from_pylist(rows, schema=CONTRACTS[table].schema))
    con.execute("create or replace temp table asked as from given")
    con.unregister("given")


def proven(con: duckdb.DuckDBPyConnection, expectation: Expectation) -> bool | None:
    """What the proof says about the batch; null is None, as is a value that is at the end of its type."""
    assert expectation.proof
    try:
        ((answer,),) = con.execute(expectation.proof.replace("{batch}", "asked")).fetchall()
    except (duckdb.ConversionException, duckdb.OutOfRangeException):
        return None
    assert answer in (True, False, None)
    return answer


def found(con: duckdb.DuckDBPyConnection, expectation: Expectation) -> list[tuple[object, ...]]:
    """The rows that the query finds in the batch."""
    return con.execute(expectation.arguments["unexpected_rows_query"].replace("{batch}", "asked")).fetchall()
