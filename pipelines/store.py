"""The store: Parquet files in run folders, made visible by numbered manifests that are only ever added.

A writer puts files into a fresh run folder, where nobody looks. ``publish`` then adds one small manifest, for all the
tables of a stage together, and the newest number is the state of the store. A manifest names one file a table, which
lists the table's parts; a table that did not change keeps its file. So a failed run leaves yesterday's tables serving,
a re-run replaces exactly the parts that it wrote before, and a former state is still there to go back to.

Two writers may try to add the same number: one of them succeeds, and the other looks again at what is published.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import duckdb

from models.suggestion import suggestion
from pipelines.errors import InputError
from pipelines.manifests import (
    MANIFEST_VERSION,
    MANIFESTS,
    NOTHING,
    PERMANENT,
    TABLES,
    TOGETHER,
    Manifest,
    Part,
    Publication,
    T,
    TableState,
    broken,
    decode,
    encode,
    files_are_gone,
    manifest_name,
    of_another_version,
    publication,
    read_manifest,
    read_state,
)
from pipelines.store_files import LocalFiles, full_disk_is_told, hash_file
from pipelines.store_remote import open_files

RUNS: Final = "runs"
ATTEMPTS: Final = 100
BATCH: Final = 32


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


Changes = Mapping[str, Sequence[Part]]


class Store:
    """Tables under one local folder or URL.

    ``work`` is the local folder of all that must be local: run folders while they are written, scratch, views. It is
    the root itself if that is local.
    """

    def __init__(self, root: str | Path, work: Path | None = None) -> None:
        self.files = open_files(root)
        self.is_local = isinstance(self.files, LocalFiles)
        if work is None and not self.is_local:
            raise ValueError(f"a store at {root} needs a local folder to work in")
        self.work = Path(self.files.root) if work is None else work.resolve()
        self._manifest = lru_cache(maxsize=64)(self._read_manifest)
        self._state = lru_cache(maxsize=64)(self._read_state)

    def __reduce__(self) -> tuple[type["Store"], tuple[str, Path]]:
        """Workers get the same store, without what this process has read of it."""
        return Store, (self.root, self.work)

    @property
    def root(self) -> str:
        """The absolute path of the folder, or the URL."""
        return self.files.root

    @property
    def scratch(self) -> Path:
        """Local folder for what no one needs afterwards."""
        return self.work / "scratch"

    def run_folder(self, run_id: str, table: str) -> Path:
        """The local folder in which a run may write files of a table; invisible until published."""
        folder = self.work / RUNS / run_id / table
        with full_disk_is_told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def register(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection, and the cursors of it, read the files of a store at a URL."""
        filesystem = self.files.filesystem
        if filesystem is None:
            return
        names = [filesystem.protocol] if isinstance(filesystem.protocol, str) else list(filesystem.protocol)
        if not set(names) & set(con.list_filesystems()):
            con.register_filesystem(filesystem)

    def version(self) -> int:
        """Number of the newest manifest; 0 if nothing was ever published."""
        numbers = self._numbers()
        if not numbers and self.files.exists("manifest.json"):
            raise of_another_version(self.files.url("manifest.json"), 1)
        return numbers[-1] if numbers else 0

    def parts(
        self, table: str, *, since: date | None = None, until: date | None = None, slices: Iterable[str] = ()
    ) -> list[Part]:
        """Published parts of a table with ``since <= partition <= until``, ordered by partition and slice."""
        wanted = set(slices)
        return [
            part
            for part in self._parts(self._newest(), table)
            if (since is None or part.partition >= since.isoformat())
            and (until is None or part.partition <= until.isoformat())
            and (not wanted or part.slice in wanted)
        ]

    def partitions(self, table: str, *, until: date | None = None) -> list[date]:
        """Published partitions of a table, oldest first."""
        return sorted({date.fromisoformat(part.partition) for part in self.parts(table, until=until)})

    def locate(self, part: Part) -> str:
        """Where a part can be read: the local file if there is one, for files never change, and else its URL."""
        local = self.work / part.path
        return str(local) if local.exists() else self.files.url(part.path)

    def paths(self, parts: Iterable[Part]) -> list[str]:
        """Where parts can be read."""
        return [self.locate(part) for part in parts]

    def fetch(self, part: Part) -> Path:
        """Local path of a part, file or folder, which is downloaded if it is not there yet."""
        return self.fetch_all([part])[0]

    def fetch_all(self, parts: Iterable[Part]) -> list[Path]:
        """Local paths of parts; those that are not there yet are downloaded, many at a time.

        For a stage that reads many files this is much faster than to read them in place: DuckDB asks an object store
        seven times about each file before it reads, and it opens one after the other.
        """
        paths = [part.path for part in parts]
        missing = [path for path in dict.fromkeys(paths) if not (self.work / path).exists()]
        fresh = self.work / RUNS / f".fetch-{uuid4().hex}"
        try:
            if missing:
                self.files.fetch(missing, fresh)
            for path in missing:
                _move(fresh / path, self.work / path)
        except FileNotFoundError as error:
            raise files_are_gone([str(error)], self.root) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return [self.work / path for path in paths]

    def publish(self, writes: Sequence[Write], *, seen: int | None = None, run: str = "") -> None:
        """Make new parts visible in one step, for all tables of ``writes`` together.

        A part that says what the published one says (same partition, slice and hash) is not new: that one stays, and if
        there is no other, nothing is published. ``seen`` is the ``version`` at which the caller began to read. Raises
        ``InputError`` if another run has published since then what this write would replace with something else.
        """
        placed: set[str] = set()

        def change(newest: Manifest) -> Changes:
            tables: dict[str, Sequence[Part]] = {}
            for write in writes:
                former = tables[write.table] if write.table in tables else self._parts(newest, write.table)
                if seen is not None:
                    self._refuse_to_overwrite(write, former, range(seen + 1, newest.number + 1), run)
                tables[write.table] = self._replaced(write, former, newest.number + 1)
            fresh = {part.path for parts in tables.values() for part in parts if part.version > newest.number}
            self._place(fresh - placed)
            placed.update(fresh)
            return tables

        self._add_manifest(change, run)

    def rollback(self, table: str, version: int) -> tuple[str, ...]:
        """Serve a table, and those ``TOGETHER`` with it, again as manifest ``version`` had them; return their names.

        What differs from now counts as new. Raises ``InputError`` for a table or version that is not there, for files
        that are gone, and if the table is ``PERMANENT``.
        """
        if table in PERMANENT:
            raise InputError(
                f"{table} cannot be rolled back",
                where=self.root,
                value=f"version {version}",
                allowed="any other table",
                fix="leave it as it is: the numbers it gave stand in training data and checkpoints for ever",
            )
        stage = next((stage for stage in TOGETHER if table in stage), ())
        others = [other for other in stage if other != table and other in self._newest().tables]
        former = {table: self._state_as_of(table, version).parts, **{t: self._parts_beside(t, version) for t in others}}

        def change(newest: Manifest) -> Changes:
            number = newest.number + 1
            tables = {name: _kept(parts, self._parts(newest, name), number) for name, parts in former.items()}
            fresh = [part.path for parts in tables.values() for part in parts if part.version > newest.number]
            gone = [path for path in fresh if not self.files.exists(path)]
            if gone:
                raise files_are_gone(gone, self.root)
            return tables

        self._add_manifest(change, f"rollback to {version}")
        return tuple(former)

    def history(self, table: str) -> list[Publication]:
        """The states of a table that can be served again, newest first; the first is the one that is served."""
        states = self._states(table)
        changes = zip([None, *states], states, strict=False)
        return [publication(before, state) for before, state in changes][::-1]

    def manifests(self) -> list[Manifest]:
        """All manifests that are kept, oldest first."""
        names = [manifest_name(number) for number in self._numbers()]
        contents = self.files.read_all(names)
        return [decode(read_manifest, contents[name], self.files.url(name)) for name in names if name in contents]

    def files_of(self, manifests: Iterable[Manifest]) -> set[str]:
        """Names of the files, and folders, that make up these states of the store."""
        manifests = list(manifests)
        lists = sorted({name for manifest in manifests for name in manifest.tables.values()})
        used = {manifest_name(manifest.number) for manifest in manifests} | {f"{TABLES}/{name}" for name in lists}
        for start in range(0, len(lists), BATCH):  # all at once they would be large
            contents = self.files.read_all(f"{TABLES}/{name}" for name in lists[start : start + BATCH])
            for name, content in contents.items():
                used.update(part.path for part in decode(read_state, content, self.files.url(name)).parts)
        return used

    def _numbers(self) -> list[int]:
        names = self.files.names(MANIFESTS)
        return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"\d{10}\.json", name))

    def _newest(self) -> Manifest:
        number = self.version()
        return self._manifest(number) if number else NOTHING

    def _read_manifest(self, number: int) -> Manifest:
        return self._read(manifest_name(number), read_manifest)

    def _read_state(self, name: str) -> TableState:
        return self._read(f"{TABLES}/{name}", read_state)

    def _read(self, name: str, build: Callable[[Any], T]) -> T:
        contents = self.files.read_all([name])
        if name not in contents:
            raise broken(self.files.url(name), "no such file")
        return decode(build, contents[name], self.files.url(name))

    def _parts(self, manifest: Manifest, table: str) -> tuple[Part, ...]:
        return self._state(manifest.tables[table]).parts if table in manifest.tables else ()

    def _states(self, table: str) -> list[TableState]:
        """All states of a table that are kept, oldest first."""
        manifests = self.manifests()
        names = dict.fromkeys(m.tables[table] for m in manifests if table in m.tables)
        if not names:
            known = sorted({name for manifest in manifests for name in manifest.tables})
            raise InputError(
                f"there is no table {table!r}" + (f": {suggestion(table, known)}" if known else ""),
                where=self.root,
                value=table,
                allowed="a table that was published",
                fix="correct the name" if known else "run a night first: make run",
            )
        return [self._state(name) for name in names]

    def _state_as_of(self, table: str, version: int) -> TableState:
        states = {state.version: state for state in self._states(table)}
        if version in self._numbers() and table in self._manifest(version).tables:
            return self._state(self._manifest(version).tables[table])
        if version not in states:
            raise InputError(
                f"there is no version {version} of {table}",
                where=self.root,
                value=version,
                allowed=", ".join(str(number) for number in reversed(states)),
                fix="name one of these; what was replaced longer ago is not kept",
            )
        return states[version]

    def _parts_beside(self, table: str, version: int) -> tuple[Part, ...]:
        """Parts of a table at the time of a version, which may be another table's."""
        if version in self._numbers():
            return self._parts(self._manifest(version), table)
        older = [state for state in self._states(table) if state.version <= version]
        return older[-1].parts if older else self._state_as_of(table, version).parts

    def _replaced(self, write: Write, former: Iterable[Part], number: int) -> list[Part]:
        """The parts of a table after a write."""
        assert all(map(write.replaces, write.parts)), f"{write.table}: a part outside of what the write replaces"
        hashes = {part.key: part.sha256 for part in write.parts}
        stay = [part for part in former if not write.replaces(part)]
        same = [part for part in former if hashes.get(part.key) == part.sha256 and self._is_whole(part)]
        return sorted([*stay, *_kept(write.parts, same, number)], key=lambda part: part.key)

    def _is_whole(self, part: Part) -> bool:
        """Tell whether the file of a published part is there and, where that costs little, not damaged."""
        local = self.work / part.path
        return hash_file(local) == part.sha256 if self.is_local and local.is_file() else self.files.exists(part.path)

    def _refuse_to_overwrite(self, write: Write, former: Iterable[Part], versions: range, run: str) -> None:
        """Raise ``InputError`` if another run published, at these versions, what a write would replace."""
        fresh = {part.key: part.sha256 for part in write.parts}
        newer = [p for p in former if p.version in versions and write.replaces(p) and fresh.get(p.key) != p.sha256]
        kept = set(self._numbers()) if newer else set()
        by = {part.version: self._manifest(part.version).run if part.version in kept else "" for part in newer}
        foreign = [part for part in newer if not run or by[part.version] != run]
        if foreign:
            partitions = sorted({part.partition for part in foreign})
            raise InputError(
                f"another run published {write.table} of {_range(partitions)} in the meantime",
                where=self.root,
                value=", ".join(f"version {v} by run {by[v] or '?'}" for v in sorted({p.version for p in foreign})),
                allowed="one run of a night at a time",
                fix="if the input of this run is the newer one, run it again; else leave what is published",
            )

    def _place(self, paths: Iterable[str]) -> None:
        """Bring the files of new parts from the run folder to where the store lies."""
        sources = {}
        for path in paths:
            local = self.work / path
            files = [local] if local.is_file() else [found for found in local.rglob("*") if found.is_file()]
            assert files, f"{local}: a part that no one wrote"
            sources.update({file.relative_to(self.work).as_posix(): file for file in files})
        if sources:
            self.files.place(sources)

    def _add_manifest(self, change: Callable[[Manifest], Changes], run: str) -> None:
        """Publish what ``change`` makes of the newest state, and ask it again whenever someone else was faster."""
        for _ in range(ATTEMPTS):
            newest = self._newest()
            wanted = {table: tuple(parts) for table, parts in change(newest).items()}
            changed = {table: parts for table, parts in wanted.items() if parts != self._parts(newest, table)}
            if not changed or self._is_added(newest, changed, run):
                return
        raise InputError(
            "too many runs publish at the same time",
            where=self.root,
            value=f"{ATTEMPTS} attempts",
            allowed="a few runs at a time",
            fix="let some of them end, then run again",
        )

    def _is_added(self, newest: Manifest, changed: Changes, run: str) -> bool:
        number, time = newest.number + 1, datetime.now(UTC).isoformat(timespec="milliseconds")
        head = {"version": MANIFEST_VERSION, "number": number, "time": time, "run": run}
        lists = {table: encode(head | {"parts": [asdict(part) for part in changed[table]]}) for table in changed}
        # The hash keeps apart the files of two writers who try for the same number.
        names = {t: f"{t}-{number:010}-{hashlib.sha256(lists[t]).hexdigest()[:16]}.json" for t in sorted(changed)}
        if number == 1:
            self.files.require_exclusive_create()
        self.files.write({f"{TABLES}/{names[table]}": lists[table] for table in names})
        tables = dict(sorted({**newest.tables, **names}.items()))
        return self.files.create(manifest_name(number), encode(head | {"changed": list(names), "tables": tables}))


def _kept(parts: Iterable[Part], published: Iterable[Part], number: int) -> list[Part]:
    """Parts, each as it is published already if it says the same, else with the number of the new manifest."""
    same = {(*part.key, part.sha256): part for part in published}
    return [same.get((*part.key, part.sha256)) or replace(part, version=number) for part in parts]


def _move(fresh: Path, path: Path) -> None:
    """Put a downloaded file or folder in place, unless someone else was faster: they are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fresh.rename(path)
    except OSError:
        if not path.exists():
            raise


def _range(days: Sequence[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
