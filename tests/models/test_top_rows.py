from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from models.sequences import Sequences
from models.top_rows import top_rows

Make = Callable[..., Sequences]


@settings(max_examples=200, deadline=None)  # the first call compiles
@given(data=st.data(), k=st.integers(1, 9))
def test_it_equals_a_full_sort(sequences: Make, data: st.DataObject, k: int) -> None:
    num_rows, num_items = data.draw(st.integers(0, 5)), data.draw(st.integers(2, 12))
    cells = st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0]), min_size=num_items, max_size=num_items)
    dense = np.array(data.draw(st.lists(cells, min_size=num_rows, max_size=num_rows))).reshape(num_rows, num_items)
    order = np.array(data.draw(st.permutations(range(num_items))), np.int32)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=num_items, max_size=num_items)), bool)
    barred = data.draw(
        st.lists(st.lists(st.integers(0, num_items - 1), max_size=4), min_size=num_rows, max_size=num_rows)
    )
    rest = -np.arange(num_items, dtype=np.float32) - 1
    place = np.argsort(order)
    numbers, scores = top_rows(csr_array(dense), order, rest, k, allowed, sequences(*barred))
    for row in range(num_rows):
        shown = [item for item in range(2, num_items) if allowed[item] and item not in barred[row]]
        found = sorted((i for i in shown if dense[row, i]), key=lambda i: (-dense[row, i], place[i]))
        ranked = (found + sorted((i for i in shown if not dense[row, i]), key=lambda i: place[i]))[:k]
        missing = k - len(ranked)
        assert numbers[row].tolist() == ranked + [0] * missing
        assert scores[row].tolist() == [dense[row, i] or rest[i] for i in ranked] + [-np.inf] * missing
    assert (numbers.dtype, scores.dtype) == (np.int32, np.float32)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        top_rows(
            csr_array([[0, 0, np.nan]]), np.arange(3, dtype=np.int32), np.zeros(3, np.float32), 1, np.ones(3, bool)
        )
