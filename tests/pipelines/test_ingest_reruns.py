"""What ingest keeps over runs: every row in one table, the same bytes from the same file."""

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.log_stages import build_interactions
from pipelines.settings import Settings
from pipelines.store import Store
from tests.pipelines.small_log import Row, at, csv_bytes, day, event, put, put_log, rows_of, run, settings_of

TABLES = ("source_files", "interactions", "quarantine", "item_observations")


def ingest(settings: Settings, first: int = 0, last: int | None = None) -> Store:
    return run(settings, day(first), day(first if last is None else last), [build_interactions])


def hashes(store: Store) -> dict[str, list[tuple[str, str, str]]]:
    return {table: [(p.partition, p.slice, p.sha256) for p in store.parts(table)] for table in TABLES}


def test_a_rerun_of_the_same_file_writes_the_same_bytes(tmp_path: Path) -> None:
    for number in range(3):
        put_log(
            tmp_path, number, [event("u", "i", at(5, number)), event("u", "j", at(4, number - 1)), event("u", "", "")]
        )
    settings = settings_of(tmp_path)
    before = hashes(ingest(settings, 0, 2))
    assert [(partition, slice_) for partition, slice_, _ in before["interactions"]] == [
        ("2025-12-31", "2026-01-01"), ("2026-01-01", "2026-01-01"), ("2026-01-01", "2026-01-02"),
        ("2026-01-02", "2026-01-02"), ("2026-01-02", "2026-01-03"), ("2026-01-03", "2026-01-03"),
    ]  # fmt: skip
    assert hashes(ingest(settings, 1)) == before
    assert hashes(ingest(settings, 0, 2)) == before


def test_a_corrected_file_replaces_all_that_the_former_one_brought(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    put_log(tmp_path, 2, [event("u", "i", at(2)), event("u", "j", at(3, 2)), event("", "", "")])
    settings = settings_of(tmp_path)
    ingest(settings, 0, 2)
    put_log(tmp_path, 2, [event("v", "k", at(4, 2))])
    store = ingest(settings, 2)
    assert rows_of(store, "interactions", "user_id", "item_id") == [("u", "i"), ("v", "k")]
    assert rows_of(store, "quarantine") == []
    assert rows_of(store, "source_files", "num_rows") == [1, 1]
    emptied = store.parts("interactions", since=day(0), until=day(0), slices=[day(2).isoformat()])
    assert [part.num_rows for part in emptied] == [0]


def test_a_day_without_a_file_has_empty_parts(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    store = ingest(settings_of(tmp_path), 0, 1)
    for table in TABLES:
        assert [part.num_rows for part in store.parts(table)] == [1 - (table == "quarantine"), 0], table
    assert store.partitions("interactions") == [day(0), day(1)]


def test_a_header_alone_is_a_file_without_rows(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [])
    store = ingest(settings_of(tmp_path))
    assert rows_of(store, "source_files", "num_rows", "num_interactions", "num_quarantined") == [(0, 0, 0)]


@pytest.mark.parametrize(
    ("name", "content", "events", "told"),
    [
        ("x.csv.gz", b"\x1f\x8b\x08\x00rubbish", {}, "truncated or damaged"),
        ("x.csv", b"", {}, "the file is empty"),
        ("x.csv", b"user,session,item\n", {}, "mapped column is missing"),
        ("x.parquet", b"PAR1", {"format": "parquet"}, "no Parquet"),
        ("x.csv", b"user,session,item,time\nu,,i,x\n", {"time_format": "%Q"}, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_stops_its_night_and_nothing_is_published(
    tmp_path: Path, name: str, content: bytes, events: Row, told: str
) -> None:
    settings = settings_of(tmp_path, events={"path": "{day}-*", **events})
    if "format" not in events:
        put(tmp_path, "2026-01-01-a", csv_bytes([event("u", "i", at(1))]))
    bad = put(tmp_path, f"2026-01-01-{name}", content)
    with pytest.raises(InputError, match=told) as caught:
        ingest(settings)
    assert caught.value.where in (str(bad), str(tmp_path / "2026-01-01-a"))
    assert settings.open_store().version() == 0
    assert not list((tmp_path / "store" / "scratch").glob("*"))


def test_an_observation_is_the_newest_value_of_each_property(tmp_path: Path) -> None:
    names = ("title", "description", "category", "brand", "price")
    raw = [("A", "", "x", "b", "1"), ("B", "d", "", "b", "2"), ("", "", "y", "c", ""), ("C", "", "", "", "")]
    rows = [
        event(None if number == 3 else "u", "i", at(hour)) | dict(zip(names, raw[number], strict=True))
        for number, hour in enumerate((3, 1, 2, 9))
    ]
    put_log(tmp_path, 0, [*rows, event("u", "j", at(1)) | dict.fromkeys(names, "")])
    store = ingest(settings_of(tmp_path, events={"item_columns": {name: name for name in names}}))
    assert rows_of(store, "item_observations", "item_id", "observed_at", *names) == [
        ("i", at(3), "A", "d", "x", "b", "1"), ("j", at(1), None, None, None, None, None),
    ]  # fmt: skip


FIELDS = {
    "user": st.sampled_from(["u1", "u2", " ", ""]),
    "session": st.sampled_from(["s1", "", ""]),
    "item": st.sampled_from(["i1", "i2", "i2", ""]),
    "time": st.one_of(st.integers(-5 * 86_400, 2 * 86_400), st.sampled_from([0, "", "soon"])),
    "kind": st.sampled_from(["view", "view", "buy", "?", ""]),
}
dirty_rows = st.lists(st.fixed_dictionaries(FIELDS) | st.just({"user": "cut"}), max_size=12)


@given(
    st.lists(dirty_rows, min_size=1, max_size=3),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo", "America/New_York"]),
    st.integers(0, 3),
    st.sampled_from(["session", "quarantine"]),
    st.sampled_from(["keep", "quarantine"]),
)
@hypothesis_settings(max_examples=15, deadline=None)
def test_every_row_of_any_log_is_where_a_plain_reading_puts_it(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[Row]],
    zone: str,
    lateness_days: int,
    without_user: str,
    identical_rows: str,
) -> None:
    events = {
        "path": "{day}-*.csv",
        "columns": {"event_type": "kind"},
        "event_types": [{"name": "view"}, {"name": "buy"}],
        "lateness_days": lateness_days,
        "without_user": without_user,
        "identical_rows": identical_rows,
    }
    settings = settings_of(tmp_path_factory.mktemp("log"), events=events, nights={"time_zone": zone})
    expected, seen = {}, set()
    for number, rows in enumerate(files):
        rows = [*rows, {**dict.fromkeys(FIELDS, "x"), "time": f"no file has the content of file {number}"}]
        lines = [",".join(texts(row)) for row in rows]
        name = put(settings.folder, f"2026-01-01-{number}.csv", "\n".join([",".join(FIELDS), *lines]).encode()).name
        for place, (row, line) in enumerate(zip(rows, lines, strict=True), 1):
            verdict = judge(row, settings)
            if verdict is None and identical_rows == "quarantine" and line in seen:
                verdict = "identical_row"
            seen |= {line} if verdict is None else set()
            expected[name, place] = verdict
    store = ingest(settings)
    accepted = rows_of(store, "interactions", "source_file", "source_row")
    rejected = rows_of(store, "quarantine", "source_file", "source_row", "reason")
    assert len(accepted) + len(rejected) == len(expected)
    assert dict.fromkeys(accepted) | {(name, place): reason for name, place, reason in rejected} == expected
    for name, *counts in rows_of(
        store, "source_files", "source_file", "num_rows", "num_interactions", "num_quarantined"
    ):
        verdicts = [verdict for (file, _), verdict in expected.items() if file == name]
        assert counts == [len(verdicts), verdicts.count(None), len(verdicts) - verdicts.count(None)]


def texts(row: Row) -> list[str]:
    """The fields of a row as they stand in the file; a number is a time in seconds after the first midnight, UTC."""
    values = [row[name] for name in FIELDS if name in row]
    return [f"{at(0) + timedelta(seconds=v):%Y-%m-%d %H:%M:%S}" if isinstance(v, int) else v for v in values]


def judge(row: Row, settings: Settings) -> str | None:
    """Why a row is rejected, if it is, as one would say it reading the settings."""
    if len(row) < len(FIELDS):
        return "malformed_row"
    if not row["item"]:
        return "missing_item"
    if not isinstance(row["time"], int):
        return "unreadable_time" if row["time"] else "missing_time"
    if not row["user"].strip() and (settings.events.without_user == "quarantine" or not row["session"]):
        return "missing_user"
    if row["kind"] not in ("view", "buy"):
        return "unknown_event_type"
    date = (at(0) + timedelta(seconds=row["time"])).astimezone(ZoneInfo(settings.nights.time_zone)).date()
    if date > day(0):
        return "in_the_future"
    return "too_late" if date < day(-settings.events.lateness_days) else None
