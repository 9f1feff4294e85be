"""Sequences cut into generations: what happened in some days, each with the events that it followed on.

A generation is a function of its own days and of what its subjects did right before, so it is learnt once, and again
only where that has changed: a late event, or a person who is forgotten.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sequences import SECONDS_PER_DAY, Sequences


@dataclass(frozen=True, eq=False)
class Generation:
    """The pieces of some days, by the number of the first day since 1970, UTC; 0 where all days are one generation.

    num_before: int64[P], with how many events of earlier days each piece begins, which are not its own.
    part: its number, where a generation is stored in several.
    """

    day: int
    pieces: Sequences
    num_before: NDArray[np.int64]
    part: int = 0

    def own(self) -> Sequences:
        """Return the pieces without the events of earlier days."""
        return self.pieces.cut(self.pieces.offsets[:-1] + self.num_before, self.pieces.lengths - self.num_before)

    def is_own(self) -> NDArray[np.bool_]:
        """Tell which events of the pieces are not of earlier days, bool[N]."""
        return self.pieces.positions >= np.repeat(self.num_before, self.pieces.lengths)

    def take(self, indices: NDArray[np.int64], part: int) -> "Generation":
        """Return some of the pieces as a part."""
        return Generation(self.day, self.pieces.take(indices), self.num_before[indices], part)

    def digest(self, *made_with: object) -> str:
        """Return the sha256 of all that decides what is learnt of it."""
        digest = hashlib.sha256(repr((self.day, self.part, *made_with)).encode())
        for array in (self.pieces.items, self.pieces.offsets, self.num_before):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def generations(
    known: Sequences, num_days: int, num_before: int, days_before: int, max_events: int, days_kept: float = np.inf
) -> Iterator[Generation]:
    """Cut sequences into the pieces of every `num_days` days, oldest generation first; 0 days: all are one generation.

    A generation that began more than `days_kept` before the newest is left out.
    A piece begins with up to `num_before` events of up to `days_before` days before its generation, and has at most
    max_events of its own; what is longer becomes several pieces, each of which begins with events of the one before.
    """
    if not len(known.items):
        return
    days = known.times // (SECONDS_PER_DAY * num_days) * num_days if num_days else np.zeros_like(known.times)
    first = np.ones(len(known.items), np.bool_)
    first[1:] = (days[1:] != days[:-1]) | (known.rows[1:] != known.rows[:-1])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(first))
    starts, ends = _no_longer_than(starts, ends, max_events)
    oldest = (days[starts] - days_before) * SECONDS_PER_DAY if num_days else np.full(len(starts), known.times.min())
    before = np.zeros_like(starts)
    for distance in range(1, num_before + 1):
        before += (known.positions[starts] >= distance) & (known.times[np.maximum(starts - distance, 0)] >= oldest)
    every_day = np.unique(days)
    for day in every_day[every_day >= every_day[-1] - days_kept]:
        own = days[starts] == day
        pieces = known.cut(starts[own] - before[own], (ends - starts + before)[own])
        yield Generation(int(day), pieces, before[own])


def _no_longer_than(
    starts: NDArray[np.int64], ends: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs of events so that none is longer than `most`."""
    num_parts = -(-(ends - starts) // most)
    part = np.arange(num_parts.sum()) - np.repeat(np.cumsum(num_parts) - num_parts, num_parts)
    cut_starts = np.repeat(starts, num_parts) + part * most
    return cut_starts, np.minimum(cut_starts + most, np.repeat(ends, num_parts))
