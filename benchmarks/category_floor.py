"""What a category alone tells: items of the last item's category, by popularity or at random, then all others.

The floor of every model that knows items by their metadata. At random is the harder one for items without an event, of
which popularity says nothing.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.field_plan import CATEGORY
from models.recommender import Capabilities, ModelConfig, Validation
from models.row_recommender import RowRecommender, by_popularity
from models.sequences import FIRST_ITEM, Sequences
from models.stages import Pass, Run, Stage


class CategoryFloorConfig(ModelConfig):
    """How the items of a category are ordered."""

    order: Literal["popularity", "random"] = "popularity"


class CategoryFloor(RowRecommender[CategoryFloorConfig]):
    """Ranks within the deepest level of the last item's category path that it has."""

    name = "category_floor"
    label = "Category"
    reason = "of the category seen last"
    capabilities = Capabilities(trains_without_gradient=True, uses_metadata=True)
    Config = CategoryFloorConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {"small": CategoryFloorConfig()}

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Count the events of every item, or draw a number for it."""
        yield Pass("fit", lambda: self._weigh(train.without_unknown(), run))

    def _weigh(self, known: Sequences, run: Run) -> None:
        counts = np.bincount(known.items, minlength=self.num_items)
        self.order = by_popularity(counts)
        drawn = run.generator("fit").random(self.num_items)
        self._weights = (1 + counts if self.config.order == "popularity" else drawn + 1).astype(np.float32)

    def found(self, histories: Sequences) -> csr_array:
        """Return the weights of the items of the last item's category; no item is known to be of none."""
        categories = self._categories
        members = np.flatnonzero(categories)
        shape = (int(categories.max(initial=0)) + 1, self.num_items)
        of_category = csr_array((self._weights[members], (categories[members], members)), shape=shape)
        asked = np.flatnonzero(histories.lengths)
        last = categories[histories.items[histories.offsets[asked + 1] - 1]]
        ones, known = np.ones(len(asked), np.float32), last > 0
        queries = csr_array((ones[known], (asked[known], last[known])), shape=(len(histories), shape[0]))
        return csr_array(queries @ of_category)

    @cached_property
    def _categories(self) -> NDArray[np.int64]:
        """Number the category of every item, int64[num_items]; 0 where none is known."""
        out, base = np.zeros(self.num_items, np.int64), 0
        levels = [name for name in self.catalogue.fields if name.startswith(CATEGORY)]
        for name in sorted(levels, key=lambda name: int(name.removeprefix(CATEGORY))):
            values = self.catalogue.fields[name]
            first = values.first()
            out = np.where(first > 0, base + first, out)
            base += values.num_values
        out[:FIRST_ITEM] = 0
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights and the popularity order."""
        return {"weights": self._weights, "order": self.order}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take them over."""
        self._weights, self.order = state["weights"], state["order"]
