"""What the store says about its tables, as numbered JSON files that are written once.

``manifests/0000000042.json`` is one state of the store: for each table the name of the file in ``manifests/tables/``
that lists its parts. A table that did not change keeps its file. So a manifest is small, and a reader opens the lists
of the tables that it asks for, and no others.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pipelines.errors import InputError

MANIFEST_VERSION: Final = 2
MANIFESTS: Final = "manifests"
TABLES: Final = "manifests/tables"

T = TypeVar("T")


PERMANENT: Final = frozenset({"metadata_vocabulary"})
"""Tables that cannot be rolled back: the numbers that training data and checkpoints hold are given for ever."""
TOGETHER: Final = (
    ("source_files", "interactions", "quarantine", "item_observations"),
    ("item_frequency", "item_users"),
)
"""Tables that one stage writes and that would contradict each other if one of them went back alone."""


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table, or one folder of the pseudo-table ``checkpoints``.

    ``partition`` is the ISO date of its partition column; ``slice`` tells apart the writers that share a partition
    (the day of the raw file for ``interactions``, the model for ``recommendations``, Beam's buckets), or from what a
    part was made: a hash of rules and events. ``version`` is the number of the manifest that published it; ``publish``
    sets it.
    """

    partition: str
    slice: str
    path: str
    num_rows: int
    sha256: str
    version: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What it is a part of: partition and slice."""
        return self.partition, self.slice


@dataclass(frozen=True)
class Manifest:
    """One state of the store: for each table the name of the file that lists its parts."""

    number: int
    time: datetime
    run: str
    changed: tuple[str, ...]
    tables: Mapping[str, str]


@dataclass(frozen=True)
class TableState:
    """The parts of one table, as manifest ``version`` published them."""

    version: int
    time: datetime
    run: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Publication:
    """One change of a table: when, by which run, in which partitions; and how many rows it had from then on."""

    version: int
    time: datetime
    run: str
    partitions: tuple[str, ...]
    num_rows: int


NOTHING: Final = Manifest(0, datetime.min.replace(tzinfo=UTC), "", (), {})


def publication(before: TableState | None, state: TableState) -> Publication:
    """What a state changed; the one before it tells which partitions it dropped."""
    fresh = {part.partition for part in state.parts if part.version == state.version}
    dropped = {part.key for part in (before.parts if before else ())} - {part.key for part in state.parts}
    partitions = fresh | {partition for partition, _ in dropped}
    num_rows = sum(part.num_rows for part in state.parts)
    return Publication(state.version, state.time, state.run, tuple(sorted(partitions)), num_rows)


def manifest_name(number: int) -> str:
    """Name of a manifest in the store."""
    return f"{MANIFESTS}/{number:010}.json"


def read_manifest(raw: Any) -> Manifest:
    """Build a manifest from its JSON."""
    tables = {str(table): str(name) for table, name in raw["tables"].items()}
    return Manifest(int(raw["number"]), _time(raw), str(raw["run"]), tuple(raw["changed"]), tables)


def read_state(raw: Any) -> TableState:
    """Build the state of a table from its JSON."""
    return TableState(int(raw["number"]), _time(raw), str(raw["run"]), tuple(Part(**part) for part in raw["parts"]))


def _time(raw: Any) -> datetime:
    return datetime.fromisoformat(raw["time"]).astimezone(UTC)


def encode(content: Mapping[str, Any]) -> bytes:
    """The bytes of a file."""
    return json.dumps(content, ensure_ascii=False).encode()


def decode(build: Callable[[Any], T], content: bytes, where: str) -> T:
    """Read a file. ``InputError`` if it is broken, or of another format."""
    try:
        raw = json.loads(content)
        if raw["version"] != MANIFEST_VERSION:
            raise of_another_version(where, raw["version"])
        return build(raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # no JSON, or JSON of another shape
        raise broken(where, error) from error


def broken(where: str, value: object) -> InputError:
    """The error for a manifest that cannot be read."""
    return InputError(
        "the manifest of the store is broken",
        where=where,
        value=value,
        allowed="the JSON that the pipeline wrote",
        fix="restore the file from a backup, or delete the newest file of manifests/: then the one before it is served",
    )


def of_another_version(where: str, version: object) -> InputError:
    """The error for a store in a format that this code does not know."""
    return InputError(
        "the store was written by another version",
        where=where,
        value=version,
        allowed=str(MANIFEST_VERSION),
        fix="run the version of the pipeline that wrote it, or start a new store.root: the logs make the tables again",
    )


def files_are_gone(paths: Iterable[str], where: str) -> InputError:
    """The error for parts whose files are no longer there."""
    return InputError(
        "files of the store are gone",
        where=where,
        value=", ".join(paths),
        allowed="a store from which only pipelines.retention deletes",
        fix="restore them from a backup, roll back to another version, or run the night again",
    )
