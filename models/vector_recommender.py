"""A model that scores by the product of a vector of the history with a vector of each item."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.chunks import Ranked, rank_in_chunks
from models.recommender import ModelConfig, Recommender
from models.sequences import Sequences
from models.top_products import top_products

CHUNK_SUBJECTS = 8192

VectorConfigT = TypeVar("VectorConfigT", bound=ModelConfig)


class VectorRecommender(Recommender[VectorConfigT], Generic[VectorConfigT]):
    """A model that implements `queries` and `item_blocks`; ranking is here. Equal scores stand by item number."""

    @abstractmethod
    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Return the vector of every history, float32[B, D]: bit for bit the same whatever the other histories are."""

    @abstractmethod
    def item_blocks(self) -> Iterable[NDArray[np.float32]]:
        """Return the vectors of all items, float32[*, D], block after block from number 0 on.

        Those of the special numbers are not looked at. A model that can compute vectors holds one block at a time.
        """

    def rank(self, histories: Sequences, k: int, allowed: NDArray[np.bool_], *, exclude_seen: bool) -> Ranked:
        """Rank by product, a chunk of histories at a time."""

        def rank_chunk(chunk: Sequences) -> Ranked:
            return top_products(self.queries(chunk), self.item_blocks(), k, allowed, chunk if exclude_seen else None)

        return rank_in_chunks(histories, k, CHUNK_SUBJECTS, rank_chunk)
