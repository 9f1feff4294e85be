"""The plan of a sample shop: what is planted once, and the rows of any day's file that follow from it.

A file has rows of two batches: those of sessions that start on its day, and what the day before left over (events
after midnight, late events). So each day is made without the ones before, and memory holds two days at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_dirt import plant_dirt
from pipelines.sample_shop_items import Items, plant_items
from pipelines.sample_shop_sessions import MEAN_LENGTH, ROW, sessions_of_day
from pipelines.sample_shop_settings import SampleShop
from pipelines.sample_shop_truth import DayTruth
from pipelines.sample_shop_visitors import Visitors, plant_visitors


@dataclass(frozen=True)
class Batch:
    """Hold the soiled rows of the sessions that start on one day, split by the file they stand in."""

    own_day: NDArray[np.void]
    next_day: NDArray[np.void]
    num_sessions: int


@dataclass(frozen=True)
class Plan:
    """Hold what is planted once for all days."""

    config: SampleShop
    items: Items
    visitors: Visitors

    @classmethod
    def until(cls, config: SampleShop, day_index: int) -> Self:
        """Plant the visitors, and the items of the days up to one."""
        items = plant_items(config, config.num_items_on(day_index))
        return cls(config, items, plant_visitors(config, MEAN_LENGTH))

    def batch(self, day_index: int) -> Batch:
        """Return the rows of the sessions that start on a day; none before the first day."""
        if day_index < 0:
            return Batch(np.empty(0, ROW), np.empty(0, ROW), 0)
        rows = sessions_of_day(self.config, self.items, self.visitors, day_index)
        num_sessions = int(rows["session"][-1] - rows["session"][0]) + 1 if len(rows) else 0
        return Batch(*plant_dirt(self.config, rows, day_index), num_sessions)

    def files(self, first_index: int, last_index: int) -> Iterator[tuple[date, NDArray[np.void], DayTruth]]:
        """Yield each day with its file's rows, in order of arrival, and their counts."""
        before = self.batch(first_index - 1)
        for day_index in range(first_index, last_index + 1):
            batch = self.batch(day_index)
            rows = np.concatenate([before.next_day, batch.own_day])
            rows = rows[np.argsort(rows["arrival"], kind="stable")]
            yield self.config.first_day + timedelta(days=day_index), rows, DayTruth.of_rows(rows, batch.num_sessions)
            before = batch
