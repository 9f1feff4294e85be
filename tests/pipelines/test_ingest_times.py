"""Times of raw rows: their formats and zones, the days they fall on, late events and events in the future."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.log_stages import build_interactions
from pipelines.store import Store
from tests.pipelines.small_log import day, event, put_log, rows_of, run, settings_of

BERLIN = "Europe/Berlin"
MAX_US = 2**63 - 2


def ingest(folder: Path, texts: list[str], zone: str = "UTC", nights_zone: str = "UTC", **events: object) -> Store:
    put_log(folder, 0, [event("u", "i", text) for text in texts])
    events = {"time_zone": zone, "lateness_days": 9999, **events}
    return run(
        settings_of(folder, events=events, nights={"time_zone": nights_zone}), day(0), stages=[build_interactions]
    )


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


TIMES = {
    "iso": {
        "2025-07-01 12:00:00": "2025-07-01 10:00:00",
        "2025-07-01T12:00": "2025-07-01 10:00:00",
        "2025-07-01T12:00:00.123456789": "2025-07-01 10:00:00.123456",
        "2025-07-01T12:00:00Z": "2025-07-01 12:00:00",
        "2025-07-01T12:00:00+05:30": "2025-07-01 06:30:00",
        "2025-07-01 12:00:00 America/New_York": "2025-07-01 16:00:00",
        "2025-07-01": "2025-06-30 22:00:00",
        # The hour that does not exist is read by the offset before it; of the hour that comes twice it is the second.
        "2025-03-30 02:30:00": "2025-03-30 01:30:00",
        "2025-10-26 02:30:00": "2025-10-26 01:30:00",
        "2025-10-26 02:30:00+02": "2025-10-26 00:30:00",
        "2025-10-26 02:30:00+01": "2025-10-26 01:30:00",
    },
    "epoch_s": {
        "1700000000": "2023-11-14 22:13:20",
        "1700000000.25": "2023-11-14 22:13:20.250000",
        "1.7e9": "2023-11-14 22:13:20",
    },
    "epoch_ms": {
        "1700000000123": "2023-11-14 22:13:20.123000",
        "1700000000123.456": "2023-11-14 22:13:20.123456",
    },
    "epoch_us": {"1700000000123456": "2023-11-14 22:13:20.123456"},
    "%d.%m.%Y %H:%M": {
        "01.07.2025 12:00": "2025-07-01 10:00:00",
        "1.1.2025 9:05": "2025-01-01 08:05:00",
        "30.03.2025 02:30": "2025-03-30 01:30:00",
    },
    "%m/%d/%y %I:%M %p": {"07/01/25 03:04 PM": "2025-07-01 13:04:00"},
    "%Y-%m-%d %H:%M:%S%z": {"2025-07-01 12:00:00+0000": "2025-07-01 12:00:00"},
}
UNREADABLE = {
    "iso": ["soon", "2025-02-30", "2025-13-01 10:00:00", "31/12/2025", "12:00", "1700000000", "now", "2025-07-01 PM"],
    "epoch_s": ["2025-07-01", "NaN", "inf", "9" * 20, "1e300", "1700000000 s"],
    "epoch_us": [str(2**63 - 1), str(-(2**63)), str(2**64)],
    "%d.%m.%Y": ["2025-07-01", "31.02.2025", "1.7.2025 12:00"],
}


@pytest.mark.parametrize("form", TIMES)
def test_a_time_is_read_in_its_format_and_in_the_zone_of_the_log(tmp_path: Path, form: str) -> None:
    store = ingest(tmp_path, list(TIMES[form]), BERLIN, time_format=form)
    found = dict(rows_of(store, "interactions", "source_row", "event_time"))
    assert found == {number: utc(text) for number, text in enumerate(TIMES[form].values(), 1)}


@pytest.mark.parametrize("form", UNREADABLE)
def test_a_time_that_cannot_be_read_goes_to_quarantine(tmp_path: Path, form: str) -> None:
    store = ingest(tmp_path, UNREADABLE[form], time_format=form)
    assert rows_of(store, "interactions") == []
    assert rows_of(store, "quarantine", "reason") == ["unreadable_time"] * len(UNREADABLE[form])


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_a_time_at_the_end_of_all_days_stops_no_night(tmp_path: Path, zone: str) -> None:
    texts = [str(MAX_US), str(-MAX_US), "1767229200000000"]
    store = ingest(tmp_path, texts, nights_zone=zone, time_format="epoch_us")
    assert rows_of(store, "quarantine", "source_row") == [1, 2]
    assert set(rows_of(store, "quarantine", "reason")) <= {"unreadable_time", "in_the_future", "too_late"}
    assert rows_of(store, "interactions", "event_time") == [utc("2026-01-01 01:00:00")]


@pytest.mark.parametrize("text", ["infinity", "-infinity", "9999-12-31 23:59:59", "294000-01-01", "0001-01-01"])
def test_a_far_time_is_late_or_in_the_future(tmp_path: Path, text: str) -> None:
    store = ingest(tmp_path, [text], lateness_days=3)
    late = text.startswith(("-", "0"))
    assert rows_of(store, "quarantine", "reason") == ["too_late" if late else "in_the_future"]


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize("lateness_days", [0, 3])
def test_a_day_begins_and_ends_in_the_zone_of_the_nights(tmp_path: Path, zone: str, lateness_days: int) -> None:
    first, second = (datetime.combine(day(n), datetime.min.time(), ZoneInfo(zone)) for n in (-lateness_days, 1))
    moment = timedelta(microseconds=1)
    texts = [str(time.astimezone(UTC)) for time in (first - moment, first, second - moment, second)]
    store = ingest(tmp_path, texts, nights_zone=zone, lateness_days=lateness_days)
    assert rows_of(store, "quarantine", "source_row", "reason") == [(1, "too_late"), (4, "in_the_future")]
    assert rows_of(store, "interactions", "source_row", "event_date") == [(2, day(-lateness_days)), (3, day(0))]


@given(
    st.lists(st.datetimes(datetime(2025, 1, 1), datetime(2025, 12, 31)), min_size=1, max_size=8),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.sampled_from(["UTC", BERLIN, "Pacific/Auckland"]),
)
@hypothesis_settings(max_examples=15, deadline=None)
def test_naive_times_and_days_are_those_of_the_zones(
    tmp_path_factory: pytest.TempPathFactory, times: list[datetime], zone: str, nights_zone: str
) -> None:
    store = ingest(tmp_path_factory.mktemp("log"), [str(time) for time in times], zone, nights_zone)
    expected: dict[int, tuple[datetime, date]] = {}
    for number, time in enumerate(times, 1):
        # fold=1 is the second of two equal times; in a gap it would be the offset after, so there it is fold=0.
        first = time.replace(tzinfo=ZoneInfo(zone))
        is_gap = first.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != time
        point = first.replace(fold=0 if is_gap else 1).astimezone(UTC)
        expected[number] = (point, point.astimezone(ZoneInfo(nights_zone)).date())
    found = rows_of(store, "interactions", "source_row", "event_time", "event_date")
    assert {number: (time, date_) for number, time, date_ in found} == expected
