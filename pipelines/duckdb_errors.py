"""What DuckDB complains of and a person can mend: a damaged file, too little memory, a full disk."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from pipelines.errors import InputError
from pipelines.store_files import full_disk_is_told

_PARQUET: Final = re.compile(r"""['"]([^'"]+\.parquet)['"]""")


@contextmanager
def duckdb_errors_are_told(memory_limit: str, scratch: Path) -> Iterator[None]:
    """Turn such a complaint into an ``InputError``; any other one is a mistake of ours and goes through."""
    with full_disk_is_told(scratch):
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise InputError(
                "DuckDB needs more memory than it may use",
                where="settings, [store] memory_limit",
                value=f"{memory_limit}: {str(error).splitlines()[0]}",
                allowed="about 1 GB for each thread",
                fix="raise store.memory_limit or lower store.threads, then run again: nothing was published",
            ) from error
        except (duckdb.InvalidInputException, duckdb.IOException) as error:
            damaged = _PARQUET.search(str(error))
            if damaged is None:
                raise
            raise InputError(
                "a file of the store is damaged or missing",
                where=damaged.group(1),
                value=str(error).splitlines()[0],
                allowed="the file as it was published; the manifest has its sha256",
                fix="restore it from a backup; or run the night again that wrote it, with ARGS='--night DAY'; or go "
                "back to a former state of the table with make rollback",
            ) from error
