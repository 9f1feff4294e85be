"""The file of DuckDB views through which people read the store.

It is written anew when a night is complete and put in place by one ``os.replace``: until then, and if the night fails,
every view shows the night before, and a shell that has the file open blocks nothing.
"""

import os
from pathlib import Path
from typing import Final

import duckdb

from pipelines.contracts import CONTRACTS
from pipelines.engine import identifier, quote, scan_parts
from pipelines.errors import InputError
from pipelines.settings import Settings
from pipelines.store import Store

FILE_NAME: Final = "nightly.duckdb"


def write_views(store: Store, settings: Settings) -> Path:
    """Write one view a contract over absolute paths, and ``served_model``; return the path of the file.

    The view of a snapshot table shows its newest night; other tables are shown whole.
    """
    store.work.mkdir(parents=True, exist_ok=True)
    path, fresh = store.work / FILE_NAME, store.work / f".{FILE_NAME}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    with duckdb.connect(str(fresh)) as con:
        store.register(con)
        for name, contract in CONTRACTS.items():
            parts = store.parts(name)
            if contract.snapshot:
                parts = [part for part in parts if part.partition == parts[-1].partition]
            con.execute(f"create view {identifier(name)} as {scan_parts(store, name, parts)}")
            con.execute(f"comment on view {identifier(name)} is {quote(contract.grain)}")
        con.execute(f"create view served_model as select {quote(settings.recommendations.serve)} as model")
    os.replace(fresh, path)
    return path


def open_views(path: Path) -> duckdb.DuckDBPyConnection:
    """Open the file of views for reading. Raises ``InputError`` if no night was completed yet."""
    if not path.exists():
        raise InputError(
            "there is nothing to query yet",
            where=path,
            value="no such file",
            allowed="the file of views that a completed night writes",
            fix="run a night first: make run",
        )
    return duckdb.connect(str(path), read_only=True)
