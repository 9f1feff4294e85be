"""What markov and itemknn share: one sparse item-to-item matrix, queried with the last events of a history.

score(history, j) = sum over its last events e of decay^age(e) * matrix[item(e), j]. Items that this does not reach
are ranked by popularity below all that it does reach, so a list is always full; popularity also breaks ties.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.sparse import csr_array

from models.recommender import FitReport, ModelConfig, Recommender, StepRecord, Validation
from models.sequences import Sequences


class ItemToItemConfig(ModelConfig):
    """How a history asks: with its last `query_events`, each older one counting `query_decay` times the next."""

    query_events: PositiveInt
    query_decay: float = Field(gt=0, le=1)


ItemToItemConfigT = TypeVar("ItemToItemConfigT", bound=ItemToItemConfig)


class ItemToItem(Recommender[ItemToItemConfigT], Generic[ItemToItemConfigT]):
    """A model whose `learn` calls `remember` with its matrix; the rest is here.

    Memory: the matrix's non-zeros, 12 bytes each.
    """

    @abstractmethod
    def learn(
        self, train: Sequences, validation: Validation | None, *, seed: int, on_step: Callable[[StepRecord], None]
    ) -> FitReport:
        """Compute the matrix and `remember` it."""

    def remember(self, matrix: csr_array, popularity: NDArray[np.int64]) -> None:
        """Keep float64[num_items, num_items] positive similarities and the event counts int64[num_items]."""
        self._matrix = matrix
        self._order = by_popularity(popularity)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """Return the similarity to the history where there is one (0 or more), else -(popularity rank)/num_items."""
        recent = histories.without_unknown().tail(self.config.query_events)
        found = csr_array(decayed(recent, self.config.query_decay, self.num_items) @ self._matrix)
        fallback = np.empty(self.num_items, np.float32)
        fallback[self._order] = -np.arange(1, self.num_items + 1) / self.num_items
        dense = np.tile(fallback, (len(histories), 1))
        dense[np.repeat(np.arange(len(histories)), np.diff(found.indptr)), found.indices] = found.data
        return dense

    def reached(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Items without a similarity to the history have a score below 0."""
        return scores >= 0

    def tie_order(self) -> NDArray[np.int32]:
        """Return the items by popularity, then number."""
        return self._order

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the compressed rows of the matrix and the popularity order."""
        matrix = self._matrix
        return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "order": self._order}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over matrix and order."""
        rows = (state["data"], state["indices"], state["indptr"])
        self._matrix = csr_array(rows, shape=(self.num_items, self.num_items))
        self._order = state["order"]


def by_popularity(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Order all item numbers by count, the largest first, then by number.

    >>> by_popularity(np.array([0, 0, 3, 7, 3]))
    array([3, 2, 4, 0, 1], dtype=int32)
    """
    return np.argsort(-counts, kind="stable").astype(np.int32)


def decayed(histories: Sequences, decay: float, num_items: int) -> csr_array:
    """Weigh every event by decay^age, age 0 for the newest: float64 CSR [B, num_items]; repeats of an item add up."""
    age = np.repeat(histories.lengths, histories.lengths) - 1 - histories.positions
    shape = (len(histories), num_items)
    queries = csr_array((decay ** age.astype(np.float64), histories.items, histories.offsets), shape=shape)
    queries.sum_duplicates()
    return queries
