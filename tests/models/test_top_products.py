from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import top_products as module
from models.sequences import Sequences
from models.top_products import top_products

Make = Callable[..., Sequences]


@contextmanager
def blocks_of(users: int, items: int, threads: int = 1) -> Iterator[None]:
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_USERS", users)
        patch.setattr(module, "BLOCK_ITEMS", items)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def cut(items: np.ndarray, places: list[int]) -> list[np.ndarray]:
    return np.split(items, places)


def expected_lists(
    users: np.ndarray, items: np.ndarray, k: int, allowed: np.ndarray, barred: list[list[int]]
) -> tuple[list[list[int]], list[list[float]]]:
    """Sort all items by their product, which must be exact in float32."""
    numbers, scores = [], []
    for user, own in zip(users, barred, strict=True):
        products = items.astype(np.float64) @ user.astype(np.float64)
        shown = [item for item in range(2, len(items)) if allowed[item] and item not in own]
        ranked = sorted(shown, key=lambda item: (-products[item], item))[:k]
        numbers.append(ranked + [0] * (k - len(ranked)))
        scores.append([products[item] for item in ranked] + [-np.inf] * (k - len(ranked)))
    return numbers, scores


@settings(max_examples=150, deadline=None)  # the first call compiles
@given(data=st.data(), k=st.integers(1, 8), block=st.tuples(st.integers(1, 3), st.integers(1, 7)))
def test_it_equals_a_full_sort_whatever_the_blocks(
    sequences: Make, data: st.DataObject, k: int, block: tuple[int, int]
) -> None:
    num_users, num_items, dim = (data.draw(st.integers(low, high)) for low, high in ((0, 5), (2, 14), (1, 6)))
    small = st.integers(-2, 2)  # products are exact, and many are equal
    users = np.array(data.draw(st.lists(small, min_size=num_users * dim, max_size=num_users * dim)), np.float32)
    items = np.array(data.draw(st.lists(small, min_size=num_items * dim, max_size=num_items * dim)), np.float32)
    users, items = users.reshape(num_users, dim), items.reshape(num_items, dim)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=num_items, max_size=num_items)), bool)
    numbers = st.lists(st.integers(0, num_items - 1), max_size=4)
    barred = data.draw(st.lists(numbers, min_size=num_users, max_size=num_users))
    cuts = data.draw(st.lists(st.integers(0, num_items), max_size=3).map(sorted))
    with blocks_of(*block):
        found = top_products(users, cut(items, cuts), k, allowed, sequences(*barred))
    numbers_expected, scores_expected = expected_lists(users, items, k, allowed, barred)
    assert found[0].tolist() == numbers_expected
    assert found[1].tolist() == scores_expected
    assert (found[0].dtype, found[1].dtype) == (np.int32, np.float32)


def test_nearly_equal_products_are_ordered_by_their_exact_scores() -> None:
    """Copies of one vector, some of them a rounding away: a float32 product alone would order them by chance."""
    generator = np.random.default_rng(0)
    users = generator.standard_normal((9, 64), dtype=np.float32)
    items = np.tile(generator.standard_normal(64, dtype=np.float32), (3000, 1))
    items[::3] = np.nextafter(items[::3], np.float32(9))
    allowed = np.ones(len(items), bool)
    exact = (users.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)
    found = []
    for users_block, items_block, threads in ((512, 4096, 1), (2, 100, 2), (1, 1, 1), (4, 777, 2)):
        with blocks_of(users_block, items_block, threads):
            found.append(top_products(users, cut(items, [7, 1500]), 20, allowed))
    for numbers, scores in found:
        assert (numbers == found[0][0]).all()
        assert (scores == found[0][1]).all()
        assert (scores == np.take_along_axis(exact, numbers, axis=1)).all()
    order = np.argsort(-exact[:, 2:], axis=1, kind="stable")[:, :20] + 2
    assert (found[0][0] == order).all()


def test_a_user_without_a_vector_gets_the_first_items() -> None:
    items = np.random.default_rng(0).standard_normal((500, 8), dtype=np.float32)
    numbers, scores = top_products(np.zeros((1, 8), np.float32), [items], 5, np.ones(500, bool))
    assert numbers.tolist() == [[2, 3, 4, 5, 6]]
    assert not scores.any()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(broken: float) -> None:
    good, bad = np.ones((4, 2), np.float32), np.array([[1, 1], [1, broken], [1, 1], [1, 1]], np.float32)
    with pytest.raises(FloatingPointError, match="vector of user 1 is not finite"):
        top_products(bad, [good], 1, np.ones(4, bool))
    with pytest.raises(FloatingPointError, match="vector of item 1 is not finite"):
        top_products(good, [bad[:1], bad[1:]], 1, np.ones(4, bool))


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_float32_cannot_hold_are_refused(sign: int) -> None:
    """Both products overflow on the way, also where the sum is 0: infinity minus infinity is no number."""
    users, items = np.array([[1e30, 1e30]], np.float32), np.full((6, 2), 1e30, np.float32) * [[1, sign]]
    with pytest.raises(FloatingPointError, match=r"up to 1\.4e\+30 and 1\.4e\+30 long.*the model diverged"):
        top_products(users, [items.astype(np.float32)], 3, np.ones(6, bool))
