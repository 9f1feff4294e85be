"""A sample shop as data to rank on: what its signed-in users did, with no dirt and nothing written to a file."""

from datetime import UTC, datetime, time
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.datasets import Items
from models.catalogue import Catalogue
from models.sequences import FIRST_ITEM, Sequences
from pipelines.sample_shop import SampleShop
from pipelines.sample_shop_plan import Plan
from pipelines.sample_shop_sessions import sessions_of_day

SHOP: Final = SampleShop(num_users=10_000, num_items=2_000, num_clusters=40, events_per_day=12_500)
NO_USER: Final = -1


def read_shop(shop: SampleShop = SHOP) -> tuple[Items, Sequences]:
    """Return the shop's items, and the events of each user who came, in order of time."""
    plan = Plan.until(shop, shop.num_days - 1)
    rows = _rows(plan)
    rows = rows[np.lexsort((rows["time"], rows["user"]))]  # stable: a session's events keep their order
    users = np.unique(rows["user"])
    offsets = np.append(np.searchsorted(rows["user"], users), len(rows)).astype(np.int64)
    begin = int(datetime.combine(shop.first_day, time(), UTC).timestamp())
    ids = pa.concat_arrays([pa.nulls(FIRST_ITEM, pa.string()), pa.array(plan.items.ids)])
    items = (rows["item"] + FIRST_ITEM).astype(np.int32)
    return Items(ids, Catalogue(len(ids))), Sequences(items, begin + rows["time"] // 1000, offsets)


def _rows(plan: Plan) -> NDArray[np.void]:
    """Return the events of signed-in users on the shop's days; what a session does after the last midnight is not."""
    days = range(plan.config.num_days)
    rows = np.concatenate([sessions_of_day(plan.config, plan.items, plan.visitors, day) for day in days])
    is_within = rows["time"] < plan.config.num_days * 24 * 60 * 60 * 1000
    return rows[is_within & (rows["user"] != NO_USER)]
