"""The planted structure of the sample shop's items: clusters, successors and drifting demand.

Items lie on one cycle per cluster, in a shuffled order, and each has the next of its cycle as its successor. The last
few of the order are never touched. New items lead into the cycle of their cluster, but no cycle leads to them; so a
successor holds for ever. Row by row draws keep an item the same, however many come after it.

Shapes: I items, C clusters, N any number of draws.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_settings import SampleShop

HOSTILE_ITEM_IDS = ('i"quoted"', "i'; DROP TABLE items; --", "i/../slash", "i,comma", "ítem-商品", "i 🛋️")
UNTOUCHED_SHARE = 0.03
ZIPF_EXPONENT = 0.9
DRIFT = 0.8
DRIFT_DAYS = (20, 60)
STAY_IN_CLUSTER = 0.7


@dataclass(frozen=True)
class Items:
    """Hold the planted items; the first `num_items` are there from the first day.

    `successor_I` is -1 for items that are never touched; their `weight_I` is 0.
    """

    ids: list[str]
    order: NDArray[np.int64]
    cluster_I: NDArray[np.int64]
    successor_I: NDArray[np.int64]
    first_day_I: NDArray[np.int64]
    weight_I: NDArray[np.float64]
    drift_days_I: NDArray[np.float64]
    drift_phase_I: NDArray[np.float64]

    @property
    def untouched(self) -> NDArray[np.int64]:
        """Return the numbers of the items that are never touched."""
        return np.flatnonzero(self.successor_I < 0)

    def demand(self, day_index: int) -> NDArray[np.float64]:
        """Return the weights of a day's catalogue: Zipf, moved up and down slowly by a wave of the item's own."""
        num = int(np.searchsorted(self.first_day_I, day_index, side="right"))
        wave = np.sin(2 * np.pi * (day_index / self.drift_days_I[:num] + self.drift_phase_I[:num]))
        return self.weight_I[:num] * np.exp(DRIFT * wave)


@dataclass(frozen=True)
class Market:
    """Draw items by the demand of one day, within a cluster or over all; sums run cluster by cluster."""

    items_I: NDArray[np.int64]
    sums_I: NDArray[np.float64]
    edges_C: NDArray[np.float64]

    @classmethod
    def of_day(cls, items: Items, num_clusters: int, day_index: int) -> Self:
        """Sort the day's demand by cluster."""
        demand_I = items.demand(day_index)
        cluster_I = items.cluster_I[: len(demand_I)]
        by_cluster_I = np.argsort(cluster_I, kind="stable")
        sums_I = np.cumsum(demand_I[by_cluster_I])
        ends_C = np.searchsorted(cluster_I[by_cluster_I], np.arange(num_clusters), side="right") - 1
        return cls(by_cluster_I, sums_I, np.concatenate([[0.0], sums_I[ends_C]]))

    def draw(self, rng: np.random.Generator, cluster_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw one item for each cluster given: mostly from that cluster, else from any."""
        stays_N = rng.random(len(cluster_N)) < STAY_IN_CLUSTER
        low_N = np.where(stays_N, self.edges_C[cluster_N], 0.0)
        high_N = np.where(stays_N, self.edges_C[cluster_N + 1], self.edges_C[-1])
        point_N = low_N + (high_N - low_N) * rng.random(len(cluster_N))
        # Rounding may reach the upper edge, which belongs to the next cluster.
        point_N = np.minimum(point_N, np.nextafter(high_N, 0))
        return self.items_I[np.searchsorted(self.sums_I, point_N, side="right")]


def plant_items(config: SampleShop, num_items: int) -> Items:
    """Plant the shop's first `num_items` items (at least the first day's catalogue)."""
    rng = config.generator("items")
    order = rng.permutation(config.num_items)
    rank_I = rng.permutation(config.num_items) + 1.0
    draws_ID = rng.random((num_items, 5))
    num_new = num_items - config.num_items
    cluster_I = np.concatenate([np.empty_like(order), _below(config.num_clusters, draws_ID[config.num_items :, 0])])
    cluster_I[order] = np.arange(config.num_items) % config.num_clusters
    rank_I = np.concatenate([rank_I, 1 + draws_ID[config.num_items :, 1] * config.num_items / 2])
    successor_I = _successors(config, order, cluster_I, draws_ID[:, 2])
    return Items(
        ids=_ids(num_items, order),
        order=order,
        cluster_I=cluster_I,
        successor_I=successor_I,
        first_day_I=np.concatenate([np.zeros_like(order), _first_days(config, num_new)]),
        weight_I=np.where(successor_I < 0, 0.0, rank_I**-ZIPF_EXPONENT),
        drift_days_I=DRIFT_DAYS[0] + draws_ID[:, 3] * (DRIFT_DAYS[1] - DRIFT_DAYS[0]),
        drift_phase_I=draws_ID[:, 4],
    )


def _below(limit: int | NDArray[np.int64], draw_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn draws in [0, 1) into whole numbers in [0, limit)."""
    return np.floor(draw_N * limit).astype(np.int64)


def _first_days(config: SampleShop, num_new: int) -> NDArray[np.int64]:
    return 1 + np.arange(num_new) // max(1, config.new_items_per_day)


def _num_active(config: SampleShop) -> int:
    num_untouched = max(1, round(UNTOUCHED_SHARE * config.num_items))
    return max(config.num_items - num_untouched, 2 * config.num_clusters)


def _successors(
    config: SampleShop, order: NDArray[np.int64], cluster_I: NDArray[np.int64], draw_I: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Close one cycle per cluster over the active items, and lead every new item into its cluster's cycle."""
    num_active = _num_active(config)
    successor_I = np.full(len(cluster_I), -1)
    place = np.arange(num_active)
    following = np.where(
        place + config.num_clusters < num_active, place + config.num_clusters, place % config.num_clusters
    )
    successor_I[order[:num_active]] = order[following]
    new_cluster = cluster_I[config.num_items :]
    cycle_length = (num_active - 1 - new_cluster) // config.num_clusters + 1
    entry = new_cluster + config.num_clusters * _below(cycle_length, draw_I[config.num_items :])
    successor_I[config.num_items :] = order[entry]
    return successor_I


def _ids(num_items: int, order: NDArray[np.int64]) -> list[str]:
    ids = [f"i{number:05d}" for number in range(num_items)]
    for number, hostile in zip(order, HOSTILE_ITEM_IDS, strict=False):
        ids[number] = hostile
    return ids
