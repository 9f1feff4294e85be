"""What markov and itemknn share: one sparse item-to-item matrix, queried with the last events of a history.

score(history, j) = sum over its last events e of decay^age(e) * matrix[item(e), j].
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.sparse import csr_array

from models.recommender import ModelConfig, Validation
from models.row_recommender import RowRecommender, by_popularity
from models.sequences import Sequences
from models.stages import Pass, Run, Stage


class ItemToItemConfig(ModelConfig):
    """How a history asks: with its last `query_events`, each older one counting `query_decay` times the next."""

    query_events: PositiveInt
    query_decay: float = Field(gt=0, le=1)


ItemToItemConfigT = TypeVar("ItemToItemConfigT", bound=ItemToItemConfig)


class ItemToItem(RowRecommender[ItemToItemConfigT], Generic[ItemToItemConfigT]):
    """A model that implements `similarities`; the rest is here. Memory: the matrix's non-zeros, 8 bytes each."""

    @abstractmethod
    def similarities(self, known: Sequences, popularity: NDArray[np.int64]) -> csr_array:
        """Return float[num_items, num_items] positive similarities, given known items and their event counts."""

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Compute the matrix."""
        yield Pass("fit", lambda: self._remember(train.without_unknown()))

    def _remember(self, known: Sequences) -> None:
        popularity = np.bincount(known.items, minlength=self.num_items)
        self.order = by_popularity(popularity)
        self._matrix = self.similarities(known, popularity).astype(np.float32)

    def found(self, histories: Sequences) -> csr_array:
        """Return the similarity to the history, of the items that have one."""
        recent = histories.tail(self.config.query_events)
        return csr_array(decayed(recent, self.config.query_decay, self.num_items) @ self._matrix)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the compressed rows of the matrix and the popularity order."""
        matrix = self._matrix
        return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "order": self.order}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over matrix and order."""
        rows = (state["data"], state["indices"], state["indptr"])
        self._matrix = csr_array(rows, shape=(self.num_items, self.num_items))
        self.order = state["order"]


def decayed(histories: Sequences, decay: float, num_items: int) -> csr_array:
    """Weigh every event by decay^age, age 0 for the newest: float64 CSR [B, num_items]; repeats of an item add up."""
    age = np.repeat(histories.lengths, histories.lengths) - 1 - histories.positions
    shape = (len(histories), num_items)
    queries = csr_array((decay ** age.astype(np.float64), histories.items, histories.offsets), shape=shape)
    queries.sum_duplicates()
    return queries
