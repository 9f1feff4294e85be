"""A model that gives a score to some items after each history, and ranks all others by popularity below them."""

from abc import abstractmethod
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.chunks import Ranked, rank_in_chunks
from models.recommender import ModelConfig, Recommender
from models.sequences import Sequences
from models.top_rows import top_rows

CHUNK_SUBJECTS = 2048

RowConfigT = TypeVar("RowConfigT", bound=ModelConfig)


class RowRecommender(Recommender[RowConfigT], Generic[RowConfigT]):
    """A model that implements `found` and sets `order`; ranking is here.

    order: int32[num_items], all items by popularity. Equal scores stand in it, and so do the items that are not found,
    whose score is -(place in it, from 1) / num_items: below 0, and so below all that is found.
    """

    order: NDArray[np.int32]

    @abstractmethod
    def found(self, histories: Sequences) -> csr_array:
        """Return the scores that the model has a ground for, 0 or more: CSR [B, num_items] without duplicates.

        A row must not depend on the other histories. Unknown items are not among them.
        """

    def rank(self, histories: Sequences, k: int, allowed: NDArray[np.bool_], *, exclude_seen: bool) -> Ranked:
        """Rank what is found, then the rest, a chunk of histories at a time."""
        rest = self._rest()

        def rank_chunk(chunk: Sequences) -> Ranked:
            found = self.found(chunk.without_unknown())
            return top_rows(found, self.order, rest, k, allowed, chunk if exclude_seen else None)

        return rank_in_chunks(histories, k, CHUNK_SUBJECTS, rank_chunk)

    def _rest(self) -> NDArray[np.float32]:
        """Return the score of every item that is not found, float32[num_items]."""
        rest = np.empty(self.num_items, np.float32)
        rest[self.order] = -np.arange(1, self.num_items + 1) / self.num_items
        return rest

    def reached(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Items that were not found have a score below 0."""
        return scores >= 0

    def tie_order(self) -> NDArray[np.int32]:
        """Return the items by popularity."""
        return self.order


def by_popularity(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Order all item numbers by count, the largest first, then by number.

    >>> by_popularity(np.array([0, 0, 3, 7, 3]))
    array([3, 2, 4, 0, 1], dtype=int32)
    """
    return np.argsort(-counts, kind="stable").astype(np.int32)
