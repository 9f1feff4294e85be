import math
import statistics
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.log_stages import build_interactions, build_sessions
from pipelines.night import days_between
from pipelines.settings import Statistics
from pipelines.statistics_stages import build_interval_uniformity, build_item_frequency
from tests.pipelines.kernel_run import (
    HOSTILE,
    History,
    KernelRun,
    Row,
    by_key,
    local_day,
    sessions_of,
    statistics_of,
    teaching_settings,
    visit,
)
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
from tests.pipelines.small_log import DAY, at, day, event, put_log, run, settings_of

SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("statistics"))


def measure(
    runs: KernelRun, sessions: Sequence[Row], last: int = 0, zone: str = "UTC", **settings: Any
) -> dict[str, dict[str, Row]]:
    """Item frequency by item and interval uniformity by user as of a day, from everything since day 0."""
    history = History(runs, teaching_settings(zone), sessions)
    tables = statistics_of(history, Statistics(**settings), [(day(0), day(last))])
    return {
        "item": {row["item_id"]: row for row in tables["item_frequency"]},
        "user": {row["user_id"]: row for row in tables["interval_uniformity"]},
    }


def points(user: str, *seconds: float) -> list[Row]:
    """Sessions of one event each, these many seconds after the midnight of day 0."""
    return [visit(user, ("i", at(0) + timedelta(seconds=second))) for second in seconds]


def test_the_counts_of_an_item_by_hand(runs: KernelRun) -> None:
    sessions = [
        visit("u", ("a", at(1)), ("a", at(2))), visit(None, ("a", at(5)), session="s"), visit("v", ("b", at(3)))
    ]  # fmt: skip
    found = measure(runs, sessions)["item"]
    assert found["a"] == {
        "as_of_date": DAY, "item_id": "a", "num_events": 3, "num_users": 1, "num_sessions": 2, "first_seen": at(1),
        "last_seen": at(5), "popularity_rank": 1, "share": 0.75, "is_frequent": True,
        "gap_variance_s2": 2 * 3600.0**2,  # gaps of 1 h and 3 h: mean 2 h, (1 + 1) / (2 - 1) h^2
        "gap_square_sum_us2": Decimal(10 * 3_600_000_000**2),
    }  # fmt: skip
    assert (found["b"]["gap_variance_s2"], found["b"]["share"], found["b"]["is_frequent"]) == (None, 0.25, False)


def test_an_item_with_two_events_at_one_time_has_a_gap_of_zero(runs: KernelRun) -> None:
    sessions = [visit("u", ("a", at(1))), visit("v", ("a", at(1)), ("a", at(1) + 4 * SECOND))]
    assert measure(runs, sessions[:1])["item"]["a"]["gap_variance_s2"] is None
    assert measure(runs, sessions)["item"]["a"]["gap_variance_s2"] == 8.0  # gaps of 0 s and 4 s


@pytest.mark.parametrize(("share", "num_frequent"), [(0.3, 3), (0.31, 4), (0.01, 1), (1, 10)])
def test_ties_of_popularity_go_by_item_and_the_share_is_rounded_up(
    runs: KernelRun, share: float, num_frequent: int
) -> None:
    sessions = [visit("u", (f"i{n}", at(n))) for n in reversed(range(10))]
    found = measure(runs, sessions, frequent_share=share)["item"]
    assert {item: row["popularity_rank"] for item, row in found.items()} == {f"i{n}": n + 1 for n in range(10)}
    assert [item for item, row in found.items() if row["is_frequent"]] == [f"i{n}" for n in range(num_frequent)]


def test_the_frequent_may_be_those_of_the_least_variance(runs: KernelRun) -> None:
    times = {"often": [0, 1, 9, 10, 20], "even": [1, 2, 3], "even too": [4, 8, 12], "two": [5, 6], "one": [7]}
    sessions = [visit("u", (item, at(hour))) for item, hours in times.items() for hour in hours]
    by_count = measure(runs, sessions, frequent_share=0.4)["item"]
    by_variance = measure(runs, sessions, frequent_share=0.4, frequent_by="gap_variance")["item"]
    assert {item for item, row in by_count.items() if row["is_frequent"]} == {"often", "even"}
    assert {item for item, row in by_variance.items() if row["is_frequent"]} == {"even", "even too"}
    three = measure(runs, sessions, frequent_share=0.8, frequent_by="gap_variance")["item"]
    assert {item for item, row in three.items() if row["is_frequent"]} == {"even", "even too", "often", "one"}
    assert [by_variance[item]["popularity_rank"] for item in times] == [1, 2, 3, 4, 5]


def test_the_gaps_of_a_user_by_hand(runs: KernelRun) -> None:
    anonymous = visit(None, ("i", at(1)), session="s")
    found = measure(runs, [*points("u", 0, 1, 4), *points("one", 5), *points("two", 0, 9), anonymous])["user"]
    logs = [math.log(2), math.log(4)]  # gaps of 1 s and 3 s
    units = [round(1e9 * value) for value in logs]
    assert found["u"] == {
        "as_of_date": DAY, "user_id": "u", "num_gaps": 2, "mean_gap_s": 2.0, "gap_variance_s2": 2.0,
        "log_gap_dispersion": pytest.approx(statistics.stdev(logs) / statistics.mean(logs), rel=1e-8),
        "uniformity_rank": 1, "is_uniform": True, "first_point": at(0), "last_point": at(0) + 4 * SECOND,
        "gap_square_sum_s2": Decimal(10), "log_gap_sum": Decimal(sum(units)),
        "log_gap_square_sum": Decimal(sum(unit**2 for unit in units)),
    }  # fmt: skip
    unknown = {"gap_variance_s2": None, "log_gap_dispersion": None, "uniformity_rank": None, "is_uniform": False}
    for user, num_gaps, mean in (("one", 0, None), ("two", 1, 9.0)):
        assert {"num_gaps": num_gaps, "mean_gap_s": mean, **unknown}.items() <= found[user].items()
    assert list(found) == ["one", "two", "u"]


def test_events_of_one_second_are_one_point(runs: KernelRun) -> None:
    found = measure(runs, [*points("u", 10, 10, 10.9, 11, 15.2), *points("v", 3, 3.5)])["user"]
    assert (found["u"]["num_gaps"], found["u"]["mean_gap_s"]) == (2, 2.5)
    assert found["v"]["num_gaps"] == 0


def test_a_point_may_be_a_day_in_the_zone_of_the_nights(runs: KernelRun) -> None:
    times = [at(22), at(23.5), at(1, 1), at(12, 3), at(12, 90)]  # the clocks of Berlin change on day 87
    for zone, num_gaps in (("UTC", [3, 2]), ("Europe/Berlin", [3, 1])):
        long = [visit("u", ("i", time), zone=zone) for time in times]
        short = [visit("v", ("i", time), zone=zone) for time in (at(23.5), at(1, 1), at(12, 2))]
        found = measure(runs, [*long, *short], 90, zone, time_granularity="day")["user"]
        assert [found[user]["num_gaps"] for user in "uv"] == num_gaps
        assert found["u"]["mean_gap_s"] == 90 / 3 * 86_400


def test_uniform_users_are_those_of_the_lowest_dispersion_and_ties_go_by_user(runs: KernelRun) -> None:
    even = [points(f"even{n}", *range(0, 500 * n, 100 * n)) for n in (3, 1, 2)]
    mirrored = [points("x2", 0, 10, 30, 70), points("x1", 0, 40, 60, 70)]  # the same gaps in another order
    sessions = [s for user in (points("wild", 0, 1, 5000, 5001), *mirrored, *even) for s in user]
    found = measure(runs, sessions, uniform_share=0.5)["user"]
    assert sorted(found, key=lambda user: found[user]["uniformity_rank"]) == [
        "even1", "even2", "even3", "x1", "x2", "wild",
    ]  # fmt: skip
    assert [found[f"even{n}"]["log_gap_dispersion"] for n in (1, 2, 3)] == [0, 0, 0]
    assert {user for user, row in found.items() if row["is_uniform"]} == {"even1", "even2", "even3"}


def test_the_uniform_may_be_those_of_the_least_raw_variance(runs: KernelRun) -> None:
    # Near 0 a gap of 1 s beside one of 3 s is uneven by its log and even by its seconds.
    sessions = [*points("near", 0, 1, 4), *points("far", 0, 1000, 2100), *points("few", 0, 1)]
    for by, expected in (("log_gap_dispersion", ["far", "near"]), ("gap_variance", ["near", "far"])):
        found = measure(runs, sessions, uniform_by=by, uniform_share=0.5)["user"]
        assert sorted(found, key=lambda user: found[user]["uniformity_rank"] or 9)[:2] == expected
        assert {user for user, row in found.items() if row["is_uniform"]} == {expected[0]}
        assert found["few"]["uniformity_rank"] is None


def test_who_met_which_item_is_noted_once_on_the_day_of_the_first_time(runs: KernelRun) -> None:
    sessions = [
        visit("u", ("a", at(1)), ("b", at(2), "look")), visit("v", ("a", at(23)), ("b", at(25))),
        visit("u", ("b", at(26)), ("a", at(27))), visit("v", ("a", at(49)), ("b", at(50))),
        visit(None, ("a", at(1)), session="s"),
    ]  # fmt: skip
    history = History(runs, teaching_settings(), sessions)
    nightly = [(day(n), day(n)) for n in range(3)]
    for chunks in (nightly, [(day(0), day(2))], [(day(0), day(0)), (day(1), day(2))]):
        rows = statistics_of(history, Statistics(), chunks)["item_users"]
        found = [(row["first_date"], row["item_id"], row["user_id"]) for row in rows]
        assert found == [(day(0), "a", "u"), (day(0), "a", "v"), (day(1), "b", "u"), (day(1), "b", "v")]


def test_hostile_ids_are_counted_as_they_are(runs: KernelRun) -> None:
    sessions = [visit(text, (text, at(n / 10)), (text, at(n / 10, 1))) for n, text in enumerate(HOSTILE)]
    history = History(runs, teaching_settings(), sessions)
    tables = statistics_of(history, Statistics(), [(day(0), day(0)), (day(1), day(1))])
    assert [(r["item_id"], r["user_id"]) for r in tables["item_users"]] == [(text, text) for text in sorted(HOSTILE)]
    for table, key in (("item_frequency", "item_id"), ("interval_uniformity", "user_id")):
        assert [row[key] for row in tables[table]] == sorted(HOSTILE)


def variance(values: Sequence[int | Fraction]) -> float | None:
    """The sample variance, without an error of rounding."""
    n = len(values)
    mean = Fraction(sum(values), n) if n else Fraction()
    return float(sum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None


def near(value: float | None, rel: float = 1e-12, absolute: float = 1e-15) -> Any:
    return None if value is None else pytest.approx(value, rel=rel, abs=absolute)


def assert_frequency(rows: Sequence[Row], history: History, settings: Statistics, last: date) -> None:
    events = by_key(history.teaching(last), "item_id")
    assert [row["item_id"] for row in rows] == sorted(events)
    by_count = sorted(events, key=lambda item: (-len(events[item]), item))
    by_variance = sorted(
        rows, key=lambda row: (row["gap_variance_s2"] is None, row["gap_variance_s2"] or 0, row["item_id"])
    )
    order = by_count if settings.frequent_by == "num_events" else [row["item_id"] for row in by_variance]
    num_frequent = math.ceil(Decimal(str(settings.frequent_share)) * len(events))
    for row in rows:
        of_item = events[row["item_id"]]
        times = sorted(e["event_time"] for e in of_item)
        gaps_us = [(b - a) // MICROSECOND for a, b in pairwise(times)]
        assert row == {
            "as_of_date": last, "item_id": row["item_id"], "num_events": len(of_item),
            "num_users": len({e["user_id"] for e in of_item} - {None}),
            "num_sessions": len({e["session_id"] for e in of_item}),
            "first_seen": times[0], "last_seen": times[-1], "popularity_rank": by_count.index(row["item_id"]) + 1,
            "share": len(of_item) / sum(map(len, events.values())),
            "is_frequent": row["item_id"] in order[:num_frequent],
            "gap_variance_s2": near(variance([Fraction(gap, 10**6) for gap in gaps_us])),
            "gap_square_sum_us2": Decimal(sum(gap**2 for gap in gaps_us)),
        }  # fmt: skip


def assert_uniformity(rows: Sequence[Row], history: History, settings: Statistics, last: date) -> None:
    zone = history.settings.nights.time_zone

    def point(time: datetime) -> datetime:
        if settings.time_granularity == "day":
            return datetime.combine(local_day(time, zone), datetime.min.time(), ZoneInfo("UTC"))
        return time.replace(microsecond=0)

    events = by_key([e for e in history.teaching(last) if e["user_id"]], "user_id")
    assert [row["user_id"] for row in rows] == sorted(events)
    by = "log_gap_dispersion" if settings.uniform_by == "log_gap_dispersion" else "gap_variance_s2"
    ranked = sorted((row[by], row["user_id"]) for row in rows if row[by] is not None)
    order = [user for _, user in ranked]
    num_uniform = math.ceil(Decimal(str(settings.uniform_share)) * len(order))
    for row in rows:
        user = row["user_id"]
        times = sorted({point(e["event_time"]) for e in events[user]})
        gaps = [(b - a) // SECOND for a, b in pairwise(times)]
        logs = np.log1p(gaps)
        units = [round(value * 1e9) for value in logs.tolist()]
        dispersion = float(np.std(logs, ddof=1) / np.mean(logs)) if len(gaps) > 1 else None
        assert row == {
            "as_of_date": last, "user_id": user, "num_gaps": len(gaps),
            "mean_gap_s": near(float(np.mean(gaps)) if gaps else None), "gap_variance_s2": near(variance(gaps)),
            "log_gap_dispersion": near(dispersion, 1e-5, 1e-8),
            "uniformity_rank": order.index(user) + 1 if user in order else None,
            "is_uniform": user in order[:num_uniform],
            "first_point": times[0], "last_point": times[-1], "gap_square_sum_s2": sum(gap**2 for gap in gaps),
            "log_gap_sum": sum(units), "log_gap_square_sum": sum(unit**2 for unit in units),
        }  # fmt: skip


some_settings = st.builds(
    Statistics,
    frequent_by=st.sampled_from(["num_events", "gap_variance"]),
    frequent_share=st.sampled_from([0.1, 0.3, 0.5, 1]),
    uniform_by=st.sampled_from(["log_gap_dispersion", "gap_variance"]),
    uniform_share=st.sampled_from([0.1, 0.4, 0.5, 1]),
    time_granularity=st.sampled_from(["second", "day"]),
)
some_starts, some_zones = st.sampled_from([WINTER, SPRING, AUTUMN]), st.sampled_from(ZONES)


@given(st.data(), some_steps.filter(bool), some_settings, some_starts, some_zones)
@hypothesis_settings(max_examples=14, deadline=None)
def test_nights_that_go_on_from_a_former_one_equal_all_at_once_and_plain_counting(
    runs: KernelRun, data: st.DataObject, steps: list[Step], settings: Statistics, start: datetime, zone: str
) -> None:
    events = interactions_of(steps, start, zone)
    history = sessions_of(runs, events, zone)
    days = days_between(min(e["event_date"] for e in events), max(e["event_date"] for e in events))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(days)), max_size=2)) | {0, len(days)})
    chunks = [(days[begin], days[end - 1]) for begin, end in pairwise(cuts)]
    at_once = statistics_of(history, settings, [(days[0], days[-1])])
    assert statistics_of(history, settings, chunks) == at_once
    assert_frequency(at_once["item_frequency"], history, settings, days[-1])
    assert_uniformity(at_once["interval_uniformity"], history, settings, days[-1])
    met: dict[tuple[str, str], date] = {}
    for e in sorted(history.teaching(days[-1]), key=lambda e: e["event_time"]):
        if e["user_id"]:
            met.setdefault((e["item_id"], e["user_id"]), local_day(e["event_time"], zone))
    assert [(r["first_date"], r["item_id"], r["user_id"]) for r in at_once["item_users"]] == sorted(
        (first, *pair) for pair, first in met.items()
    )


@given(st.data(), some_steps.filter(bool), some_settings, some_zones)
@hypothesis_settings(max_examples=5, deadline=None)
def test_what_happens_after_the_night_changes_no_bit(
    runs: KernelRun, data: st.DataObject, steps: list[Step], settings: Statistics, zone: str
) -> None:
    events = interactions_of(steps, WINTER, zone)
    first = min(e["event_date"] for e in events)
    last = data.draw(st.sampled_from(sorted({e["event_date"] for e in events})))
    # Later events are gone, are on another item, or of another type; more of them come at once after the night.
    other = [e | data.draw(st.sampled_from([{"item_id": "z"}, {"event_type": "look"}])) for e in events]
    changed = [o if e["event_date"] > last else e for e, o in zip(events, other, strict=True)]
    kept = [e for e in events if e["event_date"] <= last]
    more = [
        act(
            e["user_id"],
            e["event_time"] + timedelta(minutes=30),
            e["source_session"],
            "b",
            row=row,
            file="z",
            zone=zone,
        )
        for row, e in enumerate(kept)
    ]
    more = [e for e in more if e["event_date"] > last]
    found = [
        statistics_of(sessions_of(runs, some, zone), settings, [(first, last)])
        for some in (kept, events, changed + more)
    ]
    assert found[0] == found[1] == found[2]


def test_an_item_in_half_of_all_events_and_a_user_with_a_hundred_thousand(runs: KernelRun) -> None:
    num_visits, num_events = 20, 10_000
    rng = np.random.default_rng(7)
    seconds = np.sort(rng.integers(0, 80_000, (num_visits // 2, num_events)), axis=1)
    heavy = [
        visit("heavy", *((f"i{n % 100}", at(0, number) + s * SECOND) for n, s in enumerate(of_day)))
        for number, of_day in enumerate(seconds.tolist())
    ]
    others = [
        visit(f"u{number}", *(("hit", at(0, number % 10) + s * SECOND) for s in of_day))
        for number, of_day in enumerate(seconds.tolist())
    ]
    history = History(runs, teaching_settings(), [*heavy, *others])
    tables = statistics_of(history, Statistics(), [(day(0), day(6)), (day(7), day(9))])
    times = (np.arange(10)[:, None] * 86_400 + seconds).ravel()
    assert tables["item_frequency"][0] == {
        "as_of_date": day(9), "item_id": "hit", "num_events": 100_000, "num_users": 10, "num_sessions": 10,
        "first_seen": at(0) + int(times[0]) * SECOND, "last_seen": at(0) + int(times[-1]) * SECOND,
        "popularity_rank": 1, "share": 0.5, "is_frequent": True,
        "gap_variance_s2": near(float(np.var(np.diff(times), ddof=1)), 1e-9),
        "gap_square_sum_us2": Decimal(int((np.diff(times) ** 2).sum()) * 10**12),
    }  # fmt: skip
    assert len(tables["item_frequency"]) == 101
    assert len(tables["item_users"]) == 110
    of_heavy = tables["interval_uniformity"][0]
    gaps = np.diff(np.unique(times))
    assert (of_heavy["user_id"], of_heavy["num_gaps"]) == ("heavy", len(gaps))
    assert of_heavy["gap_square_sum_s2"] == int((gaps**2).sum())
    assert of_heavy["log_gap_sum"] == int(np.round(np.log1p(gaps) * 1e9).sum())
    dispersion = float(np.std(np.log1p(gaps), ddof=1) / np.mean(np.log1p(gaps)))
    assert of_heavy["log_gap_dispersion"] == near(dispersion, 1e-8)


def test_a_night_that_runs_again_after_later_nights_gives_the_same_statistics(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    data_stages, statistics_stages = (
        (build_interactions, build_sessions),
        (build_item_frequency, build_interval_uniformity),
    )
    put_log(tmp_path, 0, [event("u", "a", at(1)), event("u", "b", at(3)), event("v", "a", at(23.9))])
    store = run(settings, day(0), stages=(*data_stages, *statistics_stages))
    before = [store.parts(table)[0].sha256 for table in ("item_frequency", "item_users", "interval_uniformity")]
    put_log(tmp_path, 1, [event("v", "a", at(0.1, 1)), event("w", "b", at(5, 1))])
    run(settings, day(1), stages=(*data_stages, *statistics_stages))
    run(settings, day(0), stages=statistics_stages)
    after = [store.parts(table)[0].sha256 for table in ("item_frequency", "item_users", "interval_uniformity")]
    assert before == after
