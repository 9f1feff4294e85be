import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import INTERACTIONS, SESSIONS
from pipelines.engine import connect
from pipelines.night import build_interactions, build_sessions
from pipelines.sessionise import days_to_rebuild, sessions_sql
from pipelines.settings import Nights, Storage
from pipelines.store import Store
from tests.pipelines.small_log import DAY, Row, at, day, event, put_log, rows_of, run, settings_of

STAGES = (build_interactions, build_sessions)
EVER = (date(2025, 1, 1), date(2027, 1, 1))


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(Storage(), tmp_path_factory.mktemp("scratch")) as con:
        yield con


def nights_of(zone: str = "UTC", gap_minutes: float = 30) -> Nights:
    return Nights(first=DAY, time_zone=zone, session_gap_minutes=gap_minutes)


def act(user: str | None, time: datetime, session: str | None = None, item: str = "i", row: int = 1) -> Row:
    return {
        "user_id": user, "item_id": item, "event_time": time, "event_type": "view", "source_session": session,
        "source_file": "f", "source_row": row, "weight": 1.0, "event_date": time.date(),
    }  # fmt: skip


def sessionise(con: duckdb.DuckDBPyConnection, nights: Nights, events: Iterable[Row], *days: date) -> list[Row]:
    con.register("interactions", pa.Table.from_pylist(list(events), schema=INTERACTIONS.schema))
    answer = con.sql(sessions_sql(nights, *(days or EVER))).to_arrow_table()
    return answer.select(SESSIONS.column_names).cast(SESSIONS.schema).to_pylist()


def spans(sessions: Iterable[Row]) -> list[tuple[Any, ...]]:
    return [(s["user_id"], s["source_session"], s["started_at"], s["ended_at"], s["num_events"]) for s in sessions]


def test_a_pause_as_long_as_the_gap_keeps_a_session_and_a_longer_one_ends_it(con: duckdb.DuckDBPyConnection) -> None:
    gap, moment = timedelta(minutes=30), timedelta(microseconds=1)
    times = [at(1), at(1) + gap, at(1) + 2 * gap + moment, at(1) + 2 * gap + moment]
    assert spans(sessionise(con, nights_of(), [act("u", time, row=n) for n, time in enumerate(times)])) == [
        ("u", None, times[0], times[1], 2), ("u", None, times[2], times[3], 2),
    ]  # fmt: skip


def test_users_and_source_sessions_are_kept_apart(con: duckdb.DuckDBPyConnection) -> None:
    who = [("u", None), ("u", "s"), ("v", "s"), (None, "s"), ("u", "t")]
    events = [act(user, at(1) + timedelta(seconds=n), session) for n, (user, session) in enumerate(who * 2)]
    found = spans(sessionise(con, nights_of(), events))
    assert [(user, session, num_events) for user, session, *_, num_events in found] == [(*pair, 2) for pair in who]


def test_a_session_over_midnight_belongs_to_the_day_in_the_zone_on_which_it_starts(
    con: duckdb.DuckDBPyConnection,
) -> None:
    events = [act("u", at(22.9)), act("u", at(23.1)), act("v", at(23.1)), act("v", at(23.5))]
    for zone, dates in (("UTC", [day(0), day(0)]), ("Europe/Berlin", [day(0), day(1)]), ("Asia/Tokyo", [day(1)] * 2)):
        found = sessionise(con, nights_of(zone), events)
        assert [(s["user_id"], s["session_date"]) for s in found] == list(zip("uv", dates, strict=True))


def test_only_sessions_that_start_in_the_range_are_built_and_they_are_whole(con: duckdb.DuckDBPyConnection) -> None:
    events = [act("u", at(23.9, -1)), act("u", at(0.1)), act("u", at(12)), act("u", at(23.9)), act("u", at(0.1, 1))]
    found = spans(sessionise(con, nights_of(), events, day(0), day(0)))
    assert found == [("u", None, at(12), at(12), 1), ("u", None, at(23.9), at(0.1, 1), 2)]


def test_events_of_equal_time_keep_the_order_of_their_rows(con: duckdb.DuckDBPyConnection) -> None:
    events = [act("u", at(1), item=str(row), row=row) for row in (3, 1, 2)]
    events.append(act("u", at(1), item="0") | {"source_file": "e", "source_row": 9})
    for order in (events, events[::-1]):
        (session,) = sessionise(con, nights_of(), order)
        assert session["item_ids"] == ["0", "1", "2", "3"]


def plain_sessions(events: Iterable[Row], nights: Nights) -> list[Row]:
    """The sessions of events, as one would group them by hand."""
    sessions: list[Row] = []
    open_ones: dict[tuple[Any, Any], Row] = {}
    for e in sorted(events, key=lambda e: (e["event_time"], e["source_file"], e["source_row"])):
        key = (e["user_id"], e["source_session"])
        session = open_ones.get(key)
        if session is None or e["event_time"] - session["ended_at"] > timedelta(minutes=nights.session_gap_minutes):
            micros = (e["event_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            text = json.dumps([*key, str(micros)], separators=(",", ":"))
            session = open_ones[key] = {
                "session_date": e["event_time"].astimezone(ZoneInfo(nights.time_zone)).date(),
                "session_id": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
                "user_id": key[0],
                "source_session": key[1],
                "started_at": e["event_time"],
                "item_ids": [],
                "event_times": [],
                "event_types": [],
            }
            sessions.append(session)
        session["item_ids"].append(e["item_id"])
        session["event_times"].append(e["event_time"])
        session["event_types"].append(e["event_type"])
        session |= {"ended_at": e["event_time"], "num_events": len(session["item_ids"])}
    return sorted(sessions, key=lambda s: (s["session_date"], s["started_at"], s["session_id"]))


who = st.sampled_from([("u1", None), ("u1", "s1"), ("u2", None), ("u2", "s1"), (None, "s1"), (None, "s2")])
pauses = st.sampled_from(["none", "short", "gap", "longer", "hours", "day"])


@given(
    st.lists(st.tuples(who, pauses), max_size=30),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"]),
    st.sampled_from([0.5, 30, 95.5, 1380]),
    st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 28, 20, tzinfo=UTC)]),
    st.randoms(use_true_random=False),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_events_become_the_sessions_of_a_plain_grouping(
    con: duckdb.DuckDBPyConnection, steps: list[Any], zone: str, gap: float, start: datetime, random: Any
) -> None:
    nights = nights_of(zone, gap)
    lengths = {
        "none": timedelta(0), "short": timedelta(seconds=7), "gap": timedelta(minutes=gap),
        "longer": timedelta(minutes=gap, microseconds=1), "hours": timedelta(hours=11), "day": timedelta(hours=25),
    }  # fmt: skip
    events, clock = [], dict.fromkeys([key for key, _ in steps], start)
    for row, (key, pause) in enumerate(steps):
        clock[key] += lengths[pause]
        events.append(act(key[0], clock[key], key[1], item=f"i{row}", row=row))
    random.shuffle(events)
    expected = plain_sessions(events, nights)
    assert sessionise(con, nights, events) == expected
    for first in {s["session_date"] for s in expected}:
        midnight = datetime.combine(first - timedelta(days=1), datetime.min.time(), ZoneInfo(zone))
        read = [e for e in events if e["event_time"] >= midnight]
        found = sessionise(con, nights, read, first, first)
        assert found == [s for s in expected if s["session_date"] == first]


def rebuilt(store: Store, nights: Nights, first: int, last: int) -> tuple[date, date]:
    with connect(Storage(), store.root / "scratch") as con:
        return days_to_rebuild(con, store, nights, day(first), day(last))


def test_a_night_reopens_the_days_that_its_events_can_reach(tmp_path: Path) -> None:
    logs = [
        [event("u", "i", at(12))],
        [event("u", "i", at(23.75, 1))],
        [event("v", "i", at(12, 2))],
        [event("v", "i", at(12, 3)), event("u", "i", at(12, 1))],
    ]
    settings, found = settings_of(tmp_path), []
    for number, rows in enumerate(logs):
        put_log(tmp_path, number, rows)
        store = run(settings, day(number), stages=[build_interactions])
        found.append(rebuilt(store, settings.nights, number, number))
        run(settings, day(number), stages=[build_sessions])
    # Night 2 reopens day 1, whose last session ended a quarter before midnight; night 3 got an event of day 1.
    assert found == [(day(0), day(0)), (day(1), day(1)), (day(1), day(2)), (day(1), day(3))]
    # Again, with later nights there: the day after may lose its first events, or get some before them.
    assert rebuilt(store, settings.nights, 0, 0) == (day(0), day(1))


def test_a_late_event_merges_two_sessions_of_a_former_day(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u", "a", at(1)), event("u", "c", at(1.8))])
    put_log(tmp_path, 1, [event("u", "b", at(1.4)), event("u", "d", at(5, 1))])
    settings = settings_of(tmp_path)
    assert rows_of(run(settings, day(0), stages=STAGES), "sessions", "item_ids") == [["a"], ["c"]]
    assert rows_of(run(settings, day(1), stages=STAGES), "sessions", "item_ids") == [["a", "b", "c"], ["d"]]


def test_a_corrected_file_rebuilds_the_sessions_that_its_former_events_were_in(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u", "a", at(1))])
    put_log(tmp_path, 1, [event("u", "b", at(1.2)), event("u", "c", at(23.9, 1))])
    put_log(tmp_path, 2, [event("u", "d", at(0.1, 2))])
    settings = settings_of(tmp_path)
    store = run(settings, day(0), day(2), STAGES)
    assert rows_of(store, "sessions", "item_ids") == [["a", "b"], ["c", "d"]]
    put_log(tmp_path, 1, [event("v", "x", at(5, 1))])
    run(settings, day(1), stages=STAGES)
    assert rows_of(store, "sessions", "item_ids") == [["a"], ["x"], ["d"]]
    put_log(tmp_path, 1, [event("u", "c", at(23.9, 1))])
    run(settings, day(1), stages=STAGES)
    assert rows_of(store, "sessions", "item_ids") == [["a"], ["c", "d"]]
