"""Small raw logs for the tests of the data half: settings, files of a day, nights run over them, tables read back."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CONTRACTS
from pipelines.log_stages import build_interactions, build_items, build_sessions
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.statistics_stages import (
    build_interval_uniformity,
    build_item_frequency,
    build_item_neighbours,
    build_metadata_vocabulary,
    build_training_sequences,
)
from pipelines.store import Store, Write

Row = dict[str, Any]
Read = Callable[..., list[tuple[Any, ...]]]
Stage = Callable[[Night], list[Write]]

DAY: Final = date(2026, 1, 1)
STAGES: Final[tuple[Stage, ...]] = (
    build_interactions,
    build_items,
    build_sessions,
    build_item_frequency,
    build_interval_uniformity,
    build_item_neighbours,
    build_metadata_vocabulary,
    build_training_sequences,
)
BASE: Final[Row] = {
    "events": {
        "path": "logs/{day}.csv",
        "format": "csv",
        "columns": {"user": "user", "session": "session", "item": "item", "time": "time"},
    },
    "nights": {"first": DAY},
}
KEPT: Final = ("source_files", "interactions", "quarantine", "item_observations", "sessions", "item_users")
SNAPSHOTS: Final = ("item_frequency", "interval_uniformity", "item_neighbours")
_run_numbers = count()


def day(number: int) -> date:
    """The day with this number; 0 is ``DAY``."""
    return DAY + timedelta(days=number)


def at(hour: float, number: int = 0) -> datetime:
    """A point in time: hours after midnight UTC of the day with this number."""
    return datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=number, hours=hour)


def settings_of(folder: Path, **sections: Any) -> Settings:
    """``BASE`` with changes; a mapping changes single keys of a mapping."""
    return Settings.model_validate(_merged(BASE, sections) | {"folder": folder})


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Row:
    both = {
        key: _merged(old[key], value) if isinstance(value, Mapping) and isinstance(old.get(key), Mapping) else value
        for key, value in new.items()
    }
    return {**old, **both}


def event(user: str | None, item: str | None, time: datetime | str | None, session: str | None = None) -> Row:
    """One raw row under the column names of ``BASE``."""
    return {"user": user, "session": session, "item": item, "time": str(time) if time else time}


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of equal keys as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def json_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv_line(values: Iterable[str]) -> str:
    """One CSV record in which every value is quoted."""
    return ",".join('"' + value.replace('"', '""') + '"' for value in values)


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file of a table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def put(folder: Path, name: str, content: bytes | Sequence[Mapping[str, Any]]) -> Path:
    """Write a raw file; rows become CSV."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else csv_bytes(content))
    return path


def put_log(folder: Path, number: int, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the log of the day with this number as CSV; without rows, a header alone."""
    name = f"logs/{day(number)}.csv"
    return put(folder, name, rows or (",".join(event(None, None, None)) + "\n").encode())


def run(settings: Settings, first: date, last: date | None = None, stages: Iterable[Stage] = STAGES) -> Store:
    """Run stages over one night, or over a range of days as one backfill, and publish each."""
    store = settings.open_store()
    night = Night(settings, store, first, last or first, f"run-{next(_run_numbers)}")
    for build in stages:
        store.publish(build(night))
    return store


def rows_of(store: Store, table: str, *columns: str, **range_: Any) -> list[Any]:
    """Published rows as tuples of the named columns (one column: its values; none: dicts), in stored order."""
    rows = [row for path in store.paths(store.parts(table, **range_)) for row in pq.read_table(path).to_pylist()]
    if not columns:
        return rows
    return [row[columns[0]] if len(columns) == 1 else tuple(row[c] for c in columns) for row in rows]


def newest(store: Store, table: str, *columns: str) -> list[Any]:
    """Rows of the newest partition of a table."""
    return rows_of(store, table, *columns, since=store.partitions(table)[-1])


def content(store: Store) -> dict[str, Any]:
    """What the tables say: those that are kept by day whole, snapshots as of the newest night, items by their ids."""
    vocabulary = rows_of(store, "metadata_vocabulary", "field", "token", "number")
    ids = {number: token for field, token, number in vocabulary if field == "item"}
    sequences = rows_of(store, "training_sequences")
    return {
        **{table: rows_of(store, table) for table in KEPT},
        **{table: newest(store, table) for table in SNAPSHOTS},
        "items": newest(store, "items", "item_id", "title", "is_listed"),
        "tokens": sorted((field, token) for field, token, _ in vocabulary),
        "numbers": sorted((field, number) for field, _, number in vocabulary),
        "training_sequences": [{**row, "item_numbers": [ids[n] for n in row["item_numbers"]]} for row in sequences],
    }


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Compare table by table, for a difference of all is hard to read."""
    assert set(one) == set(other)
    for table in one:
        assert one[table] == other[table], table


def state(store: Store) -> dict[str, list[tuple[str, str, int, str]]]:
    """Every published part by its content."""
    return {name: [(p.partition, p.slice, p.num_rows, p.sha256) for p in store.parts(name)] for name in CONTRACTS}
