"""Data sets of a few rows in the form of the real ones."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2017, 10, 8, tzinfo=UTC)


def at(day: int, hour: float = 0) -> datetime:
    """An hour of a day; day 2 is 10 October 2017."""
    return START + timedelta(days=day, hours=hour)


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one Parquet file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(list(values)) for name, values in columns.items()}), path)


def write_set(data: Path, name: str, names: str, rows: Sequence[Sequence[Any]], **items: Sequence[Any]) -> Path:
    """Write a data set: the rows of its events under these column names, and its items; return its folder."""
    columns = dict(zip(names.split(), zip(*rows, strict=True), strict=True))
    write(data / name / "events.parquet", columns)
    write(data / name / "items.parquet", items or {"item_id": sorted(set(columns["item_id"]))})
    return data / name
