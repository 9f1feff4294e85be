"""The planted dirt of the sample shop: each event bears at most one kind.

Kinds that change a field are planted here; the text of a bad time and the cut of a malformed line come with writing.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.sample_shop_sessions import DAY_MS, NO_SESSION
from pipelines.sample_shop_settings import DIRT_KINDS, SampleShop
from pipelines.sample_shop_visitors import MINUTE_MS

KIND = {kind: number for number, kind in enumerate(DIRT_KINDS, start=1)}
UNKNOWN_ITEM_IDS = tuple(f"gone-{number:02d}" for number in range(50))
FUTURE_DAYS = (30, 3650)


def plant_dirt(config: SampleShop, rows: NDArray[np.void], day_index: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Soil the rows of the sessions of one day; return those of that day's file and those of the next day's.

    An event after midnight stands in the next day's file and is never late, so that a file has rows of two days only.
    """
    rng = config.generator("dirt", day_index)
    midnight = (day_index + 1) * DAY_MS
    edges = np.cumsum(config.dirt_rates)
    kind = np.searchsorted(edges, rng.random(len(rows)), side="right") + 1
    kind[kind > len(DIRT_KINDS)] = 0
    kind[(kind == KIND["late_event"]) & (rows["time"] >= midnight)] = 0
    rows["kind"] = kind
    is_next = (rows["time"] >= midnight) | (kind == KIND["late_event"])
    _soil_fields(rng, rows, midnight)
    copied = np.flatnonzero(kind == KIND["duplicate_row"])
    rows["kind"][copied] = 0
    copies = rows[copied]
    copies["kind"] = KIND["duplicate_row"]
    copies["arrival"] += rng.integers(1, MINUTE_MS, len(copies))
    rows = np.concatenate([rows, copies])
    is_next = np.concatenate([is_next, is_next[copied]])
    return rows[~is_next], rows[is_next]


def _soil_fields(rng: np.random.Generator, rows: NDArray[np.void], midnight: int) -> None:
    """Change in place the fields that the rows' kinds ask for."""
    kind = rows["kind"]
    rows["user"][kind == KIND["null_user"]] = -1
    rows["session"][kind == KIND["null_user"]] = NO_SESSION
    rows["item"][kind == KIND["null_item"]] = -1
    unknown = np.flatnonzero(kind == KIND["unknown_item"])
    rows["item"][unknown] = -2 - rng.integers(0, len(UNKNOWN_ITEM_IDS), len(unknown))
    future = np.flatnonzero(kind == KIND["future_time"])
    rows["time"][future] += DAY_MS * rng.integers(*FUTURE_DAYS, len(future))
    late = np.flatnonzero(kind == KIND["late_event"])
    rows["arrival"][late] = midnight + rng.integers(0, DAY_MS, len(late))
