"""Exact top-k of sparse scores: most items of a row have none, and stand in one order below those that have.

Shapes: B subjects, V items.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.best_list import BestLists, push, sort
from models.sequences import FIRST_ITEM, PADDING, Sequences

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


def top_rows(
    found: csr_array, order: Ints, rest: Floats, k: int, allowed: NDArray[np.bool_], barred: Sequences | None = None
) -> tuple[Ints, Floats]:
    """Return the k best items of every row: first those with a score, then the rest in ``order``.

    found: float32 CSR [B, V] without duplicates. order: int32[V], all items, the preferred first; it also decides
    between equal scores. rest: float32[V], what an item scores that is not found. allowed, barred and the result as in
    `top_products`. Cost: the entries of the rows and k for each row. Raises ValueError on a NaN.
    """
    if np.isnan(found.data).any():
        raise ValueError("scores hold NaN: the model's weights are damaged")
    shown = allowed.copy()
    shown[:FIRST_ITEM] = False
    barred = Sequences.empty(found.shape[0]) if barred is None else barred
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    lists = BestLists.empty(found.shape[0], k)
    _find(found.data, found.indices, found.indptr, places, shown, barred.items, barred.offsets, lists)
    items = np.append(order, np.int32(PADDING))[lists.places]
    _fill(items, lists, order[shown[order]], rest, barred.items, barred.offsets)
    return items, lists.scores


@njit(cache=True, nogil=True)
def _find(  # type: ignore[no-untyped-def]
    data, indices, indptr, places, shown, barred_items, barred_offsets, lists
) -> None:
    """Put the best of each row's own entries into its list, sorted."""
    barred_in = np.full(len(places), -1, np.int64)  # the last row in which an item was barred
    for row in range(len(lists.sizes)):
        scores, own_places, size = lists.scores[row], lists.places[row], 0
        for event in range(barred_offsets[row], barred_offsets[row + 1]):
            barred_in[barred_items[event]] = row
        for entry in range(indptr[row], indptr[row + 1]):
            item = indices[entry]
            if shown[item] and barred_in[item] != row:
                size = push(scores, own_places, size, np.float32(data[entry]), places[item])
        sort(scores, own_places, size)
        lists.sizes[row] = size


@njit(cache=True, nogil=True)
def _fill(items, lists, order, rest, barred_items, barred_offsets) -> None:  # type: ignore[no-untyped-def]
    """Fill what is left of each list from ``order``: what is not barred and not in it."""
    k = items.shape[1]
    taken_in = np.full(len(rest), -1, np.int64)  # the last row in which an item was barred or listed
    for row in range(len(items)):
        size = lists.sizes[row]
        if size < k:
            for event in range(barred_offsets[row], barred_offsets[row + 1]):
                taken_in[barred_items[event]] = row
            for slot in range(size):
                taken_in[items[row, slot]] = row
            for item in order:
                if size == k:
                    break
                if taken_in[item] != row:
                    items[row, size], lists.scores[row, size] = item, rest[item]
                    size += 1
