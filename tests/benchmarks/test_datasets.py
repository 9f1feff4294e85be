from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.datasets import Source, read_log
from pipelines.errors import InputError
from tests.benchmarks.small_data import at, write_set
from tests.pipelines.small_sequences import lists_of

BY_TIME = Source("user_id", ("timestamp", "seq"), {"category_1": "kind"})


def test_events_are_sorted_by_time_then_order_then_place_in_the_file(tmp_path: Path) -> None:
    rows = [
        ("z", "b", at(1), 1),
        ("y", "b", at(0), 7),
        ("z", "a", at(1), 0),
        ("z", "c", at(0), 9),
        ("z", "d", at(1), 1),
        ("y", "a", at(0), 7),
    ]
    kinds = ["two", "one", None, "two", "one"]
    folder = write_set(tmp_path, "shop", "user_id item_id timestamp seq", rows, item_id="dabcx", kind=kinds)
    log = read_log(folder, BY_TIME)
    assert log.subject_ids.to_pylist() == ["z", "y"]  # in the order of the file
    assert log.items.ids.to_pylist() == [None, None, "a", "b", "c", "d"]  # x has no event
    assert lists_of(log.sequences) == [[4, 2, 3, 5], [3, 2]]
    assert log.sequences.times.tolist() == [int(at(day).timestamp()) for day in (0, 1, 1, 1, 0, 0)]
    categories = log.items.catalogue.fields["category_1"]
    assert categories.lengths.tolist() == [0, 0, 1, 0, 1, 1]
    assert categories.numbers.tolist() == [3, 2, 2]  # "two" is that of most items


def test_items_without_an_event_may_be_numbered_and_ids_of_two_types_meet(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "shop", "session_id item_id", [(1, 30), (1, 10)], item_id=[20, 10])
    events = pa.table({"session_id": [1, 1], "item_id": pa.array([30, 10], pa.int32())})
    pq.write_table(events, folder / "events.parquet")
    log = read_log(folder, Source("session_id", with_unseen_items=True))
    assert log.items.ids.to_pylist() == [None, None, 10, 20, 30]
    assert lists_of(log.sequences) == [[4, 2]]
    assert log.sequences.times.tolist() == [0, 0]
    assert log.items.catalogue.num_items == 5
    assert not log.items.catalogue.fields


def test_times_are_whole_seconds_but_parts_of_them_give_the_order(tmp_path: Path) -> None:
    rows = [(1, 5, at(0, 0.9 / 3600)), (1, 6, at(0, 0.2 / 3600))]
    log = read_log(write_set(tmp_path, "shop", "user_id item_id timestamp", rows), Source("user_id", ("timestamp",)))
    assert lists_of(log.sequences) == [[3, 2]]
    assert log.sequences.times.tolist() == [int(at(0).timestamp())] * 2


def test_the_split_follows_its_events(tmp_path: Path) -> None:
    rows = [(1, 5, 1, "test"), (1, 6, 0, "train"), (2, 5, 0, "train")]
    folder = write_set(tmp_path, "shop", "user_id item_id seq split", rows)
    log = read_log(folder, Source("user_id", ("seq",)))
    assert lists_of(log.sequences) == [[3, 2], [2]]
    assert log.is_test.tolist() == [False, True, False]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=30))
def test_every_event_is_kept_once(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]) -> None:
    folder = write_set(tmp_path_factory.mktemp("any"), "shop", "user_id item_id seq", rows)
    log = read_log(folder, Source("user_id", ("seq",)))
    ids = np.array(log.items.ids.to_pylist()[2:])
    found = [ids[np.array(row) - 2].tolist() for row in lists_of(log.sequences)]
    users = list(dict.fromkeys(user for user, _, _ in rows))
    assert found == [[item for u, item, _ in sorted(rows, key=lambda row: row[2]) if u == user] for user in users]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"events\.parquet"):
        read_log(tmp_path / "nowhere", BY_TIME)
    folder = write_set(tmp_path, "shop", "user_id item_id seq", [(1, 2, 3)])
    with pytest.raises(InputError, match=r"lacks a column(?s:.*)timestamp"):
        read_log(folder, BY_TIME)


def test_an_id_without_a_number_is_refused(tmp_path: Path) -> None:
    log = read_log(write_set(tmp_path, "shop", "user_id item_id seq", [(1, 2, 3)]), Source("user_id"))
    assert log.items.numbers(pa.array([2, 2])).tolist() == [2, 2]
    with pytest.raises(ValueError, match="1 item ids are null or not among the items"):
        log.items.numbers(pa.array([2, 7]))
    with pytest.raises(ValueError, match="1 item ids"):
        log.items.numbers(pa.array([2, None]))
