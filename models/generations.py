"""Sequences cut into generations: what happened in some days, each with the events that it followed on.

A generation is a function of its own days and of what its subjects did right before, so it is learnt once, and again
only where that has changed: a late event, or a person who is forgotten.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sequences import Sequences

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, eq=False)
class Generation:
    """The pieces of some days, by the number of the first day since 1970, UTC; 0 where all days are one generation.

    part: its number, where a generation is stored in several.
    """

    day: int
    pieces: Sequences
    part: int = 0

    def digest(self, *made_with: object) -> str:
        """Return the sha256 of all that decides what is learnt of it."""
        digest = hashlib.sha256(repr((self.day, self.part, *made_with)).encode())
        for array in (self.pieces.items, self.pieces.offsets):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def generations(known: Sequences, num_days: int, num_before: int, max_events: int) -> Iterator[Generation]:
    """Cut sequences into the pieces of every `num_days` days, oldest generation first; 0 days: all are one generation.

    A piece begins with up to `num_before` events that came before its days, and has at most max_events of them; what is
    longer becomes several.
    """
    if not len(known.items):
        return
    days = known.times // (SECONDS_PER_DAY * num_days) * num_days if num_days else np.zeros_like(known.times)
    first = np.ones(len(known.items), np.bool_)
    first[1:] = (days[1:] != days[:-1]) | (known.rows[1:] != known.rows[:-1])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(first))
    starts, ends = _no_longer_than(starts, ends, max_events)
    before = np.minimum(known.positions[starts], num_before) if num_days else np.zeros_like(starts)
    for day in np.unique(days[starts]):
        own = days[starts] == day
        pieces = known.cut(starts[own] - before[own], (ends - starts + before)[own])
        yield Generation(int(day), pieces)


def _no_longer_than(
    starts: NDArray[np.int64], ends: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs of events so that none is longer than `most`."""
    num_parts = -(-(ends - starts) // most)
    part = np.arange(num_parts.sum()) - np.repeat(np.cumsum(num_parts) - num_parts, num_parts)
    cut_starts = np.repeat(starts, num_parts) + part * most
    return cut_starts, np.minimum(cut_starts + most, np.repeat(ends, num_parts))
