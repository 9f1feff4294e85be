"""The settings of the sample shop: how large, how long, how dirty.

Everything else about the shop follows from these numbers and its seed. A day's events depend on the seed and on that
day alone, never on `num_days`, so a shop may be continued by another night at any time.
"""

from datetime import date, timedelta
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(ge=0, le=1)]
Stream = Literal["items", "words", "visitors", "sessions", "dirt"]

STREAMS: tuple[Stream, ...] = ("items", "words", "visitors", "sessions", "dirt")
DIRT_KINDS = (
    "null_user",
    "null_item",
    "bad_time",
    "future_time",
    "unknown_item",
    "duplicate_row",
    "late_event",
    "malformed",
)
MAX_EVENTS_PER_USER = 8
MIN_ITEMS_PER_CLUSTER = 4


class SampleShop(BaseModel):
    """Describe a sample shop; the dirt rates are shares of a day's events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    first_day: date = date(2026, 1, 1)
    num_days: int = Field(default=30, ge=1)
    num_users: int = Field(default=2000, ge=1)
    num_items: int = Field(default=800, ge=1, description="items in the first day's catalogue")
    events_per_day: int = Field(default=2500, ge=1, description="mean number of events before dirt")
    num_clusters: int = Field(default=20, ge=1)
    new_items_per_day: int = Field(default=3, ge=0)
    bursty_share: Rate = Field(default=0.5, description="share of users whose visits come in clumps")
    anonymous_share: float = Field(default=0.1, ge=0, le=0.9, description="share of sessions without a user")
    compression: Literal["none", "gz"] = "none"

    null_user: Rate = Field(default=0.004, description="neither user nor session")
    null_item: Rate = Field(default=0.004, description="no item")
    bad_time: Rate = Field(default=0.003, description="a time that no parser reads")
    future_time: Rate = Field(default=0.003, description="a time at least 30 days ahead")
    unknown_item: Rate = Field(default=0.006, description="an item that no catalogue has")
    duplicate_row: Rate = Field(default=0.008, description="the identical row again, in the same file")
    late_event: Rate = Field(default=0.008, description="an event of the day before, in this day's file")
    malformed: Rate = Field(default=0.002, description="a line that ends too early")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        limit = MAX_EVENTS_PER_USER * self.num_users
        if self.events_per_day > limit:
            raise ValueError(
                f"events_per_day={self.events_per_day} is too many for num_users={self.num_users}: "
                f"at most {limit} ({MAX_EVENTS_PER_USER} a user). Lower it or raise num_users."
            )
        fewest = MIN_ITEMS_PER_CLUSTER * self.num_clusters
        if self.num_items < fewest:
            raise ValueError(
                f"num_items={self.num_items} is too few for num_clusters={self.num_clusters}: "
                f"at least {fewest} ({MIN_ITEMS_PER_CLUSTER} a cluster). Raise it or lower num_clusters."
            )
        if sum(self.dirt_rates) > 1:
            raise ValueError(f"the dirt rates sum to {sum(self.dirt_rates):.3f}; allowed is at most 1. Lower some.")
        return self

    @property
    def dirt_rates(self) -> tuple[float, ...]:
        """Return the rates in the order of `DIRT_KINDS`."""
        return tuple(getattr(self, kind) for kind in DIRT_KINDS)

    @property
    def days(self) -> list[date]:
        """Return the days of the shop, in order."""
        return [self.first_day + timedelta(days=index) for index in range(self.num_days)]

    def without_dirt(self) -> Self:
        """Return the same shop with every dirt rate at 0; its events stay the same."""
        return self.model_copy(update=dict.fromkeys(DIRT_KINDS, 0.0))

    def day_index(self, day: date) -> int:
        """Count the days from `first_day`; raise ValueError before it."""
        index = (day - self.first_day).days
        if index < 0:
            raise ValueError(f"day={day} lies before first_day={self.first_day}. Choose a day from then on.")
        return index

    def num_items_on(self, day_index: int) -> int:
        """Return the size of the catalogue of a day; items never leave it."""
        return self.num_items + day_index * self.new_items_per_day

    def generator(self, stream: Stream, day_index: int = 0) -> np.random.Generator:
        """Return the generator of one stream and day, independent of all the others."""
        seeds = np.random.SeedSequence(self.seed, spawn_key=(STREAMS.index(stream), day_index))
        return np.random.default_rng(seeds)
