"""A SQLAlchemy dialect for DuckDB that Great Expectations can read from.

Great Expectations fetches a result after it has closed the connection, and a DuckDB result does not outlive that. So
this dialect fetches the rows as soon as a statement has run. SQLAlchemy imports this module when an engine for
``DRIVER`` is made; nothing else imports it at the top of a file, as SQLAlchemy takes a while to load.
"""

from typing import Final

import duckdb_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGExecutionContext_psycopg2
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.exc import InvalidRequestError

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
    """DuckDB, with results that outlive their connection."""

    execution_ctx_cls = BufferedExecutionContext
    supports_statement_cache = False


registry.register(DRIVER, __name__, BufferedDialect.__name__)
