"""Exact top-k of a dense block of scores, deterministic on ties also where they straddle rank k.

`argpartition` picks an arbitrary one of several equal scores at the boundary. So the k-th best value is taken instead,
everything above it is in, and of those equal to it the first few in tie order fill the list.
"""

import numpy as np
from numpy.typing import NDArray

from models.sequences import PADDING


def top_k(
    scores: NDArray[np.float32], k: int, tie_order: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the k best columns of every row, best first, equal scores in tie order.

    scores: float32[B, I]; -inf marks a forbidden item. tie_order: int32[I], all columns, the preferred ones first.
    Returns items int32[B, k] and scores float32[B, k]; slots without a permitted item hold item 0 and -inf, at the end.
    Memory: up to 15 bytes a cell beside `scores`. Raises ValueError on a NaN.
    """
    num_rows, num_items = scores.shape
    kept = min(k, num_items)
    split = np.partition(scores, num_items - kept, axis=1)[:, num_items - kept :]
    if np.isnan(split).any():  # NaN sorts last, so one anywhere in the row shows up here
        raise ValueError("scores hold NaN: the model diverged or its weights are damaged")
    chosen = _first_of_ties(scores, split[:, :1], kept, tie_order)
    items = (np.flatnonzero(chosen) % num_items).reshape(num_rows, kept).astype(np.int32)
    best = np.take_along_axis(scores, items, axis=1)
    place = np.empty(num_items, np.int32)
    place[tie_order] = np.arange(num_items, dtype=np.int32)
    ranking = np.lexsort((place[items], -best), axis=1)
    items, best = np.take_along_axis(items, ranking, axis=1), np.take_along_axis(best, ranking, axis=1)
    items[np.isneginf(best)] = PADDING
    missing = ((0, 0), (0, k - kept))
    return np.pad(items, missing, constant_values=PADDING), np.pad(best, missing, constant_values=-np.inf)


def _first_of_ties(
    scores: NDArray[np.float32], threshold: NDArray[np.float32], k: int, tie_order: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Mark exactly k cells in every row: those above its k-th best value, and the first of those equal to it."""
    chosen = scores >= threshold
    crowded = np.flatnonzero(np.count_nonzero(chosen, axis=1) > k)
    if len(crowded):
        block, level = scores[crowded], threshold[crowded]
        above = block > level
        tied = (block == level)[:, tie_order]
        tied &= np.cumsum(tied, axis=1, dtype=np.int32) <= k - above.sum(axis=1, keepdims=True)
        above[:, tie_order] |= tied
        chosen[crowded] = above
    return chosen
