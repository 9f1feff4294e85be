import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.topk import top_k

# Few distinct values, so that ties straddle rank k in nearly every example; -inf is a forbidden item.
BLOCKS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(1, 12)),
    elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, 2.0]),
)


@settings(max_examples=300)
@given(scores=BLOCKS, k=st.integers(1, 15), seed=st.integers(0, 5))
def test_it_equals_a_full_sort(scores: np.ndarray, k: int, seed: int) -> None:
    num_items = scores.shape[1]
    tie_order = np.random.default_rng(seed).permutation(num_items).astype(np.int32)
    place = np.argsort(tie_order)
    items, best = top_k(scores, k, tie_order)
    assert items.shape == best.shape == (len(scores), k)
    for row, row_items, row_best in zip(scores, items, best, strict=True):
        full = sorted(range(num_items), key=lambda item: (-row[item], place[item]))
        expected = [item for item in full if np.isfinite(row[item])][:k]
        assert row_items.tolist() == expected + [0] * (k - len(expected))
        assert row_best.tolist() == [row[item] for item in expected] + [-np.inf] * (k - len(expected))


def test_types_and_input_are_kept() -> None:
    scores = np.array([[3, 1, 2]], np.float32)
    items, best = top_k(scores, 2, np.arange(3, dtype=np.int32))
    assert (items.dtype, best.dtype) == (np.int32, np.float32)
    assert scores.tolist() == [[3, 1, 2]]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        top_k(np.array([[5, np.nan, 9, 8]], np.float32), 1, np.arange(4, dtype=np.int32))
