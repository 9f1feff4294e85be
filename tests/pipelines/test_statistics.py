import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import SESSIONS, TIME
from pipelines.engine import connect
from pipelines.night import build_interactions, build_interval_uniformity, build_item_frequency, build_sessions
from pipelines.settings import Statistics, Storage
from pipelines.statistics import interval_uniformity_sql, item_frequency_sql, teaching_events_sql
from tests.pipelines.small_log import DAY, Row, at, day, event, put_log, run, settings_of

Event = tuple[str | None, str, str, datetime]  # user, session, item, time
SCHEMA = pa.schema(
    [("user_id", pa.string()), ("session_id", pa.string()), ("item_id", pa.string()), ("event_time", TIME)]
)
DATA_STAGES = (build_interactions, build_sessions)
STATISTICS = (build_item_frequency, build_interval_uniformity)


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(Storage(), tmp_path_factory.mktemp("scratch")) as con:
        yield con


def rows(con: duckdb.DuckDBPyConnection, select: str, events: Iterable[Event]) -> dict[str, Row]:
    """Answer by item or user."""
    con.register("events", pa.Table.from_pylist([dict(zip(SCHEMA.names, e, strict=True)) for e in events], SCHEMA))
    answer = con.sql(select).to_arrow_table().to_pylist()
    return {row.get("item_id") or row["user_id"]: row for row in answer}


def frequency(con: duckdb.DuckDBPyConnection, events: Iterable[Event], share: float = 0.3) -> dict[str, Row]:
    return rows(con, item_frequency_sql(Statistics(frequent_share=share), DAY), events)


def uniformity(
    con: duckdb.DuckDBPyConnection, events: Iterable[Event], zone: str = "UTC", **settings: Any
) -> dict[str, Row]:
    return rows(con, interval_uniformity_sql(Statistics(**settings), zone, DAY), events)


def visits(user: str, *seconds: float) -> list[Event]:
    return [(user, f"s{second}", "i", at(0) + timedelta(seconds=second)) for second in seconds]


def test_the_counts_of_an_item_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    events = [
        ("u", "s1", "a", at(1)), ("u", "s1", "a", at(2)), (None, "s2", "a", at(5)), ("v", "s3", "b", at(3)),
    ]  # fmt: skip
    found = frequency(con, events)
    assert found["a"] == {
        "as_of_date": DAY, "item_id": "a", "num_events": 3, "num_users": 1, "num_sessions": 2, "first_seen": at(1),
        "last_seen": at(5), "popularity_rank": 1, "share": 0.75, "is_frequent": True,
        "gap_variance_s2": 2 * 3600.0**2,  # gaps of 1 h and 3 h: mean 2 h, (1 + 1) / (2 - 1) h^2
    }  # fmt: skip
    assert (found["b"]["gap_variance_s2"], found["b"]["share"]) == (None, 0.25)


def test_an_item_with_two_events_at_one_time_has_a_gap_of_zero(con: duckdb.DuckDBPyConnection) -> None:
    events = [("u", "s", "a", at(1)), ("v", "t", "a", at(1)), ("v", "t", "a", at(1) + timedelta(seconds=4))]
    assert frequency(con, events[:2])["a"]["gap_variance_s2"] is None
    assert frequency(con, events)["a"]["gap_variance_s2"] == 8.0  # gaps of 0 s and 4 s


@pytest.mark.parametrize(("share", "num_frequent"), [(0.3, 3), (0.31, 4), (0.01, 1), (1, 10)])
def test_ties_of_popularity_go_by_item_and_the_share_is_rounded_up(
    con: duckdb.DuckDBPyConnection, share: float, num_frequent: int
) -> None:
    found = frequency(con, [("u", "s", f"i{n}", at(n)) for n in reversed(range(10))], share)
    assert {item: row["popularity_rank"] for item, row in found.items()} == {f"i{n}": n + 1 for n in range(10)}
    assert [item for item, row in found.items() if row["is_frequent"]] == [f"i{n}" for n in range(num_frequent)]


def test_the_gaps_of_a_user_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    found = uniformity(con, [*visits("u", 0, 1, 4), *visits("one", 5), *visits("two", 0, 9), (None, "s", "i", at(1))])
    logs = [math.log(2), math.log(4)]  # gaps of 1 s and 3 s
    dispersion = statistics.stdev(logs) / statistics.mean(logs)
    assert found["u"] == {
        "as_of_date": DAY, "user_id": "u", "num_gaps": 2, "mean_gap_s": 2.0, "gap_variance_s2": 2.0,
        "log_gap_dispersion": pytest.approx(dispersion, rel=1e-8), "uniformity_rank": 1, "is_uniform": True,
    }  # fmt: skip
    nothing = {"gap_variance_s2": None, "log_gap_dispersion": None, "uniformity_rank": None, "is_uniform": False}
    assert found["one"] == {"as_of_date": DAY, "user_id": "one", "num_gaps": 0, "mean_gap_s": None, **nothing}
    assert found["two"] == {"as_of_date": DAY, "user_id": "two", "num_gaps": 1, "mean_gap_s": 9.0, **nothing}
    assert set(found) == {"u", "one", "two"}


def test_events_of_one_second_are_one_point(con: duckdb.DuckDBPyConnection) -> None:
    found = uniformity(con, [*visits("u", 10, 10, 10.9, 11, 15.2), *visits("v", 3, 3.5)])
    assert (found["u"]["num_gaps"], found["u"]["mean_gap_s"]) == (2, 2.5)
    assert found["v"]["num_gaps"] == 0


def test_a_point_may_be_a_day_in_the_zone_of_the_nights(con: duckdb.DuckDBPyConnection) -> None:
    times = [at(22), at(23.5), at(1, 1), at(12, 3), at(12, 90)]  # the clocks of Berlin change on day 87
    events = [("u", "s", "i", time) for time in times]
    utc = uniformity(con, events, time_granularity="day")["u"]
    berlin = uniformity(con, events, "Europe/Berlin", time_granularity="day")["u"]
    assert (utc["num_gaps"], utc["mean_gap_s"]) == (3, 90 / 3 * 86_400)
    assert (berlin["num_gaps"], berlin["mean_gap_s"]) == (3, 90 / 3 * 86_400)
    events = [("u", "s", "i", time) for time in (at(23.5), at(1, 1), at(12, 2))]
    assert uniformity(con, events, time_granularity="day")["u"]["num_gaps"] == 2
    assert uniformity(con, events, "Europe/Berlin", time_granularity="day")["u"]["num_gaps"] == 1


def test_uniform_users_are_those_of_the_lowest_dispersion_and_ties_go_by_user(con: duckdb.DuckDBPyConnection) -> None:
    even = [visits(f"even{n}", *range(0, 500 * n, 100 * n)) for n in (3, 1, 2)]
    mirrored = [visits("x2", 0, 10, 30, 70), visits("x1", 0, 40, 60, 70)]  # the same gaps in another order
    wild = [visits("wild", 0, 1, 5000, 5001)]
    found = uniformity(con, [e for user in (*wild, *mirrored, *even) for e in user], uniform_share=0.5)
    assert [user for _, user in sorted((row["uniformity_rank"], user) for user, row in found.items())] == [
        "even1", "even2", "even3", "x1", "x2", "wild",
    ]  # fmt: skip
    assert [found[f"even{n}"]["log_gap_dispersion"] for n in (1, 2, 3)] == [0, 0, 0]
    assert {user for user, row in found.items() if row["is_uniform"]} == {"even1", "even2", "even3"}


def variance(gaps: list[float]) -> Any:
    return pytest.approx(statistics.variance(gaps), rel=1e-7, abs=1e-9) if len(gaps) > 1 else None


some_events = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u3", None]),
        st.sampled_from(["s1", "s2", "s3"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(0, 400 * 86_400_000_000) | st.sampled_from([0, 1, 60_000_000]),
    ).map(lambda e: (*e[:3], datetime(2025, 1, 1, tzinfo=UTC) + timedelta(microseconds=e[3]))),
    min_size=1,
    max_size=40,
)


@given(some_events, st.sampled_from([0.1, 0.3, 0.5, 0.75, 1]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_frequencies_are_those_of_plain_counting(
    con: duckdb.DuckDBPyConnection, events: list[Event], share: float
) -> None:
    by_item = defaultdict(list)
    for e in events:
        by_item[e[2]].append(e)
    found = frequency(con, events, share)
    ranked = sorted(by_item, key=lambda item: (-len(by_item[item]), item))
    assert set(found) == set(by_item)
    for rank, item in enumerate(ranked, 1):
        times = sorted(e[3] for e in by_item[item])
        gaps = [(b - a) / timedelta(seconds=1) for a, b in pairwise(times)]
        row = found[item]
        assert (row["num_events"], row["popularity_rank"]) == (len(times), rank)
        assert row["num_users"] == len({e[0] for e in by_item[item]} - {None})
        assert row["num_sessions"] == len({e[1] for e in by_item[item]})
        assert (row["first_seen"], row["last_seen"]) == (times[0], times[-1])
        assert row["share"] == len(times) / len(events)
        assert row["is_frequent"] == (rank <= math.ceil(Decimal(str(share)) * len(by_item)))
        assert row["gap_variance_s2"] == variance(gaps)


@given(some_events, st.sampled_from(["second", "day"]), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo"]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_dispersions_are_those_of_plain_arithmetic(
    con: duckdb.DuckDBPyConnection, events: list[Event], granularity: str, zone: str
) -> None:
    def point(time: datetime) -> float:
        local = time.astimezone(ZoneInfo(zone))
        return local.date().toordinal() * 86_400 if granularity == "day" else math.floor(time.timestamp())

    found = uniformity(con, events, zone, time_granularity=granularity)
    for user in {e[0] for e in events} - {None}:
        points = sorted({point(e[3]) for e in events if e[0] == user})
        gaps = [b - a for a, b in pairwise(points)]
        logs = [math.log(1 + gap) for gap in gaps]
        row = found.pop(str(user))
        assert row["num_gaps"] == len(gaps)
        assert row["mean_gap_s"] == (pytest.approx(statistics.mean(gaps)) if gaps else None)
        assert row["gap_variance_s2"] == variance(gaps)
        dispersion = statistics.stdev(logs) / statistics.mean(logs) if len(logs) > 1 else None
        assert row["log_gap_dispersion"] == (
            None if dispersion is None else pytest.approx(dispersion, rel=1e-5, abs=1e-7)
        )
    assert not found


@given(some_events, st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_order_of_the_events_changes_no_bit(
    con: duckdb.DuckDBPyConnection, events: list[Event], random: Any
) -> None:
    before = frequency(con, events), uniformity(con, events)
    random.shuffle(events)
    assert (frequency(con, events), uniformity(con, events)) == before


def test_only_events_of_positive_weight_up_to_the_end_of_the_night_teach(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    types = [{"name": "view", "weight": 0.5}, {"name": "cancel", "weight": 0}]
    settings = settings_of(
        tmp_path,
        events={"columns": {"event_type": "kind"}, "event_types": types},
        nights={"time_zone": "America/New_York"},
    )
    end = at(5, 1)  # midnight of New York
    times = [at(1), at(2), end - timedelta(microseconds=1), end]
    session = {
        "session_date": DAY, "session_id": "x", "user_id": "u", "source_session": None, "started_at": times[0],
        "ended_at": times[-1], "num_events": 4, "item_ids": list("abcd"), "event_times": times,
        "event_types": ["view", "cancel", "view", "view"],
    }  # fmt: skip
    con.register("sessions", pa.Table.from_pylist([session], schema=SESSIONS.schema))
    found = con.sql(teaching_events_sql(settings, DAY)).to_arrow_table().to_pylist()
    assert [(e["item_id"], e["event_time"], e["position"]) for e in found] == [("a", times[0], 0), ("c", times[2], 2)]


def test_no_event_after_the_night_changes_its_statistics(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "a", at(1)), event("u", "b", at(3)), event("v", "a", at(23.9))])
    store = run(settings, day(0), stages=(*DATA_STAGES, *STATISTICS))
    before = [store.parts(table)[0].sha256 for table in ("item_frequency", "interval_uniformity")]
    put_log(tmp_path, 1, [event("v", "a", at(0.1, 1)), event("w", "b", at(5, 1))])
    run(settings, day(1), stages=(*DATA_STAGES, *STATISTICS))
    run(settings, day(0), stages=STATISTICS)
    after = [store.parts(table)[0].sha256 for table in ("item_frequency", "interval_uniformity")]
    assert before == after
