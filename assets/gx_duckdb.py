"""A SQLAlchemy dialect for DuckDB that Great Expectations can read from.

Great Expectations fetches a result after it has closed the connection, and a DuckDB result does not outlive that. So
this dialect fetches the rows as soon as a statement has run. SQLAlchemy imports this module when an engine for
``DRIVER`` is made; nothing else imports it at the top of a file, as SQLAlchemy takes a while to load.
"""

from typing import Any, Final

import duckdb_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGExecutionContext_psycopg2
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.types import NullType

DRIVER: Final = "duckdb.buffered"
MAX_BUFFERED_ROWS: Final = 10_000


class BufferedExecutionContext(PGExecutionContext_psycopg2):
    """Keep the rows of a statement in memory, so that they can be read when the connection is gone."""

    def post_exec(self) -> None:
        """Fetch the rows.

        Raises ``InvalidRequestError`` beyond ``MAX_BUFFERED_ROWS``: a cut result would be a wrong result.
        """
        super().post_exec()
        if self.cursor.description is None:
            return
        rows = self.cursor.fetchmany(MAX_BUFFERED_ROWS + 1)
        if len(rows) > MAX_BUFFERED_ROWS:
            raise InvalidRequestError(f"a query of a checkpoint returned more than {MAX_BUFFERED_ROWS} rows")
        self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
            self.cursor, alternate_description=self.cursor.description, initial_buffer=rows
        )


class BufferedDialect(duckdb_engine.Dialect):
    """DuckDB, with results that outlive their connection, and times in UTC.

    Columns are named without their types: ``duckdb_engine`` asks a catalogue of PostgreSQL that DuckDB imitates, which
    takes longer than all queries of a checkpoint over a small table and does not know lists.
    """

    execution_ctx_cls = BufferedExecutionContext
    supports_statement_cache = False

    def on_connect(self) -> Any:
        """Give what prepares a new connection."""
        return lambda connection: connection.execute("set TimeZone = 'UTC'")

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """Names of the columns of a view, in order."""
        rows = connection.exec_driver_sql(f"describe {self.identifier_preparer.quote(table_name)}")
        return [{"name": row[0], "type": NullType(), "nullable": True, "default": None} for row in rows]

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """Views have no key."""
        return {"constrained_columns": [], "name": None}


registry.register(DRIVER, __name__, BufferedDialect.__name__)
