"""Popularity: the items with most events lately, the same list for everyone. The first floor and the last fallback.

Events may be weighted by age with a half-life, so that last night counts more than last month.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat
from scipy.sparse import csr_array

from models.recommender import Capabilities, ModelConfig, Recommender, Validation
from models.sequences import SECONDS_PER_DAY, Sequences
from models.stages import Pass, Run, Stage
from models.top_rows import top_rows


class PopularConfig(ModelConfig):
    """Which events count: those of the last `window_days` before the newest one (0: all of them).

    half_life_days: age at which an event counts half (0: age does not matter).
    """

    window_days: NonNegativeFloat = 0
    half_life_days: NonNegativeFloat = 0


class Popular(Recommender[PopularConfig]):
    """Ranks by weighted event counts; ties by the counts of the whole training part, then item number."""

    name = "popular"
    label = "Popular"
    reason = "popular"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = PopularConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": PopularConfig(window_days=30),
        "small": PopularConfig(window_days=30),
        "paper": PopularConfig(),
    }

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Count the events of every item."""
        yield Pass("fit", lambda: self._count(train.without_unknown()))

    def _count(self, known: Sequences) -> None:
        totals = np.bincount(known.items, minlength=self.num_items)
        counts = np.bincount(known.items, weights=self._event_weights(known.times), minlength=self.num_items)
        self.take_counts(counts, totals)

    def take_counts(self, counts: NDArray[Any], totals: NDArray[Any]) -> None:
        """Rank by weighted counts, ties by the counts of all events; both [num_items]."""
        # The order is settled in float64: float32 scores may only add ties to it, never turn it round.
        self._order = np.lexsort((-totals, -counts)).astype(np.int32)
        self._scores = (counts / max(counts.sum(), 1)).astype(np.float32)
        self._is_fitted = True

    def _event_weights(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        age_days = (times.max() - times) / SECONDS_PER_DAY
        window_days, half_life_days = self.config.window_days, self.config.half_life_days
        weights = np.exp2(-age_days / half_life_days) if half_life_days else np.ones(len(times))
        return np.where(age_days <= window_days, weights, 0.0) if window_days else weights

    def rank(
        self, histories: Sequences, k: int, allowed: NDArray[np.bool_], *, exclude_seen: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rank all items in the one order; the score is the item's share of weighted events."""
        found = csr_array((len(histories), self.num_items), dtype=np.float32)
        return top_rows(found, self._order, self._scores, k, allowed, histories if exclude_seen else None)

    def tie_order(self) -> NDArray[np.int32]:
        """Return the items by unrounded count, then by all their events, then by number."""
        return self._order

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the scores and the order of the items."""
        return {"scores": self._scores, "order": self._order}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over scores and order."""
        self._scores, self._order = state["scores"], state["order"]
