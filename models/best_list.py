"""Lists of the best k so far, as heaps whose root is the worst of them: the inner part of every exact ranking.

An entry is a score and a place. The better of two has the larger score; of equal scores, the smaller place.
"""

from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray


class BestLists(NamedTuple):
    """B heaps of up to k entries: scores float32[B, k] and places int32[B, k], of which the first sizes int32[B] count.

    Behind them scores are -inf and places -1.
    """

    scores: NDArray[np.float32]
    places: NDArray[np.int32]
    sizes: NDArray[np.int32]

    @classmethod
    def empty(cls, num_lists: int, k: int) -> Self:
        """Lists without an entry."""
        shape = (num_lists, k)
        return cls(np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int32), np.zeros(num_lists, np.int32))

    def of(self, rows: slice) -> Self:
        """Some of the lists, in the same memory."""
        return type(self)(self.scores[rows], self.places[rows], self.sizes[rows])


@njit(cache=True, nogil=True)
def push(scores: NDArray[np.float32], places: NDArray[np.int32], size: int, score: np.float32, place: int) -> int:
    """Offer an entry to a heap that holds ``size`` of at most len(scores) entries; return how many it holds then."""
    if size == len(scores):
        if _is_worse(scores[0], places[0], score, place):
            _sink(scores, places, size, score, place)
        return size
    slot = size
    while slot > 0:
        parent = (slot - 1) // 2
        if not _is_worse(score, place, scores[parent], places[parent]):
            break
        scores[slot], places[slot] = scores[parent], places[parent]
        slot = parent
    scores[slot], places[slot] = score, place
    return size + 1


@njit(cache=True, nogil=True)
def sort(scores: NDArray[np.float32], places: NDArray[np.int32], size: int) -> None:
    """Turn a heap of ``size`` entries, in place, into a list with the best entry first."""
    for last in range(size - 1, 0, -1):
        score, place = scores[last], places[last]
        scores[last], places[last] = scores[0], places[0]
        _sink(scores, places, last, score, place)


@njit(cache=True, nogil=True)
def sort_lists(lists: BestLists) -> None:
    """Do so with every heap."""
    for row in range(len(lists.sizes)):
        sort(lists.scores[row], lists.places[row], lists.sizes[row])


@njit(cache=True, nogil=True)
def _is_worse(score: np.float32, place: int, other_score: np.float32, other_place: int) -> bool:
    return bool(score < other_score or (score == other_score and place > other_place))


@njit(cache=True, nogil=True)
def _sink(scores: NDArray[np.float32], places: NDArray[np.int32], size: int, score: np.float32, place: int) -> None:
    """Put an entry in the root's stead, and let it sink until nothing below it is worse."""
    slot = 0
    while 2 * slot + 1 < size:
        child = 2 * slot + 1
        if child + 1 < size and _is_worse(scores[child + 1], places[child + 1], scores[child], places[child]):
            child += 1
        if not _is_worse(scores[child], places[child], score, place):
            break
        scores[slot], places[slot] = scores[child], places[child]
        slot = child
    scores[slot], places[slot] = score, place
