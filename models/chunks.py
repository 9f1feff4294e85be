"""Ranking a chunk of histories at a time, so that memory is bounded however many there are."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.sequences import Sequences

MOST_CELLS = 2**24  # histories x k, 8 bytes each

Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]


def rank_in_chunks(histories: Sequences, k: int, most_histories: int, rank: Callable[[Sequences], Ranked]) -> Ranked:
    """Return what `rank` gives for all histories, int32[B, k] and float32[B, k], asking it for at most so many."""
    items = np.empty((len(histories), k), np.int32)
    scores = np.empty((len(histories), k), np.float32)
    step = max(1, min(most_histories, MOST_CELLS // k))
    for start in range(0, len(histories), step):
        part = slice(start, start + step)
        items[part], scores[part] = rank(histories.cut(histories.offsets[:-1][part], histories.lengths[part], part))
    return items, scores
