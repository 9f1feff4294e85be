"""First-order transitions, and optionally those over several steps: what followed this item for others.

The matrix counts pairs (item, item `s` events later in the same sequence), s = 1 to `num_steps`, each weighing
step_decay^(s-1). A row is divided by the square root of its sum: dividing by the sum itself would let an item seen once
speak as loudly as one seen often, not dividing at all would let the popular ones drown the rest.
Unknown items are skipped: their neighbours count as adjacent. Cost and memory: num_steps times the events.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.sparse import coo_array, csr_array, diags_array

from models.item_to_item import ItemToItem, ItemToItemConfig
from models.recommender import Capabilities, ModelConfig
from models.sequences import Sequences


class MarkovConfig(ItemToItemConfig):
    """Steps counted and their decay, beside how a history asks."""

    query_events: PositiveInt = 10
    query_decay: float = Field(default=0.7, gt=0, le=1)
    num_steps: int = Field(default=1, ge=1, le=100)
    step_decay: float = Field(default=0.6, gt=0, le=1)


class Markov(ItemToItem[MarkovConfig]):
    """Ranks by decayed transitions from the last events; ties and the rest by popularity."""

    name = "markov"
    label = "Markov"
    reason = "often comes next after the last events"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = MarkovConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": MarkovConfig(),
        "small": MarkovConfig(),
        "paper": MarkovConfig(num_steps=3, query_decay=0.6),
    }

    def similarities(self, known: Sequences, popularity: NDArray[np.int64]) -> csr_array:
        """Count the transitions and scale each row."""
        counts = self._transitions(known)
        row_sums = counts.sum(axis=1)
        scale = 1 / np.sqrt(np.where(row_sums > 0, row_sums, 1))
        return csr_array(diags_array(scale) @ counts)

    def _transitions(self, known: Sequences) -> csr_array:
        """Sum the weights of all pairs, float64[num_items, num_items]."""
        rows = known.rows
        counts = csr_array((self.num_items, self.num_items))
        for step in range(1, self.config.num_steps + 1):
            same = rows[step:] == rows[:-step]
            pairs = (known.items[:-step][same], known.items[step:][same])
            weights = np.full(len(pairs[0]), self.config.step_decay ** (step - 1))
            counts = counts + coo_array((weights, pairs), shape=counts.shape).tocsr()
        return counts
