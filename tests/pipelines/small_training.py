"""A week of a small shop, and what its training leaves."""

from pathlib import Path

from models.checkpoint import WEIGHTS_FILE, Header, read_header
from pipelines.night import Night
from pipelines.training import CHECKPOINTS
from tests.pipelines.small_store import Visit

# Five days with events in a shop of a to f; day 4 has none, so N is day 5 and N-1 is day 3.
WEEK = (
    Visit("ann", 0, "abcd"),
    Visit("bob", 0, "bcd"),
    Visit("bob", 1, "ef"),
    Visit("cy", 2, "cdef"),
    Visit("ann", 2, "ef"),
    Visit("?x", 2, "abc"),
    Visit("ann", 3, "ab"),
    Visit("cy", 3, "abc"),
    Visit("bob", 5, "ab"),
    Visit("ann", 5, "cd"),
)


def folder_of(night: Night, name: str, chain: str) -> Path:
    (part,) = (part for part in night.current(CHECKPOINTS) if part.slice == name)
    return night.store.work / part.path / chain


def checkpoint(night: Night, name: str, chain: str) -> tuple[bytes, Header]:
    folder = folder_of(night, name, chain)
    return (folder / WEIGHTS_FILE).read_bytes(), read_header(folder)
