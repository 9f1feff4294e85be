from collections.abc import Callable
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.batches import batches_by_length, training_windows
from models.sequences import Sequences

Make = Callable[..., Sequences]


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5), length=st.integers(1, 7), seed=st.integers(0, 3))
def test_windows_make_every_event_but_the_first_a_target_once(
    sequences: Make, lengths: list[int], length: int, seed: int
) -> None:
    events = iter(range(2, 2 + sum(lengths)))
    histories = sequences(*([next(events) for _ in range(n)] for n in lengths))
    windows = training_windows(histories, length, np.random.default_rng(seed))
    padded = windows.items(np.arange(len(windows)))
    targets = padded[:, 1:][padded[:, 1:] > 0]
    not_first = histories.items[histories.positions > 0]
    assert sorted(targets) == sorted(not_first)
    assert ((windows.lengths >= 2) & (windows.lengths <= length + 1)).all()


def test_short_histories_are_not_cut_and_padding_is_as_wide_as_the_longest_chosen(sequences: Make) -> None:
    histories = sequences([2, 3, 4, 5], [6], [], [7, 8], times=[10, 20, 30, 40, 50, 60, 70])
    windows = training_windows(histories, 3, np.random.default_rng(0))
    assert windows.items(np.array([1, 0])).tolist() == [[7, 8, 0, 0], [2, 3, 4, 5]]
    assert windows.items(np.array([1])).tolist() == [[7, 8]]
    assert windows.times(np.array([1, 0])).tolist() == [[60, 70, 0, 0], [10, 20, 30, 40]]


def test_long_histories_are_cut_elsewhere_at_every_call(sequences: Make) -> None:
    histories = sequences(list(range(2, 60)))
    cuts = {int(training_windows(histories, 9, np.random.default_rng(seed)).lengths[0]) for seed in range(40)}
    assert cuts == set(range(2, 11))


@given(lengths=st.lists(st.integers(1, 9), max_size=40), size=st.integers(1, 7), seed=st.integers(0, 3))
def test_batches_hold_each_window_once_with_others_of_its_length(lengths: list[int], size: int, seed: int) -> None:
    windows = np.array(lengths, np.int64)
    batches = batches_by_length(windows, size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    ends = sorted((windows[batch].min(), windows[batch].max()) for batch in batches if len(batch))
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(ends))
    assert all(len(batch) <= size for batch in batches)


def test_batches_are_drawn_anew() -> None:
    lengths = np.full(50, 3)
    first, again, other = (
        [batch.tolist() for batch in batches_by_length(lengths, 8, np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert first == again != other
