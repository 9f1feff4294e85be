"""The store: Parquet files in run folders, made visible by replacing one small manifest.

A writer puts files into a fresh run folder, where nobody looks. ``publish`` then swaps the manifest once, for all the
tables of a stage together. So a failed run leaves yesterday's tables serving, and a re-run replaces exactly the parts
that it wrote before.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Final

from pipelines.errors import InputError

MANIFEST_VERSION: Final = 1


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table.

    ``partition`` is the ISO date of its partition column; ``slice`` tells apart the writers that share a partition:
    the day of the raw file for ``interactions``, the model for ``recommendations``, empty elsewhere.
    """

    partition: str
    slice: str
    path: str
    num_rows: int
    sha256: str


@dataclass(frozen=True)
class Write:
    """New parts of one table, and which published parts they replace: empty means any partition, any slice."""

    table: str
    parts: tuple[Part, ...]
    partitions: frozenset[str] = frozenset()
    slices: frozenset[str] = frozenset()

    def replaces(self, part: Part) -> bool:
        """Tell whether a published part makes way for this write."""
        in_partition = not self.partitions or part.partition in self.partitions
        return in_partition and (not self.slices or part.slice in self.slices)


class Store:
    """Tables under one local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def manifest_path(self) -> Path:
        """Where the manifest lies."""
        return self.root / "manifest.json"

    def parts(
        self, table: str, *, since: date | None = None, until: date | None = None, slices: Iterable[str] = ()
    ) -> list[Part]:
        """Published parts of a table with ``since <= partition <= until``, ordered by partition and slice."""
        wanted = set(slices)
        return [
            part
            for part in self._load().get(table, [])
            if (since is None or part.partition >= since.isoformat())
            and (until is None or part.partition <= until.isoformat())
            and (not wanted or part.slice in wanted)
        ]

    def paths(self, parts: Iterable[Part]) -> list[Path]:
        """Absolute paths of parts."""
        return [self.root / part.path for part in parts]

    def partitions(self, table: str, *, until: date | None = None) -> list[date]:
        """Published partitions of a table, oldest first."""
        return sorted({date.fromisoformat(part.partition) for part in self.parts(table, until=until)})

    def run_folder(self, run_id: str, table: str) -> Path:
        """The folder in which a run may write files of a table; invisible until published."""
        folder = self.root / "runs" / run_id / table
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self, writes: Sequence[Write]) -> None:
        """Make new parts visible in one step, for all tables of ``writes`` together."""
        with self._locked():
            tables = {name: list(parts) for name, parts in self._load().items()}
            for write in writes:
                kept = [part for part in tables.get(write.table, []) if not write.replaces(part)]
                tables[write.table] = sorted([*kept, *write.parts], key=lambda part: (part.partition, part.slice))
            self._replace_manifest(tables)

    def _load(self) -> dict[str, list[Part]]:
        try:
            manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
            self._require_version(manifest["version"])
            return {name: [Part(**part) for part in parts] for name, parts in manifest["tables"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # no JSON, or JSON of another shape
            raise InputError(
                "the manifest of the store is broken",
                where=self.manifest_path,
                value=error,
                allowed="the JSON that the pipeline wrote",
                fix="restore the file from a backup; the tables in runs/ are untouched",
            ) from error

    def _require_version(self, version: object) -> None:
        if version != MANIFEST_VERSION:
            raise InputError(
                "the store was written by another version",
                where=self.manifest_path,
                value=version,
                allowed=str(MANIFEST_VERSION),
                fix="run the version of the pipeline that wrote the store, or start a new store.root",
            )

    def _replace_manifest(self, tables: Mapping[str, list[Part]]) -> None:
        content = {
            "version": MANIFEST_VERSION,
            "tables": {name: [asdict(part) for part in tables[name]] for name in sorted(tables)},
        }
        write_atomically(self.manifest_path, json.dumps(content, indent=1))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer at a time read, change and replace the manifest."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_atomically(path: Path, text: str) -> None:
    """Put a text file in place so that a reader sees the old or the new content, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
