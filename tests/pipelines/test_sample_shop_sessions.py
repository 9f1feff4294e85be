import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.sample_shop_items import Items, plant_items
from pipelines.sample_shop_sessions import DAY_MS, EVENTS, LENGTHS, MEAN_LENGTH, sessions_of_day
from pipelines.sample_shop_settings import SampleShop
from pipelines.sample_shop_visitors import MINUTE_MS, Visitors, plant_visitors

CONFIG = SampleShop(num_users=20_000, events_per_day=40_000)
DAY = 4


@pytest.fixture(scope="module")
def items() -> Items:
    return plant_items(CONFIG, CONFIG.num_items_on(DAY))


@pytest.fixture(scope="module")
def visitors() -> Visitors:
    return plant_visitors(CONFIG, MEAN_LENGTH)


@pytest.fixture(scope="module")
def rows(items: Items, visitors: Visitors) -> NDArray[np.void]:
    return sessions_of_day(CONFIG, items, visitors, DAY)


@pytest.fixture(scope="module")
def is_first(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    return np.diff(rows["session"], prepend=0) > 0


def test_mean_length_is_that_of_the_shares(rows: NDArray[np.void], is_first: NDArray[np.bool_]) -> None:
    lengths = np.diff(np.append(np.flatnonzero(is_first), len(rows)))
    assert lengths.mean() == pytest.approx(MEAN_LENGTH, rel=0.03)
    assert lengths.min() == 1
    assert lengths.max() == LENGTHS[-1] == 20


def test_times_rise_within_a_session_of_an_hour_at_most(rows: NDArray[np.void], is_first: NDArray[np.bool_]) -> None:
    gaps = np.diff(rows["time"])[~is_first[1:]]
    assert gaps.min() > 0
    assert gaps.max() <= 10 * MINUTE_MS
    last = np.append(np.flatnonzero(is_first)[1:], len(rows)) - 1
    assert (rows["time"][last] - rows["time"][is_first]).max() <= 60 * MINUTE_MS


def test_sessions_start_on_their_day_and_some_end_on_the_next(
    rows: NDArray[np.void], is_first: NDArray[np.bool_]
) -> None:
    assert set(rows["time"][is_first] // DAY_MS) == {DAY}
    assert set(rows["time"] // DAY_MS) == {DAY, DAY + 1}


def test_a_session_has_one_user(rows: NDArray[np.void], is_first: NDArray[np.bool_]) -> None:
    assert (np.diff(rows["user"])[~is_first[1:]] == 0).all()
    assert rows["user"].min() == -1


def test_sixty_steps_in_a_hundred_lead_to_the_successor(
    items: Items, rows: NDArray[np.void], is_first: NDArray[np.bool_]
) -> None:
    before, after = rows["item"][:-1][~is_first[1:]], rows["item"][1:][~is_first[1:]]
    # Some of the other steps meet the successor by chance.
    assert 0.59 < np.mean(items.successor_I[before] == after) < 0.64


def test_every_new_item_opens_at_least_three_sessions(
    items: Items, rows: NDArray[np.void], is_first: NDArray[np.bool_]
) -> None:
    opened = np.bincount(rows["item"][is_first], minlength=len(items.ids))
    assert (opened[items.first_day_I == DAY] >= 3).all()


def test_most_events_are_views_and_fewest_purchases(rows: NDArray[np.void]) -> None:
    shares = np.bincount(rows["event"], minlength=len(EVENTS)) / len(rows)
    np.testing.assert_allclose(shares, [0.85, 0.10, 0.05], atol=0.01)


def test_a_day_without_visits_has_no_rows() -> None:
    config = SampleShop(num_users=1, events_per_day=1, bursty_share=0, anonymous_share=0)
    visitors = plant_visitors(config, MEAN_LENGTH)
    items = plant_items(config, config.num_items_on(9))
    sizes = [len(sessions_of_day(config, items, visitors, day)) for day in range(10)]
    assert min(sizes) == 0
    assert max(sizes) > 0
