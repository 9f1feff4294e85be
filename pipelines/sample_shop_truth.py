"""The planted truth of the sample shop: what a test may hold against whatever is read from its files."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_items import HOSTILE_ITEM_IDS, Items
from pipelines.sample_shop_settings import DIRT_KINDS, SampleShop
from pipelines.sample_shop_visitors import HOSTILE_USER_IDS, Visitors


@dataclass(frozen=True)
class DayTruth:
    """Count one day's file: its lines, its planted dirt of each kind, and the sessions that start on the day.

    A duplicate row is the second of two identical lines; a late event is a sound line in the wrong file. Sessions are
    counted before dirt, which may hide a short one altogether.
    """

    num_rows: int
    num_planted: dict[str, int]
    num_sessions: int

    @classmethod
    def of_rows(cls, rows: NDArray[np.void], num_sessions: int) -> Self:
        """Count the rows of a file by kind."""
        counts = np.bincount(rows["kind"], minlength=len(DIRT_KINDS) + 1)[1:]
        return cls(len(rows), dict(zip(DIRT_KINDS, counts.tolist(), strict=True)), num_sessions)

    @property
    def num_clean(self) -> int:
        """Return the number of lines without planted dirt."""
        return self.num_rows - sum(self.num_planted.values())


@dataclass(frozen=True)
class ShopTruth:
    """Hold the whole shop's truth, by day, by item id and by user id.

    `successors` has every item but `untouched_items`; an item outside these may still have no event by chance.
    """

    days: dict[date, DayTruth]
    clusters: dict[str, int]
    successors: dict[str, str]
    first_days: dict[str, date]
    uniform_users: frozenset[str]
    bursty_users: frozenset[str]
    untouched_items: frozenset[str]
    hostile_items: frozenset[str]
    hostile_users: frozenset[str]

    @classmethod
    def of_shop(cls, config: SampleShop, items: Items, visitors: Visitors, days: dict[date, DayTruth]) -> Self:
        """Gather the truth of the planted items and visitors, and of the days counted."""
        followed = np.flatnonzero(items.successor_I >= 0)
        successor_I = items.successor_I[followed]
        return cls(
            days=days,
            clusters=dict(zip(items.ids, items.cluster_I.tolist(), strict=True)),
            successors={items.ids[a]: items.ids[b] for a, b in zip(followed, successor_I, strict=True)},
            first_days={
                item: config.first_day + timedelta(days=index)
                for item, index in zip(items.ids, items.first_day_I.tolist(), strict=True)
            },
            uniform_users=visitors.users(bursty=False),
            bursty_users=visitors.users(bursty=True),
            untouched_items=frozenset(items.ids[number] for number in items.untouched),
            hostile_items=frozenset(items.ids) & frozenset(HOSTILE_ITEM_IDS),
            hostile_users=frozenset(visitors.ids) & frozenset(HOSTILE_USER_IDS),
        )
