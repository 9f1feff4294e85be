"""Whether two results of a table are the same rows: in any order, numbers with fractions to a part in 10^9."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CONTRACTS, SUM, Contract
from pipelines.engine import identifier, quote_path, sql_type

TOLERANCE: Final = 1e-9


def difference(table: str, found: Sequence[Path | str], expected: Sequence[Path | str], lacks: Sequence[str]) -> str:
    """Say in which way the rows of ``found`` are not those of ``expected``; empty if they are.

    ``lacks`` are columns that ``found`` need not have.
    """
    contract = CONTRACTS[table]
    columns = [name for name in contract.column_names if name not in lacks]
    missing = [name for name in columns if any(name not in pq.read_schema(path).names for path in found)]
    if missing or not found:
        return f"{table}: no {', '.join(missing) or 'files'}"
    ours, theirs = (_ordered(contract, columns, paths) for paths in (found, expected))
    if ours.num_rows != theirs.num_rows:
        return f"{table}: {ours.num_rows} rows for {theirs.num_rows}"
    unlike = [name for name in columns if not _is_same(ours[name], theirs[name])]
    return f"{table}: other values in {', '.join(unlike)}" if unlike else ""


def _ordered(contract: Contract, columns: Sequence[str], paths: Sequence[Path | str]) -> pa.Table:
    """Rows in the types of the contract, ordered by the key, or by all that can be compared exactly if it is cut."""
    types = {column.name: column.type for column in contract.columns}
    casts = ", ".join(f"cast({identifier(name)} as {sql_type(types[name])}) as {identifier(name)}" for name in columns)
    exact = [name for name in columns if not _is_fraction(types[name])]
    by = ", ".join(map(identifier, contract.key if set(contract.key) <= set(columns) else exact))
    files = ", ".join(quote_path(path) for path in paths)
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        return con.sql(f"select {casts} from read_parquet([{files}]) order by {by}").to_arrow_table()


def _is_fraction(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or kind == SUM


def _is_same(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> bool:
    if not _is_fraction(ours.type):
        return ours.equals(theirs)
    left, right = (values.cast(pa.float64()).to_numpy() for values in (ours, theirs))  # null is nan
    return np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
