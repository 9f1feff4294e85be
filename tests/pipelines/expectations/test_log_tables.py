from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import nan
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import INTERACTIONS, QUARANTINE
from pipelines.expectations import Expectation, suite
from pipelines.expectations.log_tables import interactions
from pipelines.settings import Settings

from .both_ways import batch_of, found, proven
from .conftest import VALID_TABLES, Judge, Rows, Tables

CHANGES = {
    "Europe/Berlin": [datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1)],
    "America/St_Johns": [datetime(2006, 10, 29, 2, 31), datetime(2006, 4, 2, 3, 31)],  # at 00:01: back to 23:01
    "America/Sao_Paulo": [datetime(2018, 2, 18, 2), datetime(2018, 11, 4, 3)],  # a day without midnight
    "Pacific/Apia": [datetime(2011, 12, 30, 10)],  # no 2011-12-30
    "Australia/Lord_Howe": [datetime(2026, 4, 4, 15)],  # by half an hour
    "Asia/Kathmandu": [datetime(1985, 12, 31, 18, 30)],  # from +05:30 to +05:45 at midnight
    "Africa/Monrovia": [datetime(1972, 1, 7, 0, 44, 30)],  # from -00:44:30
    "UTC": [datetime(2026, 1, 3)],
}
"""Times in UTC at which the clocks of a zone change."""
many = hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _expectation(settings: Settings, name: str) -> Expectation:
    return next(expectation for expectation in interactions(settings) if expectation.name == name)


def _day_fits(settings: Settings, zone: str) -> Expectation:
    nights = settings.nights.model_copy(update={"time_zone": zone})
    return _expectation(settings.model_copy(update={"nights": nights}), "event_date_is_the_day_of_event_time")


def _events(*days_and_times: tuple[date | None, datetime | None]) -> Rows:
    event = VALID_TABLES["interactions"][0]
    return [
        event | {"source_row": row, "event_date": day, "event_time": time}
        for row, (day, time) in enumerate(days_and_times, start=1)
    ]


def _add_rejected(rows: Rows, reason: str, num: int) -> None:
    rows.extend(rows[0] | {"reason": reason, "source_row": 1000 + n} for n in range(num))


BREAKS: list[tuple[str, str, Callable[[Rows], object]]] = [
    ("source_files", "nothing_is_lost", lambda rows: rows[0].update(num_rows=101)),
    ("source_files", "nothing_is_lost", lambda rows: rows[0].update(num_quarantined=12)),
    ("interactions", "event_type_is_known", lambda rows: rows[0].update(event_type="it")),
    ("interactions", "weight_is_at_least_zero", lambda rows: rows[0].update(weight=-0.1)),
    ("interactions", "weight_is_at_least_zero", lambda rows: rows[0].update(weight=nan)),
    ("interactions", "ids_are_not_empty", lambda rows: rows[0].update(item_id="")),
    ("interactions", "ids_are_not_empty", lambda rows: rows[0].update(user_id="")),
    ("interactions", "ids_are_not_empty", lambda rows: rows[0].update(source_session="")),
    ("interactions", "somebody_acts", lambda rows: rows[2].update(source_session=None)),
    ("interactions", "event_date_is_the_day_of_event_time", lambda rows: rows[0].update(event_date=date(2026, 1, 2))),
    ("interactions", "source_row_counts_from_one", lambda rows: rows[0].update(source_row=0)),
    ("interactions", "most_events_have_a_user", lambda rows: rows[0].update(user_id=None, source_session="s1")),
    ("quarantine", "reason_is_not_empty", lambda rows: rows[0].update(reason=" ")),
    ("quarantine", "no_reason_takes_too_many_rows", lambda rows: _add_rejected(rows, "bad_time", 3)),
    ("quarantine", "no_reason_takes_too_many_rows", lambda rows: _add_rejected(rows, "robot", 41)),
]


@pytest.mark.parametrize(("table", "name", "spoil"), BREAKS)
def test_one_break_is_told_by_one_expectation(
    table: str, name: str, spoil: Callable[[Rows], object], tables: Tables, judge: Judge
) -> None:
    spoil(tables[table])
    assert judge(table, tables) == {name}


@pytest.mark.parametrize(
    ("zone", "day", "first", "last"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00:00", "2026-03-29T21:59:59.999999"),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00:00", "2026-10-25T22:59:59.999999"),
        ("Asia/Kathmandu", date(1986, 1, 1), "1985-12-31T18:30:00", "1986-01-01T18:14:59.999999"),
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00", "2018-11-05T01:59:59.999999"),
    ],
)
def test_the_day_of_an_event_starts_and_ends_as_in_the_zone(
    zone: str, day: date, first: str, last: str, settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    expectation, moment = _day_fits(settings, zone), timedelta(microseconds=1)
    batch_of(con, "interactions", _events((day, start), (day, end)))
    assert (proven(con, expectation), found(con, expectation)) == (True, [])
    batch_of(con, "interactions", _events((day, start - moment), (day, start), (day, end), (day, end + moment)))
    assert proven(con, expectation) is False
    assert [(row, time) for _, row, _, time in found(con, expectation)] == [(1, start - moment), (4, end + moment)]


def test_a_day_that_is_left_and_comes_back_is_not_proved_by_its_ends(
    settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    day, expectation = date(2006, 10, 29), _day_fits(settings, "America/St_Johns")
    times = [datetime.fromisoformat(f"2006-10-29T{text}Z") for text in ("02:30:30", "03:00:00", "03:31:00")]
    batch_of(con, "interactions", _events(*((day, time) for time in times)))
    assert proven(con, expectation) is False
    assert [row for _, row, *_ in found(con, expectation)] == [2]


@st.composite
def _days_and_times(draw: st.DrawFn) -> tuple[str, list[tuple[date | None, datetime | None]]]:
    """Events around a change of the clocks of a zone, nearly all with the day of its calendar."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    around = st.timedeltas(timedelta(hours=-30), timedelta(hours=30))
    near = st.timedeltas(timedelta(minutes=-2), timedelta(minutes=2))
    rows: list[tuple[date | None, datetime | None]] = []
    for _ in range(draw(st.integers(0, 6))):
        time = (draw(st.sampled_from(CHANGES[zone])) + draw(around | near)).replace(tzinfo=UTC)
        days = draw(st.sampled_from([0] * 20 + [-1, 1]))
        day = time.astimezone(ZoneInfo(zone)).date() + timedelta(days=days)
        rows.append(draw(st.sampled_from([(day, time)] * 20 + [(None, time), (day, None)])))
    return zone, rows


@many
@given(events=_days_and_times())
def test_the_proof_of_days_says_nothing_that_the_rows_deny(
    settings: Settings, con: duckdb.DuckDBPyConnection, events: tuple[str, list[tuple[date | None, datetime | None]]]
) -> None:
    zone, rows = events
    expectation = _day_fits(settings, zone)
    batch_of(con, "interactions", _events(*rows))
    is_proven, wrong = proven(con, expectation), found(con, expectation)
    assert not (is_proven and wrong)
    if zone in ("UTC", "Europe/Berlin") and rows and all(day and time for day, time in rows):
        assert is_proven is (not wrong)  # the short way is taken where it can be


@pytest.mark.parametrize(
    ("event_date", "event_time", "num_found"),
    [
        ("'2026-01-03'", "'infinity'", 1),
        ("'2026-01-03'", "'-infinity'", 1),
        ("'infinity'", "'infinity'", 0),
        ("'2026-01-03'", "'294247-01-10 03:00:00Z'", 1),
        ("'294247-01-10'", "'294247-01-10 03:00:00Z'", 0),
        ("'0044-03-15 (BC)'", "'0044-03-15 (BC) 12:00:00Z'", 0),
        ("null", "'2026-01-03 12:00:00Z'", 0),
        ("'2026-01-03'", "null", 0),
    ],
)
def test_times_at_the_ends_of_their_type_prove_nothing(
    event_date: str, event_time: str, num_found: int, settings: Settings, con: duckdb.DuckDBPyConnection
) -> None:
    batch_of(con, "interactions", _events((None, None)))
    con.execute(f"update asked set event_date = {event_date}::date, event_time = {event_time}::timestamptz")
    expectation = _day_fits(settings, "Europe/Berlin")
    assert not proven(con, expectation)
    assert len(found(con, expectation)) == num_found


IDS: Any = st.sampled_from([None, "", " ", "!", "\t", "\u00a0", "é", "i1"])


@many
@given(rows=st.lists(st.fixed_dictionaries({"item_id": IDS, "user_id": IDS, "source_session": IDS}), max_size=4))
def test_the_proof_of_ids_says_what_the_rows_say(
    settings: Settings, con: duckdb.DuckDBPyConnection, rows: list[dict[str, str | None]]
) -> None:
    batch_of(con, "interactions", [VALID_TABLES["interactions"][0] | row for row in rows])
    expectation = _expectation(settings, "ids_are_not_empty")
    is_clean = not any("" in row.values() for row in rows)
    assert proven(con, expectation) is (not found(con, expectation)) is is_clean


def test_few_quarantined_rows_are_allowed_whatever_their_share(tables: Tables, judge: Judge) -> None:
    tables["source_files"][0].update(num_rows=13, num_interactions=0)
    assert judge("quarantine", tables) == {"no_reason_takes_too_many_rows"}
    del tables["quarantine"][3:10]
    assert judge("quarantine", tables) == set()


def test_too_many_rows_of_a_reason_are_told_with_the_first_of_them(settings: Settings) -> None:
    query = suite(QUARANTINE, settings)[-1].arguments["unexpected_rows_query"]
    with duckdb.connect() as con:
        con.execute("create view staged_source_files as select date '2026-01-03' as file_date, 40 as num_rows")
        con.execute("""
            create view batch as
            select date '2026-01-03' as file_date, 'late' as reason, 'b.csv' as source_file, 9 - n as source_row,
                repeat('é', 500) as raw_row
            from range(4) as r(n)
            union all
            select '2026-01-03', 'late', 'a.csv', 7, 'first'
        """)
        rows = con.execute(query.replace("{batch}", "batch")).fetchall()
    assert [tuple(map(str, row)) for row in rows] == [
        ("2026-01-03", "late", "5", "0.125", "0.05", "a.csv", "7", "first")
    ]


def test_each_night_of_a_range_is_judged_by_its_own_rows(tables: Tables, judge: Judge) -> None:
    another = {"file_date": date(2026, 1, 4), "source_file": "logs/2026-01-04.csv"}
    tables["source_files"].append(tables["source_files"][0] | another | {"num_rows": 10_000})
    _add_rejected(tables["quarantine"], "bad_time", 3)
    assert judge("quarantine", tables) == {"no_reason_takes_too_many_rows"}
    for row in tables["quarantine"]:
        row.update(another)
    assert judge("quarantine", tables) == set()


def test_rejected_rows_of_a_night_without_files_are_too_many(tables: Tables, judge: Judge) -> None:
    tables["source_files"].clear()
    assert judge("quarantine", tables) == {"no_reason_takes_too_many_rows"}


def test_without_a_user_column_anonymous_events_are_the_rule(settings: Settings, tables: Tables, judge: Judge) -> None:
    columns = settings.events.columns.model_copy(update={"user": ""})
    anonymous = settings.model_copy(update={"events": settings.events.model_copy(update={"columns": columns})})
    for row in tables["interactions"]:
        row.update(user_id=None, source_session="s1")
    assert judge("interactions", tables, anonymous) == set()
    assert "most_events_have_a_user" not in {e.name for e in suite(INTERACTIONS, anonymous)}
