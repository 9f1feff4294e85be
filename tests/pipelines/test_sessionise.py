import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import INTERACTIONS, SESSIONS
from pipelines.engine import connect, quote
from pipelines.kernel import Relation
from pipelines.log_stages import build_interactions, build_sessions
from pipelines.night import days_between
from pipelines.sessionise import DAYS_AFTER, DAYS_BEFORE, fold_sessions, sessions_kernel
from pipelines.settings import Sessions
from tests.pipelines.kernel_run import HOSTILE, STORAGE, KernelRun, Row, by_key, local_day
from tests.pipelines.random_interactions import (
    AUTUMN,
    SPRING,
    WINTER,
    ZONES,
    Step,
    act,
    interactions_of,
    some_steps,
)
from tests.pipelines.small_log import at, day, event, put_log, rows_of, run, settings_of

STAGES = (build_interactions, build_sessions)
ONE_DAY, MOMENT = timedelta(days=1), timedelta(microseconds=1)
HALF = Sessions(gap_minutes=30)
LONG = Sessions(gap_minutes=12 * 60)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("sessions"))


def sessionise(
    runs: KernelRun, rules: Sessions, events: Sequence[Row], first: date, last: date, zone: str = "UTC"
) -> list[Row]:
    """Sessions that start in a range of days, in stored order."""
    kernel = sessions_kernel(rules, zone, first, last)
    return runs.run(kernel, days_between(first, last), interactions=runs.relation("interactions", events))


def whole(runs: KernelRun, rules: Sessions, events: Sequence[Row], zone: str = "UTC") -> list[Row]:
    """All sessions."""
    days = [e["event_date"] for e in events]
    return sessionise(runs, rules, events, min(days), max(days), zone)


def items(sessions: Iterable[Row]) -> list[str]:
    return ["".join(s["item_ids"]) for s in sessions]


def named(times: Iterable[datetime], user: str | None = "u", session: str | None = None) -> list[Row]:
    """Events on the items a, b, c ... in order."""
    return [act(user, time, session, chr(97 + n), row=n) for n, time in enumerate(times)]


def test_a_row_of_sessions_by_hand(runs: KernelRun) -> None:
    events = [act("u", at(1), "s", "a"), act("u", at(1.25), "s", "b", "look", 2)]
    assert whole(runs, HALF, events) == [
        {
            "session_date": day(0), "user_id": "u", "source_session": "s", "started_at": at(1), "ended_at": at(1.25),
            "num_events": 2, "item_ids": ["a", "b"], "event_times": [at(1), at(1.25)], "event_types": ["view", "look"],
            # printf '["u","s","1767229200000000"]' | md5sum
            "session_id": "cd58b5ed37cabeb98c77e1ef7ef8de76",
        }
    ]  # fmt: skip


def test_a_pause_as_long_as_the_gap_keeps_a_session_and_a_longer_one_ends_it(runs: KernelRun) -> None:
    gap = timedelta(minutes=30)
    for extra, expected in ((timedelta(0), ["abcd"]), (MOMENT, ["ab", "cd"])):
        times = [at(1), at(1) + gap, at(1) + 2 * gap + extra, at(1) + 2 * gap + extra]
        assert items(whole(runs, HALF, named(times))) == expected
    tenth = Sessions(gap_minutes=0.1 / 60)
    times = [at(1) + timedelta(microseconds=us) for us in (0, 100_000, 200_001, 300_000)]
    assert items(whole(runs, tenth, named(times))) == ["ab", "cd"]


def test_users_and_source_sessions_are_kept_apart(runs: KernelRun) -> None:
    who = [("u", None), ("u", "s"), ("v", "s"), (None, "s"), ("u", "t"), (None, "t")]
    events = [act(user, at(1) + timedelta(seconds=n), session, row=n) for n, (user, session) in enumerate(who * 2)]
    found = whole(runs, HALF, events)
    assert {(s["user_id"], s["source_session"]): s["num_events"] for s in found} == dict.fromkeys(who, 2)
    assert len({s["session_id"] for s in found}) == len(found) == len(who)


def test_anonymous_events_of_one_source_session_are_cut_by_the_gap_alone(runs: KernelRun) -> None:
    events = [*named([at(1), at(1.2), at(3)], None, "s"), *named([at(1.1), at(1.3)], None, "t")]
    found = whole(runs, HALF, events)
    assert [(s["user_id"], s["source_session"], s["num_events"]) for s in found] == [
        (None, "s", 2), (None, "s", 1), (None, "t", 2),
    ]  # fmt: skip


def test_a_session_over_midnight_belongs_to_the_day_in_the_zone_on_which_it_starts(runs: KernelRun) -> None:
    for zone, dates in (("UTC", [day(0), day(0)]), ("Europe/Berlin", [day(0), day(1)]), ("Asia/Tokyo", [day(1)] * 2)):
        pairs = [("u", at(22.9)), ("u", at(23.1)), ("v", at(23.1)), ("v", at(23.5))]
        found = whole(runs, HALF, [act(user, time, row=n, zone=zone) for n, (user, time) in enumerate(pairs)], zone)
        assert [(s["user_id"], s["session_date"]) for s in found] == list(zip("uv", dates, strict=True))


def test_a_visit_through_a_whole_day_ends_at_the_midnight_after_it(runs: KernelRun) -> None:
    times = [at(hour) for hour in (20, 25, 36, 47.5, 48, 49, 73, 74)]  # the longest pause: 24 hours, from 49 to 73
    assert items(whole(runs, LONG, named(times))) == ["abc" + "d", "ef", "gh"]
    # A pause ends the chain: what begins after it may go on over the next midnight.
    assert items(whole(runs, LONG, named([at(hour) for hour in (20, 25, 37.5, 47, 49, 60)]))) == ["ab", "cdef"]
    # Every day of a longer chain is a session of its own.
    hourly = named([at(23 + hour) for hour in range(0, 100, 4)])
    assert [(s["session_date"], s["num_events"]) for s in whole(runs, LONG, hourly)] == [
        (day(0), 7), (day(2), 6), (day(3), 6), (day(4), 6),
    ]  # fmt: skip


def test_the_midnight_that_cuts_is_the_one_of_the_zone(runs: KernelRun) -> None:
    times = [at(20), at(30), at(40), at(46.5), at(47.5), at(48)]
    for zone, expected in (("UTC", ["abcde", "f"]), ("Europe/Berlin", ["abcd", "ef"]), ("Asia/Tokyo", ["abcdef"])):
        events = [e | {"event_date": local_day(e["event_time"], zone)} for e in named(times)]
        assert items(whole(runs, LONG, events, zone)) == expected


def test_only_sessions_that_start_in_the_range_are_built_and_they_are_whole(runs: KernelRun) -> None:
    events = named([at(23.9, -1), at(0.1), at(12), at(23.9), at(0.1, 1), at(5, 1)])
    assert items(sessionise(runs, HALF, events, day(0), day(0))) == ["c", "de"]
    assert items(sessionise(runs, HALF, events, day(-1), day(1))) == ["ab", "c", "de", "f"]
    assert sessionise(runs, HALF, [], day(0), day(1)) == []


def test_a_day_that_begins_twice_is_read_from_its_first_beginning(runs: KernelRun) -> None:
    start, zone = datetime(2026, 10, 24, 21, 10, tzinfo=UTC), "Atlantic/Azores"  # at one, clocks go back to midnight
    times = [start + timedelta(minutes=20 * n) for n in range(90)]
    events = [act("u", time, row=n, zone=zone) for n, time in enumerate(times)]
    rules = Sessions(gap_minutes=30, max_events=2)
    expected = whole(runs, rules, events, zone)
    assert [s["num_events"] for s in expected] == [2] * 45
    for on in days_between(date(2026, 10, 24), date(2026, 10, 26)):
        assert sessionise(runs, rules, events, on, on, zone) == [s for s in expected if s["session_date"] == on]


def test_a_long_visit_is_cut_after_so_many_events_also_at_equal_times(runs: KernelRun) -> None:
    rules = Sessions(gap_minutes=30, max_events=3)
    found = whole(runs, rules, named([at(1)] * 7 + [at(1.5), at(3), at(3)]))
    assert items(found) == ["abc", "def", "gh", "ij"]
    assert len({s["session_id"] for s in found}) == 4
    micros = int(at(1).timestamp()) * 1_000_000
    texts = [f'["u",null,"{micros}"]', f'["u",null,"{micros}","1"]', f'["u",null,"{micros}","2"]']
    assert [s["session_id"] for s in found[:3]] == [hashlib.md5(text.encode()).hexdigest() for text in texts]
    assert items(whole(runs, rules, named([at(1)] * 6))) == ["abc", "def"]
    # The pieces of a visit over midnight are counted from where it began.
    assert items(sessionise(runs, rules, named([at(23.9)] * 2 + [at(24.1)] * 5), day(1), day(1))) == ["def", "g"]


def test_a_robot_is_left_out_on_its_days_and_over_all_its_source_sessions(runs: KernelRun) -> None:
    rules = Sessions(gap_minutes=30, max_events_a_day=4)
    person = [act("p", at(hour), session) for hour, session in ((1, "s"), (2, "s"), (3, "t"), (4, None), (25, None))]
    robot = [act("r", at(hour), session) for hour, session in ((1, "s"), (2, "s"), (3, "t"), (4, None), (5, None))]
    later = [act("r", at(25), "s"), act(None, at(1), "s")]
    anonymous = [act(None, at(1 + n), session) for session in ("v", "w") for n in range(3)]
    many = [act(None, at(1), "x", row=n) for n in range(5)]
    events = [e | {"source_row": n} for n, e in enumerate([*person, *robot, *later, *anonymous, *many])]
    found = whole(runs, rules, events)
    assert Counter((s["user_id"] or s["source_session"], s["session_date"]) for s in found) == {
        ("p", day(0)): 4, ("p", day(1)): 1, ("r", day(1)): 1, ("s", day(0)): 1, ("v", day(0)): 3, ("w", day(0)): 3,
    }  # fmt: skip
    assert sum(s["num_events"] for s in found) == 13
    assert sum(s["num_events"] for s in whole(runs, HALF, events)) == len(events) == 23


def test_immediate_repeats_are_dropped_where_the_rules_say_so(runs: KernelRun) -> None:
    pairs = [("a", "view"), ("a", "view"), ("a", "look"), ("a", "look"), ("a", "view"), ("b", "view"), ("b", "view")]
    events = [act("u", at(1 + n / 10), None, *pair, n) for n, pair in enumerate([*pairs, ("a", "view")])]
    events += [act("u", at(3), item="a", row=8), act("u", at(0.9), "s", item="a", row=9)]
    kept = whole(runs, HALF, events)
    assert items(kept) == ["a", "aaaaabba", "a"]
    drop = Sessions(gap_minutes=30, immediate_repeats="drop")
    found = whole(runs, drop, events)
    assert items(found) == ["a", "aaaba", "a"]  # a new session begins with its first event, whatever was before
    assert found[1]["event_types"] == ["view", "look", "view", "view", "view"]
    assert found[1]["event_times"] == [at(1 + n / 10) for n in (0, 2, 4, 5, 7)]
    assert [s["session_id"] for s in found] == [s["session_id"] for s in kept]
    # A dropped event still says that the visit goes on; the cut counts what is kept.
    rules = Sessions(gap_minutes=30, immediate_repeats="drop", max_events=2)
    events = [act("u", at(1 + n * 0.4), item=item, row=n) for n, item in enumerate("aaaabcc")]
    assert [(s["item_ids"], s["ended_at"]) for s in whole(runs, rules, events)] == [
        (["a", "b"], at(1 + 4 * 0.4)), (["c"], at(1 + 5 * 0.4)),
    ]  # fmt: skip


def test_events_of_equal_time_keep_the_order_of_their_files_and_rows(runs: KernelRun) -> None:
    events = [act("u", at(1), item=str(row), row=row) for row in (3, 1, 20)]
    events.append(act("u", at(1), item="0", row=9, file="e"))
    for order in (events, events[::-1]):
        assert whole(runs, HALF, order)[0]["item_ids"] == ["0", "1", "3", "20"]


def test_hostile_ids_are_ids(runs: KernelRun) -> None:
    pairs = [(user, session) for user in (*HOSTILE, None) for session in (*HOSTILE, None) if user or session]
    events = [
        act(user, at(1), session, HOSTILE[n % len(HOSTILE)], HOSTILE[-1 - n % len(HOSTILE)], n)
        for n, (user, session) in enumerate(pairs)
    ]
    found = whole(runs, Sessions(max_events_a_day=100), events)
    assert sorted(found, key=identity) == sorted(plain_sessions(events, HALF, "UTC"), key=identity)
    assert len({s["session_id"] for s in found}) == len(pairs)


def plain_sessions(events: Iterable[Row], rules: Sessions, zone: str) -> list[Row]:
    """The sessions of events, as one would group them by hand."""
    a_day = Counter((e["user_id"] or (e["source_session"],), e["event_date"]) for e in events)
    limit, gap = rules.max_events_a_day, timedelta(minutes=rules.gap_minutes)
    sessions: list[Row] = []
    kept = [e for e in events if not limit or a_day[e["user_id"] or (e["source_session"],), e["event_date"]] <= limit]
    in_order = sorted(kept, key=lambda e: (e["event_time"], e["source_file"], e["source_row"]))
    for key, visits in by_key(in_order, "user_id", "source_session").items():
        before: Row | None = None
        chain_began, position = date.min, 0
        for e in visits:
            today = local_day(e["event_time"], zone)
            if before is None or e["event_time"] - before["event_time"] > gap:
                chain_began, position = today, 0
            elif today > before["event_date"] and today > chain_began + ONE_DAY:
                position = 0
            elif rules.immediate_repeats == "drop" and what(e) == what(before):
                before = e
                continue
            before = e
            if position % rules.max_events == 0:
                sessions.append(opened(key, e, today, position // rules.max_events))
            position += 1
            session = sessions[-1]
            session["item_ids"].append(e["item_id"])
            session["event_times"].append(e["event_time"])
            session["event_types"].append(e["event_type"])
            session |= {"ended_at": e["event_time"], "num_events": len(session["item_ids"])}
    return sessions


def what(e: Row) -> tuple[str, str]:
    return e["item_id"], e["event_type"]


def opened(key: tuple[Any, Any], e: Row, today: date, piece: int) -> Row:
    micros = (e["event_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // MOMENT
    text = json.dumps([*key, str(micros), *([str(piece)] if piece else [])], separators=(",", ":"), ensure_ascii=False)
    return {
        "session_date": today, "session_id": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "user_id": key[0], "source_session": key[1], "started_at": e["event_time"],
        "item_ids": [], "event_times": [], "event_types": [],
    }  # fmt: skip


def identity(session: Row) -> tuple[date, str]:
    return session["session_date"], session["session_id"]


some_rules = st.builds(
    Sessions,
    gap_minutes=st.sampled_from([0.5, 30, 60, 540, 22 * 60]),
    max_events=st.sampled_from([2, 3, 10_000]),
    max_events_a_day=st.sampled_from([0, 0, 3, 5]),
    immediate_repeats=st.sampled_from(["keep", "drop"]),
)
some_starts, some_zones = st.sampled_from([WINTER, SPRING, AUTUMN]), st.sampled_from(ZONES)


@given(some_steps, some_rules, some_starts, some_zones, st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_events_become_the_sessions_of_a_plain_grouping(
    runs: KernelRun, steps: list[Step], rules: Sessions, start: datetime, zone: str, random: Any
) -> None:
    events = interactions_of(steps, start, zone, rules.gap_minutes)
    expected = sorted(plain_sessions(events, rules, zone), key=identity)
    random.shuffle(events)
    found = whole(runs, rules, events, zone) if events else []
    assert sorted(found, key=identity) == expected
    assert len({s["session_id"] for s in found}) == len(found)


@given(st.data(), some_steps.filter(bool), some_rules, some_starts, some_zones)
@hypothesis_settings(max_examples=20, deadline=None)
def test_sessions_of_some_days_follow_from_those_days_and_the_few_around(
    runs: KernelRun, data: st.DataObject, steps: list[Step], rules: Sessions, start: datetime, zone: str
) -> None:
    events = interactions_of(steps, start, zone, rules.gap_minutes)
    expected = whole(runs, rules, events, zone)
    days = days_between(min(e["event_date"] for e in events), max(e["event_date"] for e in events))
    bounds = sorted(data.draw(st.sets(st.integers(0, len(days)), max_size=2)) | {0, len(days)})
    found = []
    for begin, end in pairwise(bounds):
        first, last = days[begin], days[end - 1]
        around = days_between(first - DAYS_BEFORE * ONE_DAY, last + DAYS_AFTER * ONE_DAY)
        chunk = sessionise(runs, rules, [e for e in events if e["event_date"] in around], first, last, zone)
        assert chunk == [s for s in expected if first <= s["session_date"] <= last]
        found += chunk
    assert found == expected


@given(some_steps.filter(bool), some_rules, st.lists(st.integers(0, 40), max_size=6))
@hypothesis_settings(max_examples=15, deadline=None)
def test_any_batches_give_the_same_sessions(steps: list[Step], rules: Sessions, places: list[int]) -> None:
    events = interactions_of(steps, WINTER, "UTC", rules.gap_minutes)
    first, last = min(e["event_date"] for e in events), max(e["event_date"] for e in events)
    order = ("event_time", "source_file", "source_row")
    events.sort(key=lambda e: (e["user_id"] or "v", e["source_session"] or "t", *(e[name] for name in order)))
    batches = (
        pa.RecordBatch.from_pylist(events[a:b], schema=INTERACTIONS.schema)
        for a, b in pairwise([0, *sorted(min(p, len(events)) for p in places), len(events)])
    )
    found = pa.concat_tables(fold_sessions(rules, first, last, batches)).select(SESSIONS.column_names).to_pylist()
    assert sorted(found, key=identity) == sorted(plain_sessions(events, rules, "UTC"), key=identity)


def test_the_order_of_the_input_changes_no_byte(runs: KernelRun) -> None:
    steps = [
        (who, pause, "ab"[n % 2], "view")
        for n in range(20)
        for who, pause in ((("u", None), "none"), ((None, "s"), "hour"))
    ]
    events = interactions_of(steps, WINTER, "UTC")
    days = days_between(min(e["event_date"] for e in events), max(e["event_date"] for e in events))
    kernel = sessions_kernel(HALF, "UTC", days[0], days[-1])
    written = [
        [path.read_bytes() for path in runs.paths(kernel, days, interactions=runs.relation("interactions", order))]
        for order in (events, events[::-1])
    ]
    assert written[0] == written[1]


def test_a_user_with_many_events_is_one_run_over_many_batches(runs: KernelRun) -> None:
    num_events = 300_000  # more than a batch
    path = runs.fresh() / "many.parquet"
    with connect(STORAGE, runs.folder / "scratch") as con:
        con.execute(f"""
            copy (
                select date '2026-01-01' as event_date, user_id, 'i' || range as item_id, 'view' as event_type,
                    timestamptz '2026-01-01 00:00:00+00' + to_milliseconds(range // 10) as event_time, 1.0 as weight,
                    null::varchar as source_session, 'f' as source_file, range as source_row
                from range({num_events}), unnest(['a', 'b', 'c']) as users(user_id) where user_id = 'b' or range < 2
            ) to {quote(path)} (format parquet)
        """)
    interactions = Relation("interactions", (str(path),))
    (written,) = runs.paths(sessions_kernel(HALF, "UTC", day(0), day(0)), [day(0)], interactions=interactions)
    found = pq.read_table(written)
    assert Counter(found["user_id"].to_pylist()) == {"a": 1, "b": 30, "c": 1}
    of_b = found.filter(pc.equal(found["user_id"], "b"))
    assert of_b["num_events"].to_pylist() == [10_000] * 30
    assert pc.list_flatten(of_b["item_ids"]).to_pylist() == [f"i{n}" for n in range(num_events)]


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
