"""Pairs of items that subjects share, summed and ranked, by hand."""

import numpy as np

from pipelines.pair_sums import most_similar

# Three subjects with items 0 1 2, 0 1 and 0 3, at these times. Weights are 2e9, 3e9 and 5e9.
ITEMS = np.array([0, 1, 2, 0, 1, 0, 3], np.int32)
SECONDS = np.array([10, 13, 20, 100, 104, 7, 7], np.int32)
BEGINS = np.array([0, 3, 5, 7])
WEIGHTS = np.array([2_000_000_000, 3_000_000_000, 5_000_000_000])


def ranked(num_candidates: int, own: list[int]) -> tuple[list[list[int]], list[list[float]], list[list[list[int]]]]:
    touches = [np.flatnonzero(item == ITEMS) for item in own]
    found = most_similar(
        np.array(own),
        np.append(0, np.cumsum([len(of_item) for of_item in touches])),
        np.concatenate(touches).astype(np.int32),
        np.bincount(ITEMS),
        np.repeat(np.arange(3, dtype=np.int32), np.diff(BEGINS)),
        BEGINS,
        ITEMS,
        SECONDS,
        WEIGHTS,
        num_candidates,
    )
    neighbours, similarities, sums = (values.tolist() for values in found)
    return neighbours, similarities, sums


def test_sums_and_similarities_are_those_of_the_shared_subjects() -> None:
    neighbours, similarities, sums = ranked(3, [0])
    assert neighbours == [[3, 1, 2]]
    assert np.allclose(similarities, [[5 / np.sqrt(3 * 1), 5 / np.sqrt(3 * 2), 2 / np.sqrt(3 * 1)]])
    assert sums == [[[1, 5_000_000_000, 0], [2, 5_000_000_000, 3 + 4], [1, 2_000_000_000, 10]]]


def test_places_without_a_neighbour_are_marked() -> None:
    neighbours, similarities, _ = ranked(3, [3])
    assert neighbours == [[0, -1, -1]]
    assert similarities[0][1:] == [0, 0]


def test_of_many_the_best_stay_and_nothing_is_carried_over_to_the_next_item() -> None:
    neighbours, _, sums = ranked(1, [0, 1, 2])
    assert neighbours == [[3], [0], [1]]
    assert [row[0][0] for row in sums] == [1, 2, 1]


def test_of_equal_ones_the_smaller_number_comes_first() -> None:
    items, begins = np.array([0, 1, 2, 3], np.int32), np.array([0, 4])
    own, touch, counts, subject = np.array([1]), np.array([1], np.int32), np.ones(4, np.int64), np.zeros(4, np.int32)
    neighbours, _, _ = most_similar(
        own, np.array([0, 1]), touch, counts, subject, begins, items, items, np.array([10]), 2
    )
    assert neighbours.tolist() == [[0, 2]]
