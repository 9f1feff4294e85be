"""The training sequences of a night as arrays on disk, which every model of the night maps into memory.

They are written once: the events of each subject one after the other, days in order. A first look at the days counts
the events of each subject, so a second can put every event where it belongs: nothing is sorted, and what is held in
memory are a few numbers a subject and a few rows. The folder's name follows from what it was made of.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

import duckdb
import numpy as np
import pyarrow as pa
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from models.sequences import Sequences
from pipelines.engine import create_views, quote
from pipelines.kernel import Relation
from pipelines.ragged import to_sequences
from pipelines.teaching_events import SUBJECT_KEY

TRAIN, VALIDATION, TEST = range(NUM_PARTS := 3)
BATCH_ROWS: Final = 100_000
FILES: Final = ("items", "times", "offsets", "subjects", "train_lengths", "validation_lengths", "is_user")
USERS_FILE: Final = "users.parquet"
"""Who the users are: one row a user, ``user_id`` and the ``place`` of the subject."""
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """S subjects: ``is_user`` bool[S], and the history of each, ordered by time.

    The first ``train_lengths`` int64[S] events of a subject are those up to night N-2, the next ``validation_lengths``
    int64[S] those of N-1, the rest those of N.
    """

    everything: Sequences
    train_lengths: Integers
    validation_lengths: Integers
    is_user: NDArray[np.bool_]

    @property
    def train(self) -> Sequences:
        """What each subject did up to night N-2."""
        return self.everything.head(self.train_lengths)

    @property
    def validation(self) -> Sequences:
        """What each subject did on night N-1."""
        return self.everything.cut(self.everything.offsets[:-1] + self.train_lengths, self.validation_lengths)

    @property
    def test(self) -> Sequences:
        """What each subject did on night N."""
        known = self.train_lengths + self.validation_lengths
        return self.everything.cut(self.everything.offsets[:-1] + known, self.everything.lengths - known)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Map the arrays of a folder into memory."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES}
        offsets, subjects, *others = (np.asarray(arrays[name]) for name in FILES[2:])
        return cls(Sequences(arrays["items"], arrays["times"], offsets, subjects), *others)


@dataclass(frozen=True)
class Days:
    """What to read: ``training_sequences`` of all days, and of each, in order, with the part that it belongs to.

    Of each part, a subject's newest ``max_events`` are kept. key: what the arrays are made of, as a hash.
    """

    all: Relation
    each: Sequence[tuple[Relation, int]]
    max_events: int
    key: str


def ensure_arrays(con: duckdb.DuckDBPyConnection, days: Days, folder: Path) -> Path:
    """Return the folder of the arrays of these days, below ``folder``: written now, in place of others, if need be."""
    return written_once(folder, days.key, partial(_write, con, days))


def written_once(folder: Path, key: str, write: Callable[[Path], None]) -> Path:
    """Return the folder ``key`` below ``folder``: if it is not there, ``write`` fills it, and all others go."""
    path = folder / key
    if path.exists():
        return path
    shutil.rmtree(folder, ignore_errors=True)
    fresh = folder / f".{uuid.uuid4().hex}"
    fresh.mkdir(parents=True)
    write(fresh)
    with suppress(OSError):  # another process was faster
        os.rename(fresh, path)
    return path


def _write(con: duckdb.DuckDBPyConnection, days: Days, folder: Path) -> None:
    is_user, keys = _number_subjects(con, days, folder)
    counts = np.zeros((NUM_PARTS, len(is_user)), np.int64)
    for relation, part in days.each:
        for rows in _rows(con, relation, "len(item_numbers) as num_events"):
            counts[part, rows["place"].to_numpy()] += rows["num_events"].to_numpy()
    kept = np.minimum(counts, days.max_events)
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=0))]).astype(np.int64)
    starts = offsets[:-1] + np.cumsum(kept, axis=0) - kept
    _fill(con, days, folder, _Places(starts - (counts - kept), starts), int(offsets[-1]))
    small = {"offsets": offsets, "train_lengths": kept[TRAIN], "validation_lengths": kept[VALIDATION]}
    for name, array in (small | {"is_user": is_user, "subjects": keys}).items():
        np.save(folder / f"{name}.npy", array)


def _number_subjects(
    con: duckdb.DuckDBPyConnection, days: Days, folder: Path
) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Number the subjects in the order of their type and id; write the users.

    Returns who is one, bool[S], and the keys of all, uint64[S].
    """
    create_views(con, {"sequences": days.all.select()})
    con.execute("""
        create or replace temp table subjects as
        select subject_type, subject_id, row_number() over (order by subject_type, subject_id) - 1 as place
        from (select distinct subject_type, subject_id from sequences)
    """)
    con.execute(f"""
        copy (select subject_id as user_id, place from subjects where subject_type = 'user' order by place)
        to {quote(folder / USERS_FILE)} (format parquet)
    """)
    rows = con.sql(
        f"select subject_type = 'user' as is_user, {SUBJECT_KEY} as key from subjects order by place"
    ).to_arrow_table()
    return rows["is_user"].to_numpy().astype(bool), rows["key"].to_numpy().astype(np.uint64)


def _rows(con: duckdb.DuckDBPyConnection, relation: Relation, columns: str) -> Iterator[pa.RecordBatch]:
    """The rows of a day with the places of their subjects: one row a subject, in no order."""
    create_views(con, {"sequences": relation.select()})
    rows = con.sql(f"select place, {columns} from sequences join subjects using (subject_type, subject_id)")
    yield from rows.to_arrow_reader(BATCH_ROWS)


@dataclass(frozen=True)
class _Places:
    """Where the next event of each part of each subject goes, int64[3, S]; before ``starts`` it is not kept."""

    following: Integers
    starts: Integers


def _fill(con: duckdb.DuckDBPyConnection, days: Days, folder: Path, places: _Places, num_events: int) -> None:
    """Write the events of day after day to where they belong."""
    items = open_memmap(folder / "items.npy", "w+", np.int32, (num_events,))
    times = open_memmap(folder / "times.npy", "w+", np.int64, (num_events,))
    for relation, part in days.each:
        for rows in _rows(con, relation, "item_numbers, event_times"):
            day = to_sequences(rows["item_numbers"], rows["event_times"])
            subjects = rows["place"].to_numpy()
            following = places.following[part]
            index = np.repeat(following[subjects], day.lengths) + day.positions
            kept = index >= np.repeat(places.starts[part][subjects], day.lengths)
            items[index[kept]], times[index[kept]] = day.items[kept], day.times[kept]
            following[subjects] += day.lengths
    items.flush()
    times.flush()
