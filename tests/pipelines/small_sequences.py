"""Sequences from lists of item numbers, and back."""

from itertools import pairwise

import numpy as np

from models.sequences import Sequences


def make(*rows: list[int], times: list[int] | None = None) -> Sequences:
    """Sequences of these item numbers; without times every event is at 0."""
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return Sequences(items, np.array(times if times is not None else np.zeros(len(items)), np.int64), offsets)


def lists_of(sequences: Sequences) -> list[list[int]]:
    """The item numbers of every sequence."""
    return [sequences.items[start:stop].tolist() for start, stop in pairwise(sequences.offsets.tolist())]
