"""Ragged event sequences as three flat arrays: the only form in which models see data.

A history, a session, the targets of an evaluation: each is a run of item numbers and times. Item numbers are dense:
0 is padding, 1 an item outside the vocabulary, real items start at 2. Every operation here works on all sequences at
once, so its cost follows the number of events.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

PADDING = 0
UNKNOWN = 1
FIRST_ITEM = 2
SECONDS_PER_DAY = 86_400
ALL = slice(None)  # sequences


@dataclass(frozen=True, eq=False)
class Sequences:
    """Events of S sequences, oldest first within each.

    items: int32[N] item numbers. times: int64[N] seconds since the epoch, UTC; constant where only the order is known.
    offsets: int64[S+1]; sequence s is [offsets[s], offsets[s+1]). subjects: uint64[S], keys by which a model may know
    again whose sequence it is, or uint64[0], where that is not told. Raises ValueError where these do not fit together
    or an item number is negative or times run backwards within a sequence.
    """

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    offsets: NDArray[np.int64]
    subjects: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def __post_init__(self) -> None:
        assert self.items.dtype == np.int32, f"items are {self.items.dtype}, not int32"
        assert self.times.dtype == np.int64, f"times are {self.times.dtype}, not int64"
        assert self.offsets.dtype == np.int64, f"offsets are {self.offsets.dtype}, not int64"
        assert self.items.ndim == self.times.ndim == self.offsets.ndim == 1, "sequences are flat arrays"
        assert self.subjects.dtype == np.uint64, f"subjects are {self.subjects.dtype}, not uint64"
        if len(self.items) != len(self.times):
            raise ValueError(f"{len(self.items)} items but {len(self.times)} times: every event needs both")
        check_offsets(self.offsets, len(self.items), "events")
        if len(self.subjects) not in (0, len(self)):
            raise ValueError(f"{len(self.subjects)} subjects but {len(self)} sequences: each has one, or none has")
        if len(self.items) and self.items.min() < 0:
            raise ValueError(f"item number {self.items.min()} is negative; numbers start at {PADDING} (padding)")
        _check_times(self.times, self.offsets)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of events of every sequence, int64[S]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The sequence to which every event belongs, int64[N]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The place of every event in its sequence, int64[N], 0 for the oldest."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)

    def last_times(self) -> NDArray[np.int64]:
        """Return the time of the newest event of every sequence, int64[S]; the smallest there is without an event."""
        times = np.append(self.times, np.iinfo(np.int64).min)
        return np.where(self.lengths > 0, times[self.offsets[1:] - 1], times[-1])

    def cut(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64], owners: NDArray[np.int64] | slice = slice(0)
    ) -> Self:
        """Make a sequence of each run of events [start, start + length) of the flat arrays; runs may overlap.

        owners: the sequences whose subjects they are of; without, it is not told.
        """
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        subjects = self.subjects[owners] if len(self.subjects) else self.subjects
        return type(self)(self.items[index], self.times[index], offsets, subjects)

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Select sequences by index, in the order given; an index may repeat."""
        return self.cut(self.offsets[:-1][indices], self.lengths[indices], indices)

    def head(self, num_events: NDArray[np.int64]) -> Self:
        """Keep the first events of every sequence, so many of each."""
        return self.cut(self.offsets[:-1], num_events, ALL)

    def tail(self, num_events: int) -> Self:
        """Keep the last `num_events` events of every sequence."""
        if num_events < 0:
            raise ValueError(f"num_events is {num_events}; it must be 0 or more")
        kept = np.minimum(self.lengths, num_events)
        return self.cut(self.offsets[1:] - kept, kept, ALL)

    def concat(self, later: Self) -> Self:
        """Append to every sequence its continuation in `later`, which holds the same subjects in the same order."""
        if len(self) != len(later):
            raise ValueError(f"cannot join {len(self)} sequences with {len(later)}: align both by subject first")
        offsets = self.offsets + later.offsets
        first = np.arange(len(self.items)) + np.repeat(later.offsets[:-1], self.lengths)
        second = np.arange(len(later.items)) + np.repeat(self.offsets[1:], later.lengths)
        items, times = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int64)
        items[first], items[second] = self.items, later.items
        times[first], times[second] = self.times, later.times
        return type(self)(items, times, offsets, self.subjects)

    def without_unknown(self) -> Self:
        """Drop padding and unknown items; their neighbours become adjacent."""
        return self if self.items.min(initial=FIRST_ITEM) >= FIRST_ITEM else self.where(self.items >= FIRST_ITEM)

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """Keep the events that are marked, bool[N]; their neighbours become adjacent."""
        before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        return type(self)(self.items[kept], self.times[kept], before[self.offsets], self.subjects)

    def right_padded(self, width: int) -> NDArray[np.int32]:
        """Return the items as int32[S, width], oldest in column 0 and padding after the newest; none may be longer."""
        assert not len(self) or self.lengths.max() <= width, f"a sequence is longer than {width}"
        padded = np.full((len(self), width), PADDING, np.int32)
        padded[self.rows, self.positions] = self.items
        return padded

    @classmethod
    def empty(cls, num_sequences: int) -> Self:
        """Return `num_sequences` sequences without an event."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.zeros(num_sequences + 1, np.int64))


def check_offsets(offsets: NDArray[np.int64], end: int, what: str) -> None:
    """Raise ValueError where the offsets of a ragged array do not divide its ``end`` values; ``what`` names them."""
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != end:
        raise ValueError(f"offsets must run from 0 to the number of {what}, {end}; got {offsets[:1]} to {offsets[-1:]}")
    if (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets fall at sequence {int(np.argmax(np.diff(offsets) < 0))}; they may only grow")


def _check_times(times: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
    backwards = times[1:] < times[:-1]
    ends = offsets[1:-1]
    backwards[ends[(ends > 0) & (ends < len(times))] - 1] = False
    if backwards.any():
        event = int(np.argmax(backwards)) + 1
        sequence = int(np.searchsorted(offsets, event, side="right")) - 1
        raise ValueError(f"sequence {sequence}: event {event} is older than the one before it; order events by time")
