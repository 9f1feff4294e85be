"""A sample shop as data to rank on: what its signed-in users did, with no dirt and nothing written to a file."""

from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.datasets import Items
from models.catalogue import Catalogue
from models.sequences import FIRST_ITEM, Sequences
from pipelines.sample_shop import SampleShop
from pipelines.sample_shop_plan import Plan

SHOP: Final = SampleShop(num_users=10_000, num_items=2_000, num_clusters=40, events_per_day=12_500)


def read_shop(shop: SampleShop = SHOP) -> tuple[Items, Sequences]:
    """Return the shop's items, and the events of each user who came, in order of time."""
    plan = Plan.until(shop.without_dirt(), shop.num_days - 1)
    rows = np.concatenate([rows for _, rows, _ in plan.files(0, shop.num_days - 1)])
    rows = rows[rows["user"] >= 0]
    rows = rows[np.lexsort((rows["time"], rows["user"]))]
    users = np.unique(rows["user"])
    offsets = np.append(np.searchsorted(rows["user"], users), len(rows)).astype(np.int64)
    begin = np.datetime64(shop.first_day, "s").astype(np.int64)
    ids = pa.concat_arrays([pa.nulls(FIRST_ITEM, pa.string()), pa.array(plan.items.ids)])
    items = (rows["item"] + FIRST_ITEM).astype(np.int32)
    events = Sequences(items, begin + rows["time"] // 1000, offsets, users.astype(np.uint64))
    return Items(ids, Catalogue(len(ids))), events
