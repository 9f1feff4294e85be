import doctest
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import slices
from models.sequences import Sequences
from models.slices import category_slices, history_slices, statistics_slices, target_slices
from tests.models.small_statistics import statistics_of

Make = Callable[..., Sequences]
COUNTS = np.array([9, 9, 0, 1, 10, 11, 50, 51])
ITEMS = st.lists(st.integers(0, len(COUNTS) - 1), min_size=1, max_size=4)


def names_of(found: dict[str, np.ndarray], num_cases: int) -> list[list[str]]:
    return [[name for name, chosen in found.items() if chosen[case]] for case in range(num_cases)]


def test_doctests_hold() -> None:
    result = doctest.testmod(slices)
    assert result.attempted >= 5
    assert result.failed == 0


def test_a_target_is_sliced_by_its_training_events(sequences: Make) -> None:
    found = names_of(target_slices(sequences([2], [3], [4], [5], [6], [7], [1], [0]), COUNTS), 8)
    assert found == [
        ["target_0"], ["target_1_10"], ["target_1_10"], ["target_11_50"], ["target_11_50"], ["target_over_50"],
        ["target_0"], ["target_0"],
    ]  # fmt: skip


def test_the_rarest_of_several_targets_decides(sequences: Make) -> None:
    assert names_of(target_slices(sequences([7, 5], [7, 7], [5, 2, 7]), COUNTS), 3) == [
        ["target_11_50"], ["target_over_50"], ["target_0"],
    ]  # fmt: skip


def test_a_history_is_sliced_by_its_events(sequences: Make) -> None:
    found = names_of(history_slices(sequences(*([2] * num for num in (0, 1, 5, 6, 20, 21)))), 6)
    assert found == [
        [], ["history_1_5"], ["history_1_5"], ["history_6_20"], ["history_6_20"], ["history_over_20"],
    ]  # fmt: skip


@given(st.lists(ITEMS, max_size=6))
def test_each_case_with_a_history_is_in_one_slice_of_each_kind(sequences: Make, rows: list[list[int]]) -> None:
    for found in (target_slices(sequences(*rows), COUNTS), history_slices(sequences(*rows))):
        assert np.sum(list(found.values()), axis=0).tolist() == [1] * len(rows)


def test_categories_of_most_cases_come_first_and_those_of_none_are_left_out(sequences: Make) -> None:
    """Items 2 and 3 are hats, 4 and 5 shoes, 6 a bag, 7 has no category; nobody wants a coat."""
    category = np.array([0, 0, 0, 0, 1, 1, 3, -1])
    names = ["hat", "shoe", "coat", "bag"]
    targets = sequences([2, 3], [4], [5, 2, 7], [6], [7], [0], [1])
    found = category_slices(targets, category, names, 4)
    assert list(found) == ["category_hat", "category_shoe", "category_bag"]
    assert [np.flatnonzero(chosen).tolist() for chosen in found.values()] == [[0, 2], [1, 2], [3]]
    assert list(category_slices(targets, category, names, 1)) == ["category_hat"]
    assert category_slices(targets, np.full(8, -1), [], 4) == {}


@given(st.lists(ITEMS, max_size=6))
def test_a_case_is_in_the_category_of_each_of_its_targets(sequences: Make, rows: list[list[int]]) -> None:
    found = category_slices(sequences(*rows), np.arange(8) % 3, ["a", "b", "c"], 3)
    for kind, name in enumerate("abc"):
        expected = [any(item >= 2 and item % 3 == kind for item in row) for row in rows]
        assert found.get(f"category_{name}", np.zeros(len(rows), bool)).tolist() == expected


def test_subjects_and_targets_are_told_apart_by_the_statistics(sequences: Make) -> None:
    train = sequences([2, 3], [2, 4], [2, 3])
    statistics = replace(
        statistics_of(train, 6),
        is_frequent=np.array([False, False, True, False, False, False]),
        is_uniform=np.array([True, False, False]),
        is_uneven=np.array([False, True, False]),
    )
    found = statistics_slices(sequences([2, 2], [2, 5], [2]), statistics)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "uniform_users": [True, False, False],
        "uneven_users": [False, True, False],
        "frequent_targets": [True, False, True],
        "rare_targets": [False, True, False],
    }
