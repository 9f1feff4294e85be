"""What DuckDB complains of and a person can mend: a damaged file, too little memory, a full disk."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from pipelines.errors import InputError
from pipelines.store import Store
from pipelines.store_files import full_disk_is_told, hash_file

_PARQUET: Final = re.compile(r"""['"]([^'"]+\.parquet)['"]""")
_OF_FILES: Final = (duckdb.InvalidInputException, duckdb.IOException)
_OUR_MISTAKES: Final = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)


@contextmanager
def duckdb_errors_are_told(
    memory_limit: str, scratch: Path, find_damaged: Callable[[], Sequence[str]] = list
) -> Iterator[None]:
    """Turn such a complaint into an ``InputError``; any other one is a mistake of ours and goes through.

    DuckDB does not always name the file that it cannot read: then ``find_damaged`` looks for it.
    """
    with full_disk_is_told(scratch):
        try:
            yield
        except _OUR_MISTAKES:
            raise
        except duckdb.OutOfMemoryException as error:
            raise InputError(
                "DuckDB needs more memory than it may use",
                where="settings, [store] memory_limit",
                value=f"{memory_limit}: {str(error).splitlines()[0]}",
                allowed="about 1 GB for each thread",
                fix="raise store.memory_limit or lower store.threads, then run again: nothing was published",
            ) from error
        except duckdb.Error as error:
            named = _PARQUET.search(str(error)) if isinstance(error, _OF_FILES) else None
            damaged = [named.group(1)] if named else find_damaged()
            if not damaged:
                raise
            raise InputError(
                "a file of the store is damaged or missing",
                where=", ".join(damaged),
                value=str(error).splitlines()[0],
                allowed="the file as it was published; the manifest has its sha256",
                fix="restore it from a backup; or run the night again that wrote it, with ARGS='--night DAY'; or go "
                "back to a former state of the table with make rollback",
            ) from error


def damaged_files(store: Store) -> list[str]:
    """Local files of the tables as they are served that are not what was published; all of them are read."""
    tables = [table for manifest in store.manifests()[-1:] for table in manifest.tables]
    parts = [part for table in tables for part in store.parts(table)]
    local = {store.work / part.path: part.sha256 for part in parts if part.path.endswith(".parquet")}
    return [str(path) for path, digest in local.items() if path.exists() and hash_file(path) != digest]
