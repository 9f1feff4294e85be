"""Parts of a table with files of a few letters, and a process that is killed before a step of its choice.

The letter of a part is its content: equal letters, equal hash. It stands in a run of that name, with one row a letter.
"""

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.store import Part, Store, Write

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
Said = tuple[str, str, str, int]
STEPS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir", "os.listdir"}


def part(store: Store, partition: str, slice_: str = "", content: str = "a", table: str = "t") -> Part:
    """A part whose file lies in the run folder, not yet published."""
    path = store.run_folder(content, table) / f"{partition}_{slice_}.parquet"
    path.write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Part(partition, slice_, path.relative_to(store.work).as_posix(), len(content), digest)


def publish(store: Store, table: str, *parts: Part, run: str = "", **replaced: frozenset[str]) -> None:
    store.publish([Write(table, parts, **replaced)], run=run)


def publish_night(store: Store, day: str, content: str, table: str = "t", run: str = "") -> None:
    """Replace one partition by one part."""
    publish(store, table, part(store, day, "", content, table), run=run, partitions=frozenset({day}))


def publish_slices(store: Store, writer: str, number: int) -> None:
    """Publish slices of one partition, each by itself: writer-0, writer-1 and so on."""
    for n in range(number):
        name = f"{writer}-{n}"
        publish(store, "t", part(store, DAYS[0], name, name), slices=frozenset({name}))


def said(store: Store, table: str = "t") -> list[Said]:
    """Partition, slice, content and version of what is published."""
    return [(p.partition, p.slice, Path(store.fetch(p)).read_text(), p.version) for p in store.parts(table)]


def names(root: Path) -> list[str]:
    """All files of a folder."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def killed(act: Callable[[], object], step: int) -> bool:
    """Do something in another process, and kill -9 that before its file operation of this number.

    False if it ended before it came so far.
    """
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in STEPS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the process ended with status {status}"
    return status != 0
