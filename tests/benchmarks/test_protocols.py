import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import protocols
from benchmarks.datasets import Items
from benchmarks.protocols import Task, load_task, prefixes, validation_sessions
from models.catalogue import Catalogue
from models.metrics import case_metrics
from models.sequences import Sequences
from pipelines.errors import InputError
from tests.benchmarks.small_data import at, write, write_set
from tests.pipelines.small_sequences import lists_of, make

SESSIONS = st.lists(st.lists(st.integers(2, 9), max_size=6), max_size=6)


def ids_of(task: Task, sequences: Sequences) -> list[list[object]]:
    return [[task.items.ids[number].as_py() for number in row] for row in lists_of(sequences)]


def cases_of(slices: dict[str, np.ndarray], *names: str) -> list[list[int]]:
    return [np.flatnonzero(slices[name]).tolist() for name in names]


@given(SESSIONS, st.integers(0, 8))
def test_prefixes_equal_the_plain_definition(sessions: list[list[int]], most: int) -> None:
    expected = [(row[:length], [row[length]]) for row in sessions for length in range(1, len(row))]
    if most and len(expected) > most:
        expected = [expected[number * len(expected) // most] for number in range(most)]
    histories, targets = prefixes(make(*sessions), most)
    assert list(zip(lists_of(histories), lists_of(targets), strict=True)) == expected


@given(SESSIONS, st.integers(2, 9))
def test_keeping_events_keeps_their_order_and_their_subject(sessions: list[list[int]], dropped: int) -> None:
    sequences = make(*sessions)
    kept = sequences.where(sequences.items != dropped)
    assert lists_of(kept) == [[item for item in row if item != dropped] for row in sessions]


def test_sessions_of_the_last_24_hours_are_for_selection() -> None:
    day = 86_400
    timed = make([2, 3], [2], [2], [3, 3], times=[0, 3 * day, day, 2 * day - 1, 3 * day - 1, 3 * day])
    assert validation_sessions(timed).tolist() == [False, False, False, True]
    assert np.flatnonzero(validation_sessions(make(*[[2]] * 29))).tolist() == [27, 28]  # order alone is known


def write_users(data: Path, name: str, visits: Iterable[tuple[str, str]]) -> None:
    rows = [(who, int(item), at(place), place) for who, items in visits for place, item in enumerate(items)]
    write_set(data, name, "user_id item_id timestamp seq", rows, item_id=list(range(10)), category=["x"] * 10)


def test_the_next_night_asks_those_who_were_known_for_all_they_choose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Day 3 is the night, day 2 the one before. Eve is known since day 2 alone; tom is known, and comes on day 2."""
    visits = {
        "ann": [(2, 0), (3, 1), (4, 2), (6, 3), (5, 3), (5, 3)],
        "bob": [(7, 0), (7, 1), (2, 3)],
        "eve": [(3, 2), (4, 3)],
        "tom": [(3, 0), (3, 2), (2, 2)],
    }
    times = [place * 60 + day * 86_400 for row in visits.values() for place, (_, day) in enumerate(row)]
    log = make(*([item for item, _ in row] for row in visits.values()), times=times)
    monkeypatch.setattr(protocols, "read_shop", lambda: (Items(pa.nulls(8, pa.string()), Catalogue(8)), log))
    task = load_task("planted_shop", tmp_path)
    assert (task.protocol, task.exclude_seen, task.main_metric) == ("P1", False, "ndcg@10")
    assert lists_of(task.train) == [[2, 3], [7, 7], [3]]
    assert lists_of(task.everything) == [[2, 3, 4], [7, 7], [3, 3, 2]]
    assert lists_of(task.validation.histories) == [[2, 3], [3]]
    assert lists_of(task.validation.targets) == [[4], [2, 3]]
    assert lists_of(task.test.histories) == [[2, 3, 4], [7, 7]]
    assert lists_of(task.test.targets) == [[5, 6], [2]]
    assert cases_of(task.slices, "target_0", "target_1_10") == [[0], [1]]


def test_leave_one_out_asks_for_the_last_event_of_users_with_five(tmp_path: Path) -> None:
    write_users(tmp_path, "movielens_1m", [("ann", "12345"), ("bob", "1267"), ("eve", "543216")])
    task = load_task("movielens_1m", tmp_path)
    assert (task.protocol, task.num_items, task.exclude_seen, task.main_metric) == ("P2", 9, True, "ndcg@10")
    assert ids_of(task, task.train) == [[1, 2, 3], [5, 4, 3, 2]]
    assert ids_of(task, task.validation.targets) == [[4], [1]]
    assert ids_of(task, task.test.histories) == ids_of(task, task.everything) == [[1, 2, 3, 4], [5, 4, 3, 2, 1]]
    assert ids_of(task, task.test.targets) == [[5], [6]]
    assert task.validation.histories is task.train
    assert task.validation.exclude_seen
    assert task.allowed.tolist() == [False] * 2 + [True] * 7  # also 6 and 7, which nobody teaches
    assert task.candidates.shape == (2, 0)
    assert cases_of(task.slices, "target_0", "target_1_10", "history_1_5") == [[1], [0], [0, 1]]
    assert cases_of(task.slices, "frequent_targets", "rare_targets") == [[], [0, 1]]  # 3 and 2 are, of five items
    assert cases_of(task.slices, "uniform_users", "uneven_users") == [[0], [1]]
    assert task.counts.tolist() == [0, 0, 1, 2, 2, 1, 1, 0, 0]


def test_next_click_asks_after_every_prefix_of_a_test_session(tmp_path: Path) -> None:
    sessions = [("train", "12")] * 18 + [("train", "34"), ("train", "321"), ("test", "1231"), ("test", "4")]
    rows = [
        (number, place, int(item), split)
        for number, (split, items) in enumerate(sessions)
        for place, item in enumerate(items)
    ]
    write_set(tmp_path, "diginetica", "session_id position item_id split", rows, item_id=range(1, 6), category=[7] * 5)
    task = load_task("diginetica", tmp_path)
    assert (task.protocol, task.num_items, task.exclude_seen, task.metrics) == ("P3", 7, False, ("recall@20", "mrr@20"))
    assert ids_of(task, task.train) == [[1, 2]] * 18
    assert ids_of(task, task.everything) == [[1, 2]] * 18 + [[3, 4], [3, 2, 1]]
    assert ids_of(task, task.validation.histories) == [[3], [3], [3, 2]]
    assert ids_of(task, task.validation.targets) == [[4], [2], [1]]
    assert ids_of(task, task.test.histories) == [[1], [1, 2], [1, 2, 3]]
    assert ids_of(task, task.test.targets) == [[2], [3], [1]]
    assert cases_of(task.slices, "target_0", "target_1_10", "target_11_50") == [[], [1], [0, 2]]


def test_validation_of_next_click_is_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "MAX_VALIDATION_CASES", 2)
    rows = [(1, 5, at(0), "train"), (9, 5, at(2), "test"), (9, 6, at(2, 1), "test")]
    rows += [(2, item, at(1, 1 + item), "train") for item in range(1, 6)]
    write_set(tmp_path, "yoochoose_100k", "session_id item_id timestamp split", rows)
    task = load_task("yoochoose_100k", tmp_path)
    assert ids_of(task, task.train) == [[5]]
    assert ids_of(task, task.validation.targets) == [[2], [4]]


CLICKS = {
    11: [(1, at(0, 5)), (2, at(0, 6))],
    12: [(2, at(1, 23)), (3, at(1, 22)), (1, at(2, 1))],
    13: [(3, at(2, 0)), (1, at(2, 1)), (4, at(2, 2))],
    14: [(5, at(2, 3)), (1, at(2, 4))],
}


def write_globo(data: Path, **cases: list[int]) -> None:
    rows = [(session, item, time) for session, events in CLICKS.items() for item, time in events]
    names = "session_id item_id timestamp"
    folder = write_set(data, "globo_news", names, rows, item_id=[1, 9], category_id=[3, 4], created_at=[at(0), at(1)])
    write(folder / "p3_cases.parquet", cases)


@pytest.mark.parametrize(
    ("session", "shown", "message"),
    [(13, 0, "is empty"), (13, 3, "leaves no click"), (15, 1, "1 of 1 subjects with a stored case have no event")],
)
def test_a_stored_prefix_that_asks_for_nothing_is_refused(
    tmp_path: Path, session: int, shown: int, message: str
) -> None:
    write_globo(tmp_path, session_id=[session], clicks_shown=[shown])
    with pytest.raises(ValueError, match=message):
        load_task("globo_news", tmp_path)


def test_globo_is_split_by_first_click_and_asked_the_stored_prefixes(tmp_path: Path) -> None:
    write_globo(tmp_path, session_id=[14, 13], clicks_shown=[1, 2])
    task = load_task("globo_news", tmp_path)
    assert ids_of(task, task.everything) == [[1, 2], [3, 2, 1]]
    assert ids_of(task, task.train) == [[1, 2]]
    assert ids_of(task, task.validation.targets) == [[2], [1]]
    assert ids_of(task, task.test.histories) == [[5], [3, 1]]
    assert ids_of(task, task.test.targets) == [[1], [4]]
    assert task.num_items == 2 + 6  # 9 was never clicked and may be listed all the same
    assert cases_of(task.slices, "target_0", "target_1_10") == [[1], [0]]


def test_a_static_split_asks_for_the_test_items_of_each_user(tmp_path: Path) -> None:
    rows = [(user, item, "train") for user in range(40) for item in range(9)]
    rows += [(3, 20, "test"), (3, 21, "test"), (5, 0, "test")]
    write_set(tmp_path, "lightgcn_gowalla", "user_id item_id split", rows)
    task = load_task("lightgcn_gowalla", tmp_path)
    assert (task.protocol, task.exclude_seen, task.main_metric) == ("P4", True, "recall@20")
    assert ids_of(task, task.everything) == [list(range(9))] * 40
    assert ids_of(task, task.test.histories) == [list(range(9))] * 2
    assert ids_of(task, task.test.targets) == [[20, 21], [0]]
    assert cases_of(task.slices, "target_0", "target_11_50") == [[0], [1]]
    num_selected = len(task.validation.targets.items)
    assert 0.05 < num_selected / 360 < 0.15
    assert num_selected + len(task.train.items) == 360
    for history, targets in zip(lists_of(task.validation.histories), lists_of(task.validation.targets), strict=True):
        assert sorted(history + targets) == list(range(2, 11))
    again = load_task("lightgcn_gowalla", tmp_path)
    assert lists_of(again.train) == lists_of(task.train)


LUXURY = {7: [1, 2, 3], 8: [4, 4], 9: [2, 1, 5, 2]}


def write_luxury(data: Path, targets: list[int]) -> None:
    rows = [(user, item, place) for user, items in LUXURY.items() for place, item in enumerate(items)]
    folder = write_set(data, "amazon_luxury_beauty", "user_id item_id seq", rows, item_id=range(1, 40))
    negatives = [list(range(20, 39)), list(range(6, 25))]
    write(folder / "candidates.parquet", {"user_id": [9, 7], "target": targets, "negatives": negatives})


def test_twenty_candidates_hold_the_last_event(tmp_path: Path) -> None:
    write_luxury(tmp_path, targets=[2, 3])
    task = load_task("amazon_luxury_beauty", tmp_path)
    assert (task.protocol, task.num_items, task.exclude_seen, task.main_metric) == ("P5", 41, False, "hit@1")
    assert ids_of(task, task.train) == [[2, 1], [1]]
    assert ids_of(task, task.test.histories) == [[2, 1, 5], [1, 2]]
    assert ids_of(task, task.test.targets) == [[2], [3]]
    found = [[task.items.ids[number].as_py() for number in row] for row in task.candidates]
    assert found == [[2, *range(20, 39)], [3, *range(6, 25)]]
    assert cases_of(task.slices, "repeated", "not_repeated", "cold", "warm") == [[0], [1], [0, 1], []]


def test_a_stored_target_that_is_not_the_last_event_is_refused(tmp_path: Path) -> None:
    write_luxury(tmp_path, targets=[2, 2])
    with pytest.raises(ValueError, match="a stored target is not the last event"):
        load_task("amazon_luxury_beauty", tmp_path)


def test_an_unknown_data_set_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mnist(?s:.*)allowed: planted_shop, movielens_1m, "):
        load_task("mnist", tmp_path)


def real_task(name: str) -> Task:
    data = Path(os.environ.get("NIGHTLY_DATA", Path(__file__).parents[2] / "data"))
    if not (data / name).is_dir():
        pytest.skip(f"no {name} in {data}: set NIGHTLY_DATA to the folder of the data sets")
    return load_task(name, data)


@pytest.mark.parametrize(
    ("name", "num_cases", "num_sequences", "recall", "mrr"),
    [
        ("diginetica", 60_858, 186_670, 0.0093, 0.0021),
        ("retailrocket", 5_639, 75_360, 0.0199, 0.0062),
        ("yoochoose_100k", 10_152, 17_794, 0.0894, 0.0264),
        ("globo_news", 20_000, 621_188, 0.0368, 0.0023),
    ],
)
def test_the_most_popular_items_reach_what_they_are_known_to(
    name: str, num_cases: int, num_sequences: int, recall: float, mrr: float
) -> None:
    task = real_task(name)
    assert (len(task.test.targets), len(task.everything)) == (num_cases, num_sequences)
    popular = np.argsort(-task.counts, kind="stable")[:20].astype(np.int32)
    values = case_metrics(np.tile(popular, (num_cases, 1)), task.test.targets, [20])
    assert values["recall@20"].mean() == pytest.approx(recall, abs=5e-5)
    assert values["mrr@20"].mean() == pytest.approx(mrr, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "num_cases"),
    [("movielens_1m", 6_034), ("amazon_beauty", 22_363), ("lightgcn_gowalla", 29_858), ("amazon_luxury_beauty", 9_912)],
)
def test_the_users_of_the_real_sets_are_those_of_their_description(name: str, num_cases: int) -> None:
    task = real_task(name)
    assert len(task.test.targets) == num_cases
    if task.protocol == "P5":
        assert task.slices["repeated"].mean() == pytest.approx(0.173, abs=5e-4)
