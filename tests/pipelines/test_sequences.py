from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import METADATA_VOCABULARY, TIME
from pipelines.engine import connect
from pipelines.sequences import training_sequences_sql
from pipelines.settings import Storage
from tests.pipelines.small_log import Row, at, day, event, newest, put_log, run, settings_of

NUMBERS = {"a": 2, "b": 3, "c": 4, "d": 5}
SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("source_session", pa.string()),
        ("item_id", pa.string()),
        ("event_time", TIME),
        ("position", pa.int64()),
    ]
)
Key = tuple[str, str, str]  # subject type, subject, split


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(Storage(), tmp_path_factory.mktemp("scratch")) as con:
        yield con


def act(
    user: str | None, item: str, time: datetime, session: str | None = None, visit: str = "v", position: int = 0
) -> Row:
    return dict(zip(SCHEMA.names, (visit, user, session, item, time, position), strict=True))


def sequences(
    con: duckdb.DuckDBPyConnection, events: Iterable[Row], night: int = 3, zone: str = "UTC", **training: int
) -> dict[Key, list[int]]:
    """Item numbers by subject and split; that the times fit is checked on the way."""
    settings = settings_of(Path("/"), nights={"time_zone": zone}, training=training)
    tokens = [
        {"field": field, "token": token, "number": number, "count": 1, "as_of_date": day(night), "first_night": day(0)}
        for field, names in (("item", NUMBERS), ("brand", {"a": 9}))
        for token, number in names.items()
    ]
    con.register("metadata_vocabulary", pa.Table.from_pylist(tokens, schema=METADATA_VOCABULARY.schema))
    con.register("events", pa.Table.from_pylist(list(events), schema=SCHEMA))
    rows = con.sql(training_sequences_sql(settings, day(night))).to_arrow_table().to_pylist()
    for row in rows:
        assert row["as_of_date"] == day(night)
        assert len(row["event_times"]) == len(row["item_numbers"]) > 0
        assert row["event_times"] == sorted(row["event_times"])
    return {(row["subject_type"], row["subject_id"], row["split"]): row["item_numbers"] for row in rows}


def test_the_last_two_nights_are_test_and_validation_and_all_before_is_train(con: duckdb.DuckDBPyConnection) -> None:
    events = [act("u", item, at(1, number)) for number, item in enumerate("abcd")]
    assert sequences(con, events) == {
        ("user", "u", "train"): [2, 3], ("user", "u", "validation"): [4], ("user", "u", "test"): [5],
    }  # fmt: skip


def test_nights_without_events_are_skipped(con: duckdb.DuckDBPyConnection) -> None:
    events = [act("u", "a", at(1, 0)), act("u", "b", at(1, 5)), act("v", "c", at(1, 9))]
    assert sequences(con, events, night=12) == {
        ("user", "u", "train"): [2], ("user", "u", "validation"): [3], ("user", "v", "test"): [4],
    }  # fmt: skip


def test_the_first_night_has_a_test_part_alone(con: duckdb.DuckDBPyConnection) -> None:
    assert sequences(con, [act("u", "a", at(1))], night=0) == {("user", "u", "test"): [2]}
    assert sequences(con, [], night=0) == {}


def test_a_subject_is_a_user_or_an_anonymous_session(con: duckdb.DuckDBPyConnection) -> None:
    events = [
        act("x", "a", at(1), "s1"), act("x", "b", at(2), "s2"), act(None, "c", at(1), "x"), act(None, "d", at(2), "x"),
    ]  # fmt: skip
    assert sequences(con, events) == {("user", "x", "test"): [2, 3], ("session", "x", "test"): [4, 5]}


def test_days_are_those_of_the_zone_of_the_nights(con: duckdb.DuckDBPyConnection) -> None:
    events = [act("u", "a", at(22)), act("u", "b", at(23.5)), act("u", "c", at(1, 1))]
    assert sequences(con, events) == {("user", "u", "validation"): [2, 3], ("user", "u", "test"): [4]}
    assert sequences(con, events, zone="Europe/Berlin") == {
        ("user", "u", "validation"): [2],
        ("user", "u", "test"): [3, 4],
    }


@pytest.mark.parametrize(("window_days", "train"), [(3, [3]), (4, [2, 3])])
def test_events_older_than_the_window_are_left_out(
    con: duckdb.DuckDBPyConnection, window_days: int, train: list[int]
) -> None:
    events = [act("u", item, at(0, number)) for number, item in enumerate("abcd")]
    found = sequences(con, events, window_days=window_days)
    assert found == {("user", "u", "train"): train, ("user", "u", "validation"): [4], ("user", "u", "test"): [5]}


def test_the_newest_events_of_each_part_are_kept(con: duckdb.DuckDBPyConnection) -> None:
    events = [act("u", item, at(hour, night)) for night in (0, 1, 2, 3) for hour, item in enumerate("abcd")]
    assert sequences(con, events, max_events=3) == {
        ("user", "u", "train"): [3, 4, 5], ("user", "u", "validation"): [3, 4, 5], ("user", "u", "test"): [3, 4, 5],
    }  # fmt: skip
    # What a subject does last decides nothing about what it did before.
    assert sequences(con, events[:-3], max_events=3)["user", "u", "train"] == [3, 4, 5]


def test_events_of_equal_time_go_by_visit_and_place_and_the_last_are_kept(con: duckdb.DuckDBPyConnection) -> None:
    places = [("v2", 0, "d"), ("v1", 2, "c"), ("v1", 0, "a"), ("v1", 1, "b")]
    events = [act("u", item, at(1), visit=visit, position=position) for visit, position, item in places]
    for order in (events, events[::-1]):
        assert sequences(con, order) == {("user", "u", "test"): [2, 3, 4, 5]}
        assert sequences(con, order, max_events=2) == {("user", "u", "test"): [4, 5]}


def test_an_item_without_a_number_is_left_out(con: duckdb.DuckDBPyConnection) -> None:
    assert sequences(con, [act("u", "z", at(1)), act("u", "a", at(2)), act("v", "z", at(2))]) == {
        ("user", "u", "test"): [2]
    }


def test_an_event_of_weight_zero_neither_teaches_nor_makes_a_night(tmp_path: Path) -> None:
    types = [{"name": "cancel", "weight": 0, "when_column": "kind", "when_matches": "C"}, {"name": "buy"}]
    for number, kinds in enumerate(["buy", "buy", "C", "buy"]):
        rows = [event("u", f"i{number}", at(1, number)) | {"kind": kinds}]
        put_log(tmp_path, number, [*rows, event("v", "gone", at(2, number)) | {"kind": "C"}])
    store = run(settings_of(tmp_path, events={"event_types": types}), day(0), day(3))
    numbers = dict(newest(store, "metadata_vocabulary", "token", "number"))
    assert newest(store, "training_sequences", "subject_id", "split", "item_numbers") == [
        ("u", "train", [numbers["i0"]]), ("u", "validation", [numbers["i1"]]), ("u", "test", [numbers["i3"]]),
    ]  # fmt: skip


some_events = st.lists(
    st.tuples(
        st.sampled_from([("u", None), ("v", "s"), (None, "s"), (None, "t")]),
        st.sampled_from("abcdz"),
        st.integers(0, 4 * 86_400) | st.sampled_from([0, 86_400]),
    ),
    max_size=30,
)


@given(some_events, st.sampled_from(["UTC", "Asia/Tokyo"]), st.integers(3, 5), st.integers(2, 5))
@hypothesis_settings(max_examples=30, deadline=None)
def test_any_history_is_cut_as_one_would_cut_it_by_hand(
    con: duckdb.DuckDBPyConnection, steps: list[Any], zone: str, window_days: int, max_events: int
) -> None:
    def local_day(e: Row) -> Any:
        return e["event_time"].astimezone(ZoneInfo(zone)).date()

    events = [
        act(who[0], item, at(0) + timedelta(seconds=second), who[1], f"v{place % 3}", place)
        for place, (who, item, second) in enumerate(steps)
    ]
    events = [e for e in events if local_day(e) <= day(3)]
    nights = sorted({local_day(e) for e in events}, reverse=True)
    expected: dict[Key, list[int]] = defaultdict(list)
    for e in sorted(events, key=lambda e: (e["event_time"], e["session_id"], e["position"])):
        split = (["test", "validation"] + ["train"] * 9)[nights.index(local_day(e))]
        subject = ("user", e["user_id"]) if e["user_id"] else ("session", e["source_session"])
        if local_day(e) > day(3 - window_days):
            expected[*subject, split].append(NUMBERS.get(e["item_id"], 0))
    cut = {key: [number for number in items[-max_events:] if number] for key, items in expected.items()}
    found = sequences(con, events, zone=zone, window_days=window_days, max_events=max_events)
    assert found == {key: items for key, items in cut.items() if items}
