"""Write a stream of rows into one Parquet file for each of their days.

Row groups have a fixed number of rows whatever the size of the batches that come in, so equal rows give equal files.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CONTRACTS
from pipelines.engine import ROW_GROUP_SIZE, part_path
from pipelines.store_files import full_disk_is_told


def write_days(tables: Iterable[pa.Table], table: str, folder: Path, slices: Mapping[date, str]) -> dict[date, Path]:
    """Write the rows of each day into its own file, in the order in which they come; rows of other days are dropped.

    ``slices`` has the days, each with the slice of its file. ``tables`` have the columns of the contract of ``table``.
    A day without rows gets a file without rows.
    """
    contract = CONTRACTS[table]
    paths = {day: part_path(folder, day, slice_) for day, slice_ in slices.items()}
    with full_disk_is_told(folder):
        files = {day: _DayFile(path, contract.schema) for day, path in paths.items()}
        for rows in tables:
            day_of_row = rows[contract.partition].to_numpy().astype("datetime64[D]")
            for day in np.unique(day_of_row).tolist():
                if day in files:
                    of_day = pa.array(day_of_row == np.datetime64(day))
                    files[day].add(rows.select(contract.column_names).filter(of_day))
        for file in files.values():
            file.close()
    return paths


class _DayFile:
    """One Parquet file that is written in row groups of equal size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def add(self, rows: pa.Table) -> None:
        """Take rows; write the row groups that are full."""
        self._waiting.append(rows.cast(self._schema))
        self._num_waiting += rows.num_rows
        while self._num_waiting >= ROW_GROUP_SIZE:
            self._write(ROW_GROUP_SIZE)

    def _write(self, num_rows: int) -> None:
        rows = pa.concat_tables(self._waiting)
        self._writer.write_table(rows.slice(0, num_rows).combine_chunks(), row_group_size=ROW_GROUP_SIZE)
        self._waiting, self._num_waiting = [rows.slice(num_rows)], rows.num_rows - num_rows

    def close(self) -> None:
        """Write what is left and end the file."""
        if self._num_waiting:
            self._write(self._num_waiting)
        self._writer.close()
