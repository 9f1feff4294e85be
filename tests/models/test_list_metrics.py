import doctest
import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import list_metrics
from models.list_metrics import coverage_at, diversity_at, gini_at, novelty_at, popularity_lift_at
from models.sequences import Sequences

Make = Callable[..., Sequences]
NUM_ITEMS = 9
NOTHING = np.zeros((0, 3), np.int32)
UNFILLED = np.zeros((2, 3), np.int32)
LISTS = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), min_size=4, max_size=4), min_size=1, max_size=6)
CATEGORIES = st.lists(st.integers(-1, 2), min_size=NUM_ITEMS, max_size=NUM_ITEMS)
COUNTS = st.lists(st.integers(0, 9), min_size=NUM_ITEMS, max_size=NUM_ITEMS)
CUTS = st.integers(1, 5)


def test_doctests_hold() -> None:
    result = doctest.testmod(list_metrics)
    assert result.attempted >= 6
    assert result.failed == 0


@pytest.mark.parametrize("items", [NOTHING, UNFILLED])
def test_without_a_shown_item_only_coverage_is_known(sequences: Make, items: np.ndarray) -> None:
    allowed, counts = np.ones(5, np.bool_), np.ones(5, np.int64)
    histories = sequences(*([2] for _ in items))
    assert coverage_at(items, allowed, 3) == 0
    assert math.isnan(novelty_at(items, counts, 3))
    assert math.isnan(gini_at(items, allowed, 3))
    assert math.isnan(diversity_at(items, counts, 3))
    assert math.isnan(popularity_lift_at(items, counts, histories, 3))


def test_coverage_counts_only_what_was_allowed() -> None:
    allowed = np.array([True, True, True, True, False, True])
    assert coverage_at(np.array([[2, 4], [2, 3]], np.int32), allowed, 1) == pytest.approx(1 / 3)
    assert math.isnan(coverage_at(np.array([[2]], np.int32), np.zeros(6, np.bool_), 1))


def test_novelty_of_an_unseen_item_is_finite_and_largest() -> None:
    counts = np.array([0, 0, 6, 0])  # shares 7/8 and 1/8
    assert novelty_at(np.array([[3]], np.int32), counts, 1) == pytest.approx(3)
    assert novelty_at(np.array([[2, 0]], np.int32), counts, 2) == pytest.approx(-math.log2(7 / 8))
    assert math.isnan(novelty_at(np.array([[0]], np.int32), counts, 1))


def test_gini_is_zero_for_equal_shares_and_one_for_a_single_item() -> None:
    allowed = np.array([True, True, True, True, True, False])
    assert gini_at(np.array([[2], [3], [4]], np.int32), allowed, 1) == 0
    assert gini_at(np.array([[3], [3], [3]], np.int32), allowed, 1) == 1
    assert gini_at(np.array([[3, 5], [3, 5]], np.int32), allowed, 2) == 1  # 5 is not allowed: as if it were not there
    # Shown 1, 1 and 4 times of 6: (-2 * 1 + 0 * 1 + 2 * 4) / (6 * 2).
    assert gini_at(np.array([[4, 2], [4, 3], [4, 0], [4, 1]], np.int32), allowed, 2) == pytest.approx(0.5)
    assert gini_at(np.array([[2]], np.int32), np.array([True, True, True]), 1) == 0
    assert math.isnan(gini_at(np.array([[2]], np.int32), np.zeros(3, np.bool_), 1))


@given(LISTS, CUTS, st.lists(st.booleans(), min_size=NUM_ITEMS, max_size=NUM_ITEMS))
def test_gini_is_the_mean_difference_of_two_items(lists: list[list[int]], k: int, allowed: list[bool]) -> None:
    """The other definition: the difference of two different items, averaged, over twice the mean."""
    shown = [item for row in lists for item in row[:k]]
    times = [shown.count(item) for item in range(2, NUM_ITEMS) if allowed[item]]
    found = gini_at(np.array(lists, np.int32), np.array(allowed), k)
    if not sum(times):
        assert math.isnan(found)
    elif len(times) == 1:
        assert found == 0
    else:
        differences = [abs(one - other) for one, other in combinations(times, 2)]
        assert found == pytest.approx(np.mean(differences) / (2 * np.mean(times)))


def test_diversity_leaves_out_pairs_with_an_unknown() -> None:
    category = np.array([7, 7, 0, 0, 1, 2, -1])
    lists = np.array([[2, 4, 3, 5], [2, 6, 4, 0], [2, 3, 1, 6], [6, 2, 0, 0]], np.int32)
    # Of the first, all pairs but one differ; of the second, its only one; of the third, none does; the last has none.
    assert diversity_at(lists, category, 4) == pytest.approx((5 / 6 + 1 + 0) / 3)
    assert diversity_at(lists, category, 2) == 1 / 2  # the first differs, the third does not
    assert math.isnan(diversity_at(lists, category, 1))


@given(LISTS, CATEGORIES, CUTS)
def test_diversity_equals_the_definition(lists: list[list[int]], categories: list[int], k: int) -> None:
    shares = []
    for row in lists:
        known = [categories[item] for item in row[:k] if item >= 2 and categories[item] >= 0]
        differs = [one != other for one, other in combinations(known, 2)]
        shares += [np.mean(differs)] if differs else []
    found = diversity_at(np.array(lists, np.int32), np.array(categories), k)
    assert found == pytest.approx(np.mean(shares) if shares else math.nan, nan_ok=True)


def test_the_popularity_lift_is_that_of_the_means(sequences: Make) -> None:
    counts = np.array([0, 0, 8, 2, 0])
    histories = sequences([3, 3, 4, 1], [2], [], [0])
    lists = np.array([[2, 3, 0], [3, 4, 0], [2, 2, 2], [2, 2, 2]], np.int32)
    # Lists (8 + 2) / 2 and (2 + 0) / 2, histories (2 + 0) / 2 and 8; the others have nothing to compare with.
    assert popularity_lift_at(lists, counts, histories, 3) == pytest.approx(3 / 4.5 - 1)
    assert popularity_lift_at(lists, counts, histories, 1) == pytest.approx(5 / 4.5 - 1)


def test_the_popularity_lift_of_what_one_had_is_zero(sequences: Make) -> None:
    assert popularity_lift_at(np.array([[2, 4, 3]], np.int32), np.arange(5), sequences([3, 2, 4, 4]), 3) == 0


def test_there_is_no_lift_over_what_nobody_chose(sequences: Make) -> None:
    counts = np.array([0, 0, 5, 0])
    assert math.isnan(popularity_lift_at(np.array([[2]], np.int32), counts, sequences([3]), 1))
    with pytest.raises(ValueError, match="1 lists but 2 histories"):
        popularity_lift_at(np.array([[2]], np.int32), counts, sequences([3], [2]), 1)


@given(
    st.lists(st.tuples(*[st.lists(st.integers(0, NUM_ITEMS - 1), min_size=4, max_size=4)] * 2), min_size=1, max_size=6),
    COUNTS,
    CUTS,
)
def test_the_popularity_lift_equals_the_definition(
    sequences: Make, cases: list[tuple[list[int], list[int]]], counts: list[int], k: int
) -> None:
    pairs = [({i for i in row[:k] if i >= 2}, {i for i in history if i >= 2}) for row, history in cases]
    means = [[np.mean([counts[i] for i in items]) for items in pair] for pair in pairs if all(pair)]
    after, before = np.mean(means, axis=0) if means else (math.nan, math.nan)
    lists, histories = np.array([row for row, _ in cases], np.int32), sequences(*(history for _, history in cases))
    found = popularity_lift_at(lists, np.array(counts), histories, k)
    assert found == pytest.approx(after / before - 1 if before else math.nan, nan_ok=True)
