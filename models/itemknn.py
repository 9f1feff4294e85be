"""Item-based nearest neighbours: items that the same users touched (Sarwar et al. 2001, "Item-based collaborative
filtering recommendation algorithms").

similarity(i, j) = users with both / (sqrt(users with i * users with j) + shrinkage); the shrinkage distrusts pairs with
little evidence. The `num_neighbours` most similar of each item are kept, ties by popularity. Rows are computed in
blocks, so no dense item x item matrix exists. A sequence of n distinct items costs n^2, so only its last `max_events`
events count: the cost of a fit is at most sequences * max_events^2, however long a robot's history is.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt
from scipy.sparse import csr_array

from models.item_to_item import ItemToItem, ItemToItemConfig
from models.recommender import Capabilities, ModelConfig
from models.row_recommender import by_popularity
from models.sequences import Sequences

BLOCK_ENTRIES = 4_000_000  # non-zeros of one block of rows before it is cut down, about 60 bytes each while sorted


class ItemKnnConfig(ItemToItemConfig):
    """Neighbours kept, shrinkage, and the events of a sequence that count, beside how a history asks."""

    query_events: PositiveInt = 50
    query_decay: float = Field(default=0.9, gt=0, le=1)
    num_neighbours: PositiveInt = 100
    shrinkage: NonNegativeFloat = 10
    max_events: PositiveInt = 500


class ItemKnn(ItemToItem[ItemKnnConfig]):
    """Ranks by decayed similarity to the last events; ties and the rest by popularity."""

    name = "itemknn"
    label = "Item-kNN"
    reason = "chosen by users with similar events"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = ItemKnnConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": ItemKnnConfig(num_neighbours=50),
        "small": ItemKnnConfig(),
        "paper": ItemKnnConfig(num_neighbours=200),
    }

    def similarities(self, known: Sequences, popularity: NDArray[np.int64]) -> csr_array:
        """Find the neighbours of every item."""
        return self._neighbours(touched(known.tail(self.config.max_events), self.num_items), popularity)

    def _neighbours(self, users: csr_array, popularity: NDArray[np.int64]) -> csr_array:
        """Keep the most similar items of every item, float64 CSR [num_items, num_items]."""
        items = csr_array(users.T)
        num_users = np.diff(items.indptr)
        tie_rank = np.argsort(by_popularity(popularity))
        most = np.minimum(items @ np.diff(users.indptr), self.num_items)
        lengths, indices, data = [], [], []
        for block in row_blocks(most):
            together = csr_array(items[block] @ users)
            rows = np.repeat(np.arange(block.start, block.stop), np.diff(together.indptr))
            columns = together.indices
            similarity = together.data / (np.sqrt(num_users[rows] * num_users[columns]) + self.config.shrinkage)
            kept = self._best_of_rows(rows, similarity, tie_rank[columns], rows != columns)
            lengths.append(np.bincount(rows[kept] - block.start, minlength=block.stop - block.start))
            indices.append(columns[kept])
            data.append(similarity[kept])
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        return csr_array((np.concatenate(data), np.concatenate(indices), indptr), shape=(self.num_items,) * 2)

    def _best_of_rows(
        self,
        rows: NDArray[np.int64],
        similarity: NDArray[np.float64],
        tie_rank: NDArray[np.int64],
        eligible: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Return the entries of the most similar neighbours in each row, by row and then falling similarity."""
        entries = np.flatnonzero(eligible)
        entries = entries[np.lexsort((tie_rank[entries], -similarity[entries], rows[entries]))]
        ordered = rows[entries]
        rank = np.arange(len(entries)) - np.searchsorted(ordered, ordered)
        return entries[rank < self.config.num_neighbours]


def touched(histories: Sequences, num_items: int) -> csr_array:
    """Return the binary float64 CSR [S, num_items] of which sequence holds which item, repeats counted once."""
    shape = (len(histories), num_items)
    binary = csr_array((np.ones(len(histories.items)), histories.items, histories.offsets), shape=shape)
    binary.sum_duplicates()
    binary.data[:] = 1
    return binary


def row_blocks(entries: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows into runs of about BLOCK_ENTRIES, given the most entries that each row can have."""
    block = np.cumsum(entries) // BLOCK_ENTRIES
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1, [len(entries)]])
    yield from (slice(int(start), int(stop)) for start, stop in pairwise(cuts))
