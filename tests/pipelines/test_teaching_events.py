from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.night import days_between
from tests.pipelines.kernel_run import (
    HOSTILE,
    History,
    KernelRun,
    Row,
    local_day,
    sessions_of,
    teaching_settings,
    visit,
)
from tests.pipelines.random_interactions import AUTUMN, SPRING, WINTER, ZONES, Step, interactions_of, some_steps
from tests.pipelines.small_log import at, day, settings_of

MOMENT = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("teaching"))


def events(history: History, first: date, last: date) -> list[Row]:
    return sorted(history.runs.read(history.events(first, last)), key=lambda e: (e["session_id"], e["position"]))


def session_items(history: History, first: date, last: date) -> list[str]:
    return sorted(row["item_id"] for row in history.runs.read(history.session_items(first, last)))


def test_an_event_by_hand(runs: KernelRun) -> None:
    one = visit("u", ("a", at(1)), ("b", at(2)), session="s", name="one")
    two = visit(None, ("c", at(3)), session="s", name="two")
    assert events(History(runs, teaching_settings(), [one, two]), day(0), day(0)) == [
        {
            "session_id": "one", "user_id": "u", "subject_type": "user", "subject_id": "u", "item_id": "a",
            "event_time": at(1), "position": 0,
        },
        {
            "session_id": "one", "user_id": "u", "subject_type": "user", "subject_id": "u", "item_id": "b",
            "event_time": at(2), "position": 1,
        },
        {
            "session_id": "two", "user_id": None, "subject_type": "session", "subject_id": "s", "item_id": "c",
            "event_time": at(3), "position": 0,
        },
    ]  # fmt: skip


def test_only_events_of_positive_weight_from_the_first_to_the_last_moment_of_the_days_teach(runs: KernelRun) -> None:
    start, end = at(5), at(5, 1)  # midnights of New York
    times = [start - MOMENT, start, at(6), at(7), end - MOMENT, end]
    zone = "America/New_York"
    session = visit("u", *zip("abcde", times, ["view", "view", "look", "it's", "view"], strict=False), zone=zone)
    history = History(runs, teaching_settings(zone), [session, visit("u", ("f", end), zone=zone)])
    assert [(e["item_id"], e["event_time"], e["position"]) for e in events(history, day(0), day(0))] == [
        ("b", start, 1), ("d", at(7), 3), ("e", end - MOMENT, 4),
    ]  # fmt: skip
    assert [e["item_id"] for e in events(history, day(-1), day(-1))] == ["a"]
    assert [e["item_id"] for e in events(history, day(1), day(3))] == ["f"]
    assert [e["item_id"] for e in events(history, day(-1), day(1))] == ["a", "b", "d", "e", "f"]


def test_a_session_that_only_touches_the_days_is_read(runs: KernelRun) -> None:
    sessions = [visit("u", ("a", at(23)), ("b", at(24)), name="s"), visit("v", ("c", at(24, 1)), name="t")]
    history = History(runs, teaching_settings(), sessions)
    for number, found in enumerate(["a", "b", "c", ""]):
        assert [e["item_id"] for e in events(history, day(number), day(number))] == list(found)
        assert session_items(history, day(number), day(number)) == list(found)


def test_without_an_event_type_of_weight_nothing_teaches(runs: KernelRun) -> None:
    settings = settings_of(Path("/"), events={"event_types": [{"name": "view", "weight": 0}]})
    history = History(runs, settings, [visit("u", ("a", at(1)))])
    assert events(history, day(0), day(0)) == session_items(history, day(0), day(0)) == []


def test_hostile_ids_and_types_are_taken_as_they_are(runs: KernelRun) -> None:
    types = [{"name": text, "weight": n % 2} for n, text in enumerate(HOSTILE)]
    settings = settings_of(Path("/"), events={"columns": {"event_type": "kind"}, "event_types": types})
    seen = [(text, at(1) + timedelta(seconds=n), text) for n, text in enumerate(HOSTILE)]
    found = events(
        History(runs, settings, [visit(text, *seen, name=f"{n}") for n, text in enumerate(HOSTILE)]), day(0), day(0)
    )
    assert [(e["subject_id"], e["item_id"]) for e in found] == [
        (user, item) for user in HOSTILE for item in HOSTILE[1::2]
    ]


def test_an_item_counts_once_a_session_on_the_day_of_its_first_event_that_teaches(runs: KernelRun) -> None:
    over_midnight = visit(
        "u", ("a", at(22)), ("a", at(23)), ("b", at(23.5), "look"), ("b", at(24)), ("a", at(25)), ("c", at(26)),
        ("c", at(27)),
    )  # fmt: skip
    history = History(runs, teaching_settings(), [over_midnight, visit("u", ("a", at(50)), ("a", at(51)))])
    found = [session_items(history, day(n), day(n)) for n in range(3)]
    assert found == [["a"], ["b", "c"], ["a"]]
    assert session_items(history, day(0), day(2)) == ["a", "a", "b", "c"]
    assert session_items(history, day(1), day(2)) == ["a", "b", "c"]


some_starts, some_zones = st.sampled_from([WINTER, SPRING, AUTUMN]), st.sampled_from(ZONES)


@given(st.data(), some_steps, some_starts, some_zones, st.sampled_from([60, 1320]))
@hypothesis_settings(max_examples=14, deadline=None)
def test_any_days_have_the_events_of_their_days_and_add_up(
    runs: KernelRun, data: st.DataObject, steps: list[Step], start: datetime, zone: str, gap_minutes: float
) -> None:
    history = sessions_of(runs, interactions_of(steps, start, zone, gap_minutes), zone, gap_minutes)
    first = local_day(start, zone)
    days = days_between(first, max((local_day(s["ended_at"], zone) for s in history.sessions), default=first))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(days)), max_size=3)) | {0, len(days)})
    found: list[Row] = []
    items: Counter[str] = Counter()
    for begin, end in pairwise(cuts):
        chunk = events(history, days[begin], days[end - 1])
        assert {local_day(e["event_time"], zone) for e in chunk} <= set(days[begin:end])
        found += chunk
        items.update(session_items(history, days[begin], days[end - 1]))
    expected = history.teaching(days[-1])
    assert sorted(map(place, found)) == sorted(map(place, expected))
    assert items == Counter(item for item, _ in {(e["item_id"], e["session_id"]) for e in expected})


def place(e: Row) -> tuple[Any, ...]:
    return e["session_id"], e["position"], e["item_id"], e["event_time"]


def test_a_day_that_begins_twice_has_all_its_events(runs: KernelRun) -> None:
    zone = "Atlantic/Azores"  # at one o'clock of 25 October, clocks go back to midnight
    times = [datetime(2026, 10, 25, tzinfo=UTC) + timedelta(minutes=minutes) for minutes in (-1, 0, 30, 60, 90)]
    sessions = [visit(None, (item, time), session=item, zone=zone) for item, time in zip("abcde", times, strict=True)]
    history = History(runs, teaching_settings(zone), sessions)
    for on, expected in ((date(2026, 10, 24), "a"), (date(2026, 10, 25), "bcde")):
        assert "".join(sorted(e["item_id"] for e in events(history, on, on))) == expected
        assert "".join(session_items(history, on, on)) == expected
