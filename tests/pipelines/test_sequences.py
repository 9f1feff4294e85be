from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.night import days_between
from pipelines.sequences import training_sequences_kernel
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
from tests.pipelines.random_interactions import AUTUMN, WINTER, ZONES, Step, interactions_of, some_steps
from tests.pipelines.small_log import at, day, event, put_log, rows_of, run, settings_of

NUMBERS = {"a": 2, "b": 3, "c": 4, "d": 5}
Key = tuple[date, str, str]  # day, subject type, subject


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("sequences"))


def gather(history: History, days: Sequence[date], numbers: dict[str, int] | None = None) -> list[Row]:
    """The sequences of some days that follow each other, in stored order."""
    tokens = [
        {"first_night": day(0), "field": field, "token": token, "number": number, "count": 1}
        for field, names in (("item", NUMBERS if numbers is None else numbers), ("brand", {"a": 9, "z": 8}))
        for token, number in names.items()
    ]
    return history.runs.run(
        training_sequences_kernel(history.settings.nights.time_zone),
        days,
        events=history.events(days[0], days[-1]),
        metadata_vocabulary=history.runs.relation("metadata_vocabulary", tokens),
    )


def sequences(runs: KernelRun, sessions: Sequence[Row], last: int = 0, zone: str = "UTC") -> dict[Key, list[int]]:
    """Item numbers by day and subject, of the days 0 to ``last``."""
    rows = gather(History(runs, teaching_settings(zone), sessions), days_between(day(0), day(last)))
    found = {(row["event_date"], row["subject_type"], row["subject_id"]): row["item_numbers"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_row_of_sequences_by_hand(runs: KernelRun) -> None:
    history = History(runs, teaching_settings(), [visit("u", ("b", at(1)), ("a", at(2))), visit("u", ("b", at(9)))])
    assert gather(history, [day(0)]) == [
        {
            "event_date": day(0), "subject_type": "user", "subject_id": "u", "item_numbers": [3, 2, 3],
            "event_times": [at(1), at(2), at(9)],
        }
    ]  # fmt: skip


def test_every_day_has_the_events_of_its_day(runs: KernelRun) -> None:
    sessions = [
        visit("u", ("a", at(1)), ("b", at(2))),
        visit("u", ("c", at(23, 1)), ("d", at(24, 1)), ("a", at(25, 1))),
    ]
    assert sequences(runs, sessions, 3) == {
        (day(0), "user", "u"): [2, 3], (day(1), "user", "u"): [4], (day(2), "user", "u"): [5, 2],
    }  # fmt: skip
    assert sequences(runs, sessions) == {(day(0), "user", "u"): [2, 3]}
    assert sequences(runs, []) == {}


def test_a_subject_is_a_user_or_an_anonymous_session(runs: KernelRun) -> None:
    sessions = [
        visit("x", ("a", at(1)), session="s1"), visit("x", ("b", at(2)), session="s2"), visit("x", ("c", at(3))),
        visit(None, ("c", at(1)), ("d", at(2)), session="x"), visit(None, ("a", at(5)), session="x"),
    ]  # fmt: skip
    assert sequences(runs, sessions) == {(day(0), "user", "x"): [2, 3, 4], (day(0), "session", "x"): [4, 5, 2]}


def test_days_are_those_of_the_zone_of_the_nights(runs: KernelRun) -> None:
    events = [("a", at(22)), ("b", at(23.5)), ("c", at(1, 1))]
    assert sequences(runs, [visit("u", *events)], 1) == {(day(0), "user", "u"): [2, 3], (day(1), "user", "u"): [4]}
    in_berlin = [visit("u", *events, zone="Europe/Berlin")]
    assert sequences(runs, in_berlin, 1, "Europe/Berlin") == {
        (day(0), "user", "u"): [2], (day(1), "user", "u"): [3, 4],
    }  # fmt: skip


def test_events_of_equal_time_go_by_visit_and_place(runs: KernelRun) -> None:
    first = visit("u", ("a", at(1)), ("d", at(1)), ("b", at(1)), name="v1", session="z")
    second = visit("u", ("c", at(1)), ("a", at(1)), name="v2", session="y")
    for sessions in ([first, second], [second, first]):
        assert sequences(runs, sessions) == {(day(0), "user", "u"): [2, 5, 3, 4, 2]}
    # The places go by number, not by text.
    many = visit("v", *((item, at(1)) for item in "abcdabcdabcd"))
    assert sequences(runs, [many]) == {(day(0), "user", "v"): [2, 3, 4, 5] * 3}


def test_an_item_without_a_number_is_left_out(runs: KernelRun) -> None:
    sessions = [visit("u", ("z", at(1)), ("a", at(2)), ("z", at(3)), ("b", at(4))), visit("v", ("z", at(2)))]
    assert sequences(runs, sessions) == {(day(0), "user", "u"): [2, 3]}
    assert gather(History(runs, teaching_settings(), sessions), [day(0)], {}) == []


def test_only_events_that_teach_are_in_it(runs: KernelRun) -> None:
    sessions = [visit("u", ("a", at(1), "look"), ("b", at(2), "it's"), ("c", at(3))), visit("v", ("a", at(1), "look"))]
    assert sequences(runs, sessions) == {(day(0), "user", "u"): [3, 4]}


def test_hostile_ids_are_ids(runs: KernelRun) -> None:
    history = History(
        runs, teaching_settings(), [visit(text, *((item, at(1)) for item in HOSTILE)) for text in HOSTILE]
    )
    found = gather(history, [day(0)], {text: n for n, text in enumerate(HOSTILE, 2)})
    assert [row["subject_id"] for row in found] == sorted(HOSTILE)
    assert {tuple(row["item_numbers"]) for row in found} == {tuple(range(2, 2 + len(HOSTILE)))}


def test_a_subject_with_a_hundred_thousand_events_has_one_row(runs: KernelRun) -> None:
    visits = [
        visit("u", *(("abcd"[n % 4], at(0) + timedelta(milliseconds=n)) for n in range(start, start + 10_000)))
        for start in range(0, 100_000, 10_000)
    ]
    assert sequences(runs, visits) == {(day(0), "user", "u"): [2, 3, 4, 5] * 25_000}


def test_a_night_writes_the_days_that_have_no_sequences_or_whose_sessions_changed(tmp_path: Path) -> None:
    types = [{"name": "cancel", "weight": 0, "when_column": "kind", "when_matches": "C"}, {"name": "buy"}]
    for number, kind in enumerate(["buy", "buy", "C", "buy"]):
        rows = [event("u", f"i{number}", at(1, number)) | {"kind": kind}]
        put_log(tmp_path, number, [*rows, event("v", "gone", at(2, number)) | {"kind": "C"}])
    settings = settings_of(tmp_path, events={"event_types": types})
    columns = ("event_date", "subject_id", "item_numbers")
    run(settings, day(0), day(1))
    store = run(settings, day(2), day(3))
    numbers = dict(rows_of(store, "metadata_vocabulary", "token", "number"))
    expected = [(day(n), "u", [numbers[f"i{n}"]]) for n in (0, 1, 3)]
    assert rows_of(store, "training_sequences", *columns) == expected
    assert store.partitions("training_sequences") == days_between(day(0), day(3))
    late = [event("u", "i3", at(5, 3)), event("w", "i4", at(1, 4))]
    put_log(tmp_path, 4, [row | {"kind": "buy"} for row in late])
    before = {part.partition: part.version for part in store.parts("training_sequences")}
    run(settings, day(4))
    after = {part.partition: part.version for part in store.parts("training_sequences")}
    assert [day for day in after if after[day] != before.get(day)] == [str(day(3)), str(day(4))]
    assert rows_of(store, "training_sequences", *columns)[2] == (day(3), "u", [numbers["i3"]] * 2)


@given(st.data(), some_steps.filter(bool), st.sampled_from([WINTER, AUTUMN]), st.sampled_from(ZONES))
@hypothesis_settings(max_examples=15, deadline=None)
def test_any_history_is_gathered_as_one_would_by_hand(
    runs: KernelRun, data: st.DataObject, steps: list[Step], start: datetime, zone: str
) -> None:
    events = interactions_of(steps, start, zone)
    history = sessions_of(runs, events, zone)
    days = days_between(min(e["event_date"] for e in events), max(e["event_date"] for e in events))
    numbers = {"a": 2, "b": 3, "d": 7}
    expected: dict[Key, list[Any]] = defaultdict(list)
    in_order = sorted(history.teaching(days[-1]), key=lambda e: (e["event_time"], e["session_id"], e["position"]))
    for e in in_order:
        subject = ("user", e["user_id"]) if e["user_id"] else ("session", e["source_session"])
        if e["item_id"] in numbers:
            expected[local_day(e["event_time"], zone), *subject].append((numbers[e["item_id"]], e["event_time"]))
    cut = data.draw(st.integers(1, len(days)))
    found = [row for chunk in (days[:cut], days[cut:]) if chunk for row in gather(history, chunk, numbers)]
    assert [
        (
            (r["event_date"], r["subject_type"], r["subject_id"]),
            list(zip(r["item_numbers"], r["event_times"], strict=True)),
        )
        for r in found
    ] == sorted(expected.items())
