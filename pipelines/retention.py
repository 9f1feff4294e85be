"""Let a store forget: old partitions of perishable tables, old states of the store, and files that none of them uses.

Safe at any moment, beside runs and readers, and wherever it is killed, by three rules. A file is deleted only if no
manifest names it: the manifests that go in this pass release their files to the next one. A manifest goes only when it
was replaced ``keep_days`` ago, not when it was published then: someone may have read it a moment before it was
replaced. And a run folder in which something was written in that time is left alone: its run may be about to publish.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final

from pipelines.manifests import MANIFESTS, manifest_name
from pipelines.store import RUNS, Store, Write
from pipelines.store_files import Files, Found, LocalFiles

RUN_NAME: Final = "retention"


@dataclass(frozen=True)
class Pruned:
    """What was let go."""

    num_partitions: int
    num_manifests: int
    num_files: int
    num_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.num_partitions} partitions, {self.num_manifests} states of the store, "
            f"{self.num_files} files ({self.num_bytes / 2**20:.1f} MiB)"
        )


def prune(store: Store, tables: Collection[str], keep_nights: int, keep_days: int, now: datetime) -> Pruned:
    """Keep the newest ``keep_nights`` partitions of these tables, and ``keep_days`` days of the store's history.

    What is dropped can be rolled back to, and its files stay, until the history in which it was served is over.
    """
    assert keep_nights >= 1, "the newest night of a table is what people read"
    assert keep_days >= 1, "a run, or a reader, takes up to a day"
    num_partitions = _drop_partitions(store, tables, keep_nights)
    before = now - timedelta(days=keep_days)
    manifests = store.manifests()
    used = store.files_of(manifests)
    swept = [*_sweep(store.files, RUNS, used, before), *_sweep(store.files, MANIFESTS, used, before)]
    if store.files.root != str(store.work):
        swept += _sweep(LocalFiles(store.work), RUNS, used, before)
    expired = [old.number for old, successor in pairwise(manifests) if successor.time < before]
    store.files.delete(manifest_name(number) for number in expired)
    return Pruned(num_partitions, len(expired), len(swept), sum(found.num_bytes for found in swept))


def _drop_partitions(store: Store, tables: Iterable[str], keep_nights: int) -> int:
    old = {table: store.partitions(table)[:-keep_nights] for table in tables}
    writes = [Write(table, (), frozenset(day.isoformat() for day in days)) for table, days in old.items() if days]
    store.publish(writes, run=RUN_NAME)
    return sum(len(days) for days in old.values())


def _sweep(files: Files, folder: str, used: Collection[str], before: datetime) -> list[Found]:
    """Delete what is not used and old, and return the files among it."""
    found = files.find(folder)
    touched: dict[str, datetime] = {}
    for one in found:
        touched[_owner(one)] = max(one.modified, touched.get(_owner(one), one.modified))
    swept = [one for one in found if touched[_owner(one)] < before and not _is_used(one, used)]
    files.delete(one.name for one in swept)
    return [one for one in swept if not one.name.endswith("/")]


def _owner(found: Found) -> str:
    """What is young or old as a whole: a run with all its files, but each manifest by itself."""
    folder, name = found.name.split("/")[:2]
    return f"{folder}/{name}" if folder == RUNS else found.name


def _is_used(found: Found, used: Collection[str]) -> bool:
    """A part may be a folder, so a file is used if a folder above it is."""
    path = PurePosixPath(found.name)
    return any(str(one) in used for one in (path, *path.parents))
