from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sequences import Sequences
from tests.models.conftest import make

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8)
Make = Callable[..., Sequences]


def lists(sequences: Sequences) -> list[list[int]]:
    """Read sequences back, one Python list each."""
    bounds = sequences.offsets
    return [sequences.items[bounds[s] : bounds[s + 1]].tolist() for s in range(len(sequences))]


@given(rows=ROWS)
def test_lengths_rows_and_positions_describe_every_event(sequences: Make, rows: list[list[int]]) -> None:
    made = sequences(*rows)
    assert len(made) == len(rows)
    assert made.lengths.tolist() == [len(row) for row in rows]
    assert made.rows.tolist() == [s for s, row in enumerate(rows) for _ in row]
    assert made.positions.tolist() == [p for row in rows for p in range(len(row))]


@given(rows=ROWS, num_events=st.integers(0, 8))
def test_tail_is_the_end_of_each_list(sequences: Make, rows: list[list[int]], num_events: int) -> None:
    assert lists(sequences(*rows).tail(num_events)) == [row[max(0, len(row) - num_events) :] for row in rows]


@given(rows=ROWS.filter(bool), data=st.data())
def test_take_selects_in_the_order_asked_for(sequences: Make, rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    assert lists(sequences(*rows).take(np.array(chosen, np.int64))) == [rows[s] for s in chosen]


@given(pairs=st.lists(st.tuples(*[st.lists(st.integers(0, 9), max_size=4)] * 2), max_size=6))
def test_concat_continues_each_list(sequences: Make, pairs: list[tuple[list[int], list[int]]]) -> None:
    joined = sequences(*(a for a, _ in pairs)).concat(sequences(*(b for _, b in pairs)))
    assert lists(joined) == [a + b for a, b in pairs]


@given(rows=ROWS)
def test_unknown_and_padding_are_dropped(sequences: Make, rows: list[list[int]]) -> None:
    assert lists(sequences(*rows).without_unknown()) == [[item for item in row if item >= 2] for row in rows]


def test_times_travel_with_their_items(sequences: Make) -> None:
    made = sequences([4, 1, 5], [6], times=[10, 20, 30, 5])
    assert made.without_unknown().times.tolist() == [10, 30, 5]
    assert made.tail(1).times.tolist() == [30, 5]
    later = sequences([7], [8, 9], times=[40, 6, 7])
    assert made.concat(later).times.tolist() == [10, 20, 30, 40, 5, 6, 7]


def test_runs_may_overlap(sequences: Make) -> None:
    made = sequences([2, 3, 4], [5])
    assert lists(made.cut(np.array([0, 1, 3]), np.array([2, 2, 1]))) == [[2, 3], [3, 4], [5]]


def test_padding_stands_on_the_right(sequences: Make) -> None:
    assert sequences([2, 3], [], [4]).right_padded(3).tolist() == [[2, 3, 0], [0, 0, 0], [4, 0, 0]]


def test_empty_has_sequences_without_events() -> None:
    assert Sequences.empty(3).lengths.tolist() == [0, 0, 0]


def test_a_sequence_may_begin_before_the_end_of_the_one_before(sequences: Make) -> None:
    assert len(sequences([2, 3], [], [4], times=[5, 6, 1])) == 3


@pytest.mark.parametrize(
    ("items", "times", "offsets", "message"),
    [
        ([2, 3], [0], [0, 2], "2 items but 1 times"),
        ([2, 3], [0, 0], [0, 1], "from 0 to the number of events, 2"),
        ([2, 3], [0, 0], [], "from 0 to the number of events, 2"),
        ([2, 3], [0, 0], [0, 2, 1, 2], "fall at sequence 1"),
        ([-1, 3], [0, 0], [0, 2], "item number -1 is negative"),
        ([2, 3, 4], [9, 8, 7], [0, 1, 3], "sequence 1: event 2 is older"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    items: list[int], times: list[int], offsets: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Sequences(np.array(items, np.int32), np.array(times, np.int64), np.array(offsets, np.int64))


def test_wrong_types_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="not int32"):
        Sequences(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([0, 1]))


def test_misaligned_subjects_are_refused(sequences: Make) -> None:
    with pytest.raises(ValueError, match="cannot join 1 sequences with 2"):
        sequences([2]).concat(sequences([2], [3]))
    with pytest.raises(ValueError, match="num_events is -1"):
        sequences([2]).tail(-1)


def test_subjects_go_where_their_sequences_go() -> None:
    keys = np.array([7, 2**63, 5], np.uint64)
    sequences = replace(make([2, 3], [4], [5, 1, 6]), subjects=keys)
    assert (sequences.take(np.array([2, 0, 2])).subjects == keys[[2, 0, 2]]).all()
    assert (sequences.head(np.array([1, 0, 2])).subjects == keys).all()
    assert sequences.head(np.array([1, 0, 2])).items.tolist() == [2, 5, 1]
    assert (sequences.tail(1).subjects == keys).all()
    assert (sequences.without_unknown().subjects == keys).all()
    assert (sequences.concat(make([2], [3], [4])).subjects == keys).all()
    assert (sequences.cut(np.array([3]), np.array([2]), np.array([2])).subjects == keys[[2]]).all()
    assert not len(sequences.cut(np.array([3]), np.array([2])).subjects)


def test_a_key_for_some_sequences_only_is_refused() -> None:
    with pytest.raises(ValueError, match="1 subjects but 2 sequences"):
        replace(make([2], [3]), subjects=np.array([1], np.uint64))
