"""The local engine: DuckDB runs a query over Parquet and streams the result to Parquet, within a memory limit."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CONTRACTS, Contract
from pipelines.duckdb_errors import damaged_files, duckdb_errors_are_told
from pipelines.settings import Storage
from pipelines.store import Part, Store
from pipelines.store_files import full_disk_is_told, hash_file

ROW_GROUP_SIZE = 122_880


@contextmanager
def connect(
    settings: Storage, scratch: Path, find_damaged: Callable[[], Sequence[str]] = list
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB that spills to ``scratch`` instead of exceeding its memory limit; times are UTC.

    Within the block, what a person can mend is an ``InputError``: a damaged file, too little memory, a full disk.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(
        config={
            "memory_limit": settings.memory_limit,
            "threads": settings.threads,
            "temp_directory": str(scratch),
        }
    )
    try:
        con.execute("set TimeZone = 'UTC'")
        con.execute("set enable_progress_bar = false")  # DuckDB draws one on a terminal, through the lines of a run
        with duckdb_errors_are_told(settings.memory_limit, scratch, find_damaged):
            yield con
    finally:
        con.close()


@contextmanager
def connect_to(store: Store, settings: Storage, scratch: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB that reads the files of a store; it spills into the store's scratch folder if no other is named."""
    with connect(settings, scratch or store.scratch, partial(damaged_files, store)) as con:
        store.register(con)
        yield con


def quote(text: object) -> str:
    """A SQL string literal: the one way by which text from outside gets into a statement."""
    return "'" + str(text).replace("'", "''") + "'"


def quote_path(path: Path | str) -> str:
    """A SQL string literal of the path of one file; DuckDB would take some characters of it for a pattern."""
    return quote(re.sub(r"([\[*?])", r"[\1]", str(path)))


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def start_of_day(zone: str, day: date) -> str:
    """SQL of the first moment of a day in a zone.

    Where clocks go back over midnight (Azores, Cuba), midnight comes twice, and DuckDB alone would take the second one.
    """
    midnight = f"{quote(day)}::timestamp"
    instant = f"timezone({quote(zone)}, {midnight})"
    before = f"timezone({quote(zone)}, {instant} - to_microseconds(1))"
    return f"({instant} - to_microseconds(greatest(epoch_us({before}) + 1 - epoch_us({midnight}), 0)))"


def scan(contract: Contract, paths: Iterable[Path | str]) -> str:
    """SELECT over Parquet files of one table; without files, an empty relation of the same columns."""
    listed = ", ".join(quote_path(path) for path in paths)
    if not listed:
        columns = ", ".join(f"cast(null as {sql_type(c.type)}) as {identifier(c.name)}" for c in contract.columns)
        return f"select {columns} where false"
    return f"select * from read_parquet([{listed}], hive_partitioning = false)"


def scan_parts(store: Store, table: str, parts: Iterable[Part]) -> str:
    """SELECT over published parts of a table."""
    return scan(CONTRACTS[table], store.paths(parts))


def scan_table(store: Store, table: str, *, since: date | None = None, until: date | None = None) -> str:
    """SELECT over the published partitions of a table in a range of days."""
    return scan_parts(store, table, store.parts(table, since=since, until=until))


def create_views(con: duckdb.DuckDBPyConnection, views: Mapping[str, str]) -> None:
    """Name the input relations of a query."""
    for name, select in views.items():
        con.execute(f"create or replace temp view {identifier(name)} as {select}")


def write_part(
    con: duckdb.DuckDBPyConnection, select: str, table: str, folder: Path, partition: date, slice_: str = ""
) -> Path:
    """Stream one query into one Parquet file of a table; the schema is checked against the contract.

    The order of the query is the order of the file.
    """
    contract = CONTRACTS[table]
    path = part_path(folder, partition, slice_)
    columns = ", ".join(
        f"cast({identifier(c.name)} as {sql_type(c.type)}) as {identifier(c.name)}" for c in contract.columns
    )
    with full_disk_is_told(path):
        # Statistics would decide which columns Parquet calls required: equal rows would not be equal files.
        con.execute("set disabled_optimizers = 'statistics_propagation'")
        con.execute(
            f"copy (select {columns} from ({select})) to {quote(path)} "
            f"(format parquet, compression zstd, row_group_size {ROW_GROUP_SIZE})"
        )
        con.execute("reset disabled_optimizers")
    check_schema(contract, path)
    return path


def write_rows(rows: Sequence[Mapping[str, Any]], table: str, folder: Path, partition: date, slice_: str = "") -> Path:
    """Write a few rows, given as dicts, into one Parquet file of a table."""
    path = part_path(folder, partition, slice_)
    with full_disk_is_told(path):
        pq.write_table(pa.Table.from_pylist(list(rows), schema=CONTRACTS[table].schema), path, compression="zstd")
    return path


def part_path(folder: Path, partition: date, slice_: str) -> Path:
    """Where a run puts one part of a table."""
    return folder / f"{partition.isoformat()}{'_' if slice_ else ''}{slice_}.parquet"


def check_schema(contract: Contract, path: Path) -> None:
    """Assert that a file has the columns and types of its contract."""
    found = pq.read_schema(path)
    assert found.names == contract.column_names, f"{path}: columns {found.names}, contract {contract.column_names}"
    for field, column in zip(found, contract.columns, strict=True):
        assert field.type.equals(column.type), f"{path}: {field.name} is {field.type}, contract {column.type}"


def describe_part(store: Store, path: Path, partition: date, slice_: str = "") -> Part:
    """Entry of the manifest for a file that a run wrote."""
    return Part(
        partition=partition.isoformat(),
        slice=slice_,
        path=path.relative_to(store.work).as_posix(),
        num_rows=pq.read_metadata(path).num_rows,
        sha256=hash_file(path),
    )


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type of a contract."""
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"map({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    return _SQL_TYPES[kind]


_SQL_TYPES = {
    pa.string(): "varchar",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.date32(): "date",
    pa.int64(): "bigint",
    pa.int32(): "integer",
    pa.float64(): "double",
    pa.float32(): "float",
    pa.bool_(): "boolean",
    pa.decimal128(38, 0): "decimal(38, 0)",
}
