from datetime import date

import numpy as np

from pipelines.sample_shop_items import HOSTILE_ITEM_IDS, plant_items
from pipelines.sample_shop_sessions import ROW
from pipelines.sample_shop_settings import SampleShop
from pipelines.sample_shop_truth import DayTruth, ShopTruth
from pipelines.sample_shop_visitors import HOSTILE_USER_IDS, plant_visitors

CONFIG = SampleShop(num_items=40, num_clusters=4, num_users=30, events_per_day=30, new_items_per_day=2)


def test_counts_are_those_of_the_kinds() -> None:
    rows = np.zeros(10, ROW)
    rows["kind"] = [0, 0, 0, 1, 1, 4, 8, 8, 8, 0]
    truth = DayTruth.of_rows(rows, num_sessions=6)
    assert (truth.num_rows, truth.num_clean, truth.num_sessions) == (10, 4, 6)
    assert truth.num_planted == {
        "null_user": 2,
        "null_item": 0,
        "bad_time": 0,
        "future_time": 1,
        "unknown_item": 0,
        "duplicate_row": 0,
        "late_event": 0,
        "malformed": 3,
    }


def test_items_and_users_go_by_their_ids() -> None:
    items, visitors = plant_items(CONFIG, 44), plant_visitors(CONFIG, 4.0)
    truth = ShopTruth.of_shop(CONFIG, items, visitors, {})
    assert truth.clusters.keys() == truth.first_days.keys() == set(items.ids)
    assert truth.successors.keys() == set(items.ids) - truth.untouched_items
    assert all(truth.clusters[before] == truth.clusters[after] for before, after in truth.successors.items())
    assert [truth.first_days[item] for item in items.ids[39:]] == [date(2026, 1, day) for day in (1, 2, 2, 3, 3)]
    assert truth.uniform_users | truth.bursty_users == set(visitors.ids)
    assert truth.hostile_items == set(HOSTILE_ITEM_IDS)
    assert truth.hostile_users == set(HOSTILE_USER_IDS)
