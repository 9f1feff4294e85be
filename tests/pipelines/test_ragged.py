from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sequences import Sequences
from pipelines.ragged import gather, to_sequences
from tests.pipelines.small_sequences import lists_of

NUMBERS = pa.list_(pa.int32())
TIMES = pa.list_(pa.timestamp("us", tz="UTC"))
ROWS = [[4, 2], [], [7], [3, 3, 5], []]
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def columns(rows: list[list[int]]) -> tuple[pa.Array, pa.Array]:
    """Two list columns; each event happens as many seconds after the first midnight as its item's number says."""
    times = [[MIDNIGHT + timedelta(seconds=number) for number in sorted(row)] for row in rows]
    return pa.array(rows, NUMBERS), pa.array(times, TIMES)


def chunked(column: pa.Array, cuts: list[int]) -> pa.ChunkedArray:
    bounds = [0, *cuts, len(column)]
    return pa.chunked_array([column[start:stop] for start, stop in pairwise(bounds)], type=column.type)


def assert_holds(sequences: Sequences, rows: list[list[int]]) -> None:
    assert lists_of(sequences) == rows
    start = int(MIDNIGHT.timestamp())
    assert sequences.times.tolist() == [start + number for row in rows for number in sorted(row)]


def test_lists_become_sequences_with_times_in_seconds() -> None:
    assert_holds(to_sequences(*columns(ROWS)), ROWS)


@pytest.mark.parametrize("cuts", [[1], [2, 2], [0, 1, 3, 5]])
def test_chunks_make_no_difference_even_if_the_two_columns_are_cut_differently(cuts: list[int]) -> None:
    numbers, times = columns(ROWS)
    assert_holds(to_sequences(chunked(numbers, cuts), chunked(times, [3])), ROWS)


@pytest.mark.parametrize(("start", "stop"), [(1, 4), (2, 3), (1, 2), (3, 5), (2, 2)])
def test_a_slice_gives_its_own_rows_only(start: int, stop: int) -> None:
    numbers, times = columns(ROWS)
    assert_holds(to_sequences(numbers[start:stop], times[start:stop]), ROWS[start:stop])


def test_a_slice_of_chunks_gives_its_own_rows_only() -> None:
    numbers, times = (chunked(column, [2]).slice(1, 3) for column in columns(ROWS))
    assert_holds(to_sequences(numbers, times), ROWS[1:4])


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_no_events_give_as_many_empty_sequences(rows: list[list[int]]) -> None:
    assert_holds(to_sequences(*columns(rows)), rows)


def test_a_column_without_a_chunk_has_no_sequences() -> None:
    assert len(to_sequences(pa.chunked_array([], NUMBERS), pa.chunked_array([], TIMES))) == 0


def test_a_part_of_a_second_is_cut_off() -> None:
    late = pa.array([[MIDNIGHT + timedelta(microseconds=1_999_999)]], TIMES)
    assert to_sequences(pa.array([[2]], NUMBERS), late).times.tolist() == [int(MIDNIGHT.timestamp()) + 1]


def test_a_null_counts_as_an_empty_list() -> None:
    numbers, times = columns(ROWS)
    keep = pa.array([True, None, True, None, True])
    nulls = [pc.if_else(keep, column, None) for column in (numbers, times)]
    assert_holds(to_sequences(*nulls), [[4, 2], [], [7], [], []])
    assert_holds(to_sequences(*(column[1:4] for column in nulls)), [[], [7], []])


def daily(rows: list[list[int]]) -> pa.Table:
    """Rows of one subject, a day each."""
    times = [[MIDNIGHT + timedelta(days=number)] * len(row) for number, row in enumerate(rows)]
    return pa.table({"item_numbers": pa.array(rows, NUMBERS), "event_times": pa.array(times, TIMES)})


def test_rows_of_one_subject_are_joined() -> None:
    rows = daily([[4, 5], [], [7], [3, 3, 5], [8]])
    assert lists_of(gather(rows, np.array([0, 1, 1, 4]))) == [[4, 5], [], [7, 3, 3, 5], [8]]
    assert lists_of(gather(rows.slice(1), np.array([0, 2]))) == [[7], [3, 3, 5, 8]]
    assert lists_of(gather(rows.slice(5), np.array([0, 0]))) == [[], []]


@settings(deadline=None)
@given(st.data(), st.lists(st.lists(st.integers(2, 9), max_size=4), max_size=8))
def test_gathered_rows_are_the_plain_concatenation(data: st.DataObject, rows: list[list[int]]) -> None:
    begins = [0, *sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))]
    expected = [[n for row in rows[begin:end] for n in row] for begin, end in pairwise([*begins, len(rows)])]
    assert lists_of(gather(daily(rows), np.array(begins))) == expected


@settings(deadline=None)
@given(st.data(), st.lists(st.lists(st.integers(2, 9), max_size=4), max_size=8))
def test_any_cut_of_any_lists_gives_the_same_sequences(data: st.DataObject, rows: list[list[int]]) -> None:
    numbers, times = columns(rows)
    bounds = st.integers(0, len(rows))
    numbers, times = (chunked(column, sorted(data.draw(st.lists(bounds)))) for column in (numbers, times))
    start, stop = sorted((data.draw(bounds), data.draw(bounds)))
    assert_holds(to_sequences(numbers.slice(start, stop - start), times.slice(start, stop - start)), rows[start:stop])
