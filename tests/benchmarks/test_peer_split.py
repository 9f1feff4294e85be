from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.peer_split import LAST_EVENTS, hand_over, read_histories
from benchmarks.protocols import Task, load_task
from tests.benchmarks.small_data import at, write_set
from tests.pipelines.small_sequences import lists_of

LONG = 60  # events of bob; two of them are asked for


@pytest.fixture
def task(tmp_path: Path) -> Task:
    visits = {"ann": range(5), "bob": range(LONG)}
    rows = [(who, item, at(place), place) for who, items in visits.items() for place, item in enumerate(items)]
    write_set(
        tmp_path, "movielens_1m", "user_id item_id timestamp seq", rows, item_id=range(LONG), category=["x"] * LONG
    )
    return load_task("movielens_1m", tmp_path)


def test_the_last_51_events_of_the_train_part_are_handed_over_and_all_of_it_beside(task: Task, tmp_path: Path) -> None:
    hand_over(task, tmp_path / "split")
    ann, bob = lists_of(task.train)
    assert (len(ann), len(bob)) == (3, LONG - 2)
    assert lists_of(read_histories(tmp_path / "split" / "train_last.parquet")) == [ann, bob[-LAST_EVENTS:]]
    assert lists_of(read_histories(tmp_path / "split" / "train_all.parquet")) == [ann, bob]


def test_cases_hold_whole_histories_and_places_keep_their_order(task: Task, tmp_path: Path) -> None:
    hand_over(task, tmp_path)
    for part, length in (("validation", LONG - 2), ("test", LONG - 1)):
        handed_over = pq.read_table(tmp_path / f"{part}.parquet").to_pydict()
        assert handed_over["item"] == getattr(task, part).histories.items.tolist()
        bob = [place for user, place in zip(handed_over["user"], handed_over["place"], strict=True) if user == 1]
        assert bob == list(range(length))


def test_a_protocol_that_leaves_seen_items_in_is_refused(task: Task, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="movielens_1m is under P2: only"):
        hand_over(replace(task, test=replace(task.test, exclude_seen=False)), tmp_path)
