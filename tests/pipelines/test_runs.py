from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.runs import changes, starts_of, to_lists, whole_runs

SCHEMA = pa.schema([("a", pa.string()), ("b", pa.int64()), ("n", pa.int64())])
starts = partial(lambda table: starts_of(table, "a", "b"))


def batch(keys: Sequence[tuple[Any, Any]], first: int = 0) -> pa.RecordBatch:
    rows = [{"a": a, "b": b, "n": first + n} for n, (a, b) in enumerate(keys)]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def cut(keys: Sequence[Any], places: Sequence[int]) -> list[pa.RecordBatch]:
    """Batches that begin at the places; equal places make empty batches."""
    return [batch(keys[a:b], a) for a, b in pairwise([0, *sorted(min(p, len(keys)) for p in places), len(keys)])]


def rows_of(tables: Sequence[pa.Table]) -> list[list[tuple[Any, Any, int]]]:
    return [[(row["a"], row["b"], row["n"]) for row in table.to_pylist()] for table in tables]


def test_a_row_that_differs_from_the_one_before_is_a_change_and_null_equals_null() -> None:
    texts = ["x", "x", None, None, "", "", "y", "y"]
    expected = [True, False, True, False, True, False, True, False]
    whole = pa.array(texts)
    for column in (whole, pa.chunked_array([whole]), pa.chunked_array([whole[:3], whole[3:3], whole[3:]])):
        found = changes(column)
        assert (found.tolist(), found.dtype) == (expected, bool)
    assert changes(pa.array([], pa.string())).tolist() == changes(pa.chunked_array([], pa.string())).tolist() == []
    assert changes(pa.array([None], pa.string())).tolist() == [True]


def test_a_run_ends_where_any_of_its_columns_changes() -> None:
    table = pa.Table.from_batches([batch([("x", 1), ("x", 1), ("x", 2), ("y", 2), ("y", 2), (None, 2)])])
    assert starts_of(table, "a", "b").tolist() == [True, False, True, True, False, True]
    assert starts_of(table, "a").tolist() == [True, False, False, True, False, True]


def test_a_run_over_many_batches_comes_as_one_table() -> None:
    keys = [("w", 0), *[("x", 1)] * 50, ("y", 1)]
    found = rows_of(list(whole_runs(iter(cut(keys, range(52))), starts)))
    assert [[a for a, _, _ in table] for table in found] == [["w"], ["x"] * 50, ["y"]]
    assert [n for table in found for _, _, n in table] == list(range(52))


@pytest.mark.parametrize("keys", [[], [("x", 1)]])
def test_empty_batches_are_no_runs(keys: list[tuple[str, int]]) -> None:
    batches = [batch([]), batch(keys), batch([]), batch([])]
    assert rows_of(list(whole_runs(iter(batches), starts))) == [[(*key, 0)] for key in keys]


def test_what_is_whole_is_handed_on_before_the_next_batch_is_read() -> None:
    read = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number, part in enumerate(cut([("x", 1), ("x", 1), ("y", 1), ("y", 1), ("z", 1)], [1, 3])):
            read.append(number)
            yield part

    found = whole_runs(batches(), starts)
    assert [row[0] for row in rows_of([next(found)])[0]] == ["x", "x"]
    assert read == [0, 1]
    assert [[row[0] for row in table] for table in rows_of(list(found))] == [["y", "y"], ["z"]]


# Few values, so that runs are long; a subject comes once, as in ordered rows, or again after another.
some_keys = st.lists(st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from([0, None])), max_size=25)


@given(some_keys, st.booleans(), st.lists(st.integers(0, 25), max_size=12))
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_batches_give_the_same_runs(keys: list[tuple[Any, Any]], is_ordered: bool, places: list[int]) -> None:
    if is_ordered:
        keys = sorted(keys, key=str)
    found = rows_of(list(whole_runs(iter(cut(keys, places)), starts)))
    rows = [(*key, n) for n, key in enumerate(keys)]
    expected = [list(group) for _, group in groupby(rows, key=lambda row: row[:2])]
    assert [list(group) for table in found for _, group in groupby(table, key=lambda row: row[:2])] == expected
    assert list(chain(*found)) == rows
    assert all(found)


@given(some_keys)
@hypothesis_settings(max_examples=50, deadline=None)
def test_lists_hold_the_rows_from_each_beginning_to_the_next(keys: list[tuple[Any, Any]]) -> None:
    table = pa.Table.from_batches([*cut(keys, [3, 9])])
    begins = np.flatnonzero(starts(table))
    for column in (table["n"], table["n"].combine_chunks()):
        lists = to_lists(column, begins)
        assert lists.type == pa.list_(pa.int64())
        assert lists.to_pylist() == [
            [n for _, n in group] for _, group in groupby(zip(keys, range(len(keys)), strict=True), key=lambda r: r[0])
        ]
