from unittest.mock import Mock

import numpy as np
import pytest

from pipelines.sample_shop_items import HOSTILE_ITEM_IDS, Items, Market, plant_items
from pipelines.sample_shop_settings import SampleShop

CONFIG = SampleShop(num_items=103, num_clusters=5, new_items_per_day=4)


@pytest.fixture(scope="module")
def items() -> Items:
    return plant_items(CONFIG, CONFIG.num_items_on(10))


def test_each_cluster_is_one_cycle_of_its_touched_items(items: Items) -> None:
    for cluster in range(5):
        members = np.flatnonzero((items.cluster_I[:103] == cluster) & (items.successor_I[:103] >= 0))
        walked = [members[0]]
        for _ in range(len(members) - 1):
            walked.append(items.successor_I[walked[-1]])
        assert sorted(walked) == members.tolist()
        assert items.successor_I[walked[-1]] == walked[0]


def test_new_items_lead_into_their_clusters_cycle_and_nothing_leads_to_them(items: Items) -> None:
    entered = items.successor_I[103:]
    assert len(entered) == 40
    assert (items.cluster_I[entered] == items.cluster_I[103:]).all()
    assert (items.successor_I[entered] >= 0).all()
    assert items.successor_I.max() < 103


def test_new_items_come_four_a_day(items: Items) -> None:
    assert np.bincount(items.first_day_I).tolist() == [103] + [4] * 10


def test_untouched_items_are_of_the_first_day_and_have_no_demand(items: Items) -> None:
    assert len(items.untouched) == 3
    assert items.untouched.max() < 103
    assert (items.demand(10)[items.untouched] == 0).all()
    assert np.count_nonzero(items.demand(10)) == 140


def test_an_item_stays_the_same_however_many_come_after_it(items: Items) -> None:
    early = plant_items(CONFIG, CONFIG.num_items_on(3))
    assert len(early.ids) == 115
    assert early.ids == items.ids[:115]
    for field in ("cluster_I", "successor_I", "first_day_I", "weight_I", "drift_days_I", "drift_phase_I"):
        np.testing.assert_array_equal(getattr(early, field), getattr(items, field)[:115])
    np.testing.assert_array_equal(early.demand(3), items.demand(3))


def test_demand_drifts_slowly(items: Items) -> None:
    rank = {day: np.argsort(np.argsort(-items.demand(day)[:103])) for day in (0, 1, 10)}
    moved = {day: np.abs(rank[day] - rank[0]).mean() for day in (1, 10)}
    assert 0 < moved[1] < 4
    assert moved[10] > 2 * moved[1]


def test_hostile_ids_belong_to_touched_items(items: Items) -> None:
    numbers = [items.ids.index(hostile) for hostile in HOSTILE_ITEM_IDS]
    assert (items.successor_I[numbers] >= 0).all()


def test_draws_follow_demand_and_keep_to_the_cluster(items: Items) -> None:
    market = Market.of_day(items, 5, 10)
    drawn = market.draw(np.random.default_rng(0), np.full(200_000, 2))
    demand = items.demand(10)
    inside = items.cluster_I == 2
    expected = 0.3 * demand / demand.sum() + 0.7 * np.where(inside, demand, 0) / demand[inside].sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=143) / 200_000, expected, atol=0.005)
    assert not np.isin(drawn, items.untouched).any()


def test_a_draw_at_the_upper_edge_stays_inside(items: Items) -> None:
    rng = Mock(spec=np.random.Generator)
    rng.random.side_effect = [np.zeros(5), np.full(5, np.nextafter(1, 0))]
    drawn = Market.of_day(items, 5, 10).draw(rng, np.arange(5))
    np.testing.assert_array_equal(items.cluster_I[drawn], np.arange(5))
    assert not np.isin(drawn, items.untouched).any()
