from datetime import date

import numpy as np

from benchmarks.part_statistics import statistics_of
from benchmarks.protocols import hold_out_last
from models.sequences import SECONDS_PER_DAY, Sequences
from pipelines.settings import Statistics
from tests.pipelines.small_sequences import make

DAY = SECONDS_PER_DAY
SETTINGS = Statistics(frequent_share=0.4, uniform_share=0.5, num_neighbours=3)


def test_frequent_items_even_subjects_and_neighbours_are_told() -> None:
    """Item 2 has four events, 3 and 4 three each, 5 and 6 one; two of five are frequent, the smaller id first."""
    even, uneven, short = [0, 10, 20, 30], [0, 1, 2, 50], [3, 4]
    days = [*even, *uneven, *short, 7, 8]
    train = make([2, 3, 4, 5], [2, 3, 4, 2], [2, 6], [3, 4], times=[day * DAY for day in days])
    found = statistics_of(train, 8, SETTINGS)
    assert found.as_of == date(1970, 2, 20)
    assert np.flatnonzero(found.is_frequent).tolist() == [2, 3]
    assert found.is_uniform.tolist() == [True, False, False, False]
    assert found.is_uneven.tolist() == [False, True, False, False]
    assert found.neighbours.shape == (8, 3)
    assert found.neighbours[6].tolist() == [2, 0, 0]
    assert set(found.neighbours[5].tolist()) == {2, 3, 4}
    gaps_of_4 = np.diff([2, 8, 20])
    np.testing.assert_allclose(found.gap_variance[4], np.var(gaps_of_4 * DAY, ddof=1))
    assert np.isnan(found.gap_variance[[0, 1, 5, 6, 7]]).all()


def test_what_is_held_out_has_no_influence() -> None:
    """The same users with other validation and test events: every array is the same, bit for bit."""
    first, other = users_of(1), users_of(2)
    parts = [hold_out_last(users, exclude_seen=True)[0] for users in (first, other)]
    assert not np.array_equal(first.items, other.items)
    one, two = (statistics_of(part, 50, Statistics()) for part in parts)
    assert one.as_of == two.as_of
    for name in ("is_frequent", "gap_variance", "neighbours", "is_uniform", "is_uneven"):
        assert np.array_equal(getattr(one, name), getattr(two, name), equal_nan=name == "gap_variance"), name


def users_of(seed: int) -> Sequences:
    """Forty users of twelve events, of which the last two are those of the seed."""
    known, held_out = np.random.default_rng(0), np.random.default_rng(seed)
    items = np.concatenate([known.integers(2, 50, (40, 10)), held_out.integers(2, 50, (40, 2))], axis=1)
    gaps = np.concatenate([known.integers(1, 10**6, (40, 10)), held_out.integers(1, 10**6, (40, 2))], axis=1)
    times = gaps.cumsum(axis=1)
    return Sequences(items.astype(np.int32).ravel(), times.ravel(), np.arange(0, 481, 12))


def test_days_are_the_points_in_time_where_it_is_so_set() -> None:
    """Both act on days 0, 1 and 2; one of them three times within each."""
    minutes = [day * DAY + minute * 60 for day in range(3) for minute in range(3)]
    train = make([2] * 9, [3] * 3, times=[*minutes, 0, DAY, 2 * DAY])
    by_day = statistics_of(train, 4, Statistics(uniform_share=1, time_granularity="day"))
    by_second = statistics_of(train, 4, Statistics(uniform_share=0.5))
    assert by_day.is_uniform.tolist() == [True, True]
    assert by_second.is_uniform.tolist() == [False, True]
