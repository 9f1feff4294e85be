import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.sample_shop_settings import SampleShop
from pipelines.sample_shop_visitors import MINUTE_MS, Visitors, plant_visitors, visits_of_day

DAY_MS = 24 * 60 * MINUTE_MS
CONFIG = SampleShop(num_users=900, events_per_day=1000)


def visits(config: SampleShop, visitors: Visitors, num_days: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The visitor and the start of all sessions, by visitor and start."""
    days = [visits_of_day(config.generator("sessions", day), visitors, day) for day in range(num_days)]
    visitor = np.concatenate([visitor for visitor, _ in days])
    start = np.concatenate([start + day * DAY_MS for day, (_, start) in enumerate(days)])
    order = np.lexsort((start, visitor))
    return visitor[order], start[order]


@pytest.fixture(scope="module")
def visitors() -> Visitors:
    return plant_visitors(CONFIG, mean_session_length=4.0)


def test_anonymous_visitors_come_on_top_of_the_users(visitors: Visitors) -> None:
    assert len(visitors.ids) == len(set(visitors.ids)) == 900
    assert len(visitors.period_V) == 1000


def test_every_user_is_uniform_or_bursty(visitors: Visitors) -> None:
    uniform, bursty = visitors.users(bursty=False), visitors.users(bursty=True)
    assert not uniform & bursty
    assert uniform | bursty == set(visitors.ids)
    assert 0.4 < len(bursty) / 900 < 0.6


def test_as_many_sessions_come_as_the_events_ask_for(visitors: Visitors) -> None:
    visitor, _ = visits(CONFIG, visitors, 100)
    assert len(visitor) / 100 == pytest.approx(1000 / 4, rel=0.03)
    assert np.mean(visitor >= 900) == pytest.approx(0.1, abs=0.02)
    assert np.mean(visitors.bursty_V[visitor]) == pytest.approx(0.5, abs=0.05)


def test_gaps_of_a_uniform_visitor_stay_within_a_slot_of_its_period(visitors: Visitors) -> None:
    visitor, start = visits(CONFIG, visitors, 100)
    same = (visitor[1:] == visitor[:-1]) & ~visitors.bursty_V[visitor[1:]]
    gap_slots = np.diff(start)[same] / (180 * MINUTE_MS)
    assert np.abs(gap_slots - visitors.period_V[visitor[1:][same]]).max() < 1 + 0.5


def test_bursty_visitors_come_in_clumps(visitors: Visitors) -> None:
    visitor, start = visits(CONFIG, visitors, 100)
    same = (visitor[1:] == visitor[:-1]) & visitors.bursty_V[visitor[1:]]
    gap_days = np.diff(start)[same] / DAY_MS
    assert np.median(gap_days) < 0.5
    assert np.mean(gap_days) > 3


def test_starts_cover_the_whole_day(visitors: Visitors) -> None:
    _, start = visits(CONFIG, visitors, 100)
    by_hour = np.bincount(start % DAY_MS // (60 * MINUTE_MS), minlength=24)
    assert by_hour.min() > 0.02 * len(start)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    events_per_user=st.floats(0.05, 8),
    bursty_share=st.sampled_from([0.0, 0.5, 1.0]),
    first=st.integers(0, 500),
)
def test_starts_lie_in_their_day_and_two_hours_apart(
    seed: int, events_per_user: float, bursty_share: float, first: int
) -> None:
    config = SampleShop(seed=seed, num_users=50, events_per_day=round(50 * events_per_user), bursty_share=bursty_share)
    visitors = plant_visitors(config, mean_session_length=4.8)
    ends = np.full(len(visitors.period_V), -1)
    for day in range(first, first + 4):
        visitor, start = visits_of_day(config.generator("sessions", day), visitors, day)
        assert ((start >= 0) & (start < DAY_MS)).all()
        for number, moment in sorted(zip(visitor, start + day * DAY_MS, strict=True)):
            # A session takes an hour at most, and more than another lies between two of them.
            assert ends[number] < 0 or moment - ends[number] > 60 * MINUTE_MS
            ends[number] = moment + 60 * MINUTE_MS
