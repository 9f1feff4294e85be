import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.best_list import BestLists, push, sort, sort_lists


@settings(deadline=None)  # the first call compiles
@given(offers=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 50)), max_size=40), k=st.integers(1, 8))
def test_it_keeps_the_best_of_all_offers_in_order(offers: list[tuple[int, int]], k: int) -> None:
    lists = BestLists.empty(1, k)
    size = 0
    for score, place in offers:
        size = push(lists.scores[0], lists.places[0], size, np.float32(score), place)
    sort(lists.scores[0], lists.places[0], size)
    expected = sorted(offers, key=lambda offer: (-offer[0], offer[1]))[:k]
    missing = k - len(expected)
    assert lists.scores[0].tolist() == [score for score, _ in expected] + [-np.inf] * missing
    assert lists.places[0].tolist() == [place for _, place in expected] + [-1] * missing


def test_some_lists_are_views_of_all() -> None:
    lists = BestLists.empty(3, 2)
    part = lists.of(slice(1, 3))
    for place in (7, 4):
        part.sizes[1] = push(part.scores[1], part.places[1], part.sizes[1], np.float32(1), place)
    sort_lists(lists)
    assert lists.places.tolist() == [[-1, -1], [-1, -1], [4, 7]]
    assert lists.sizes.tolist() == [0, 0, 2]
