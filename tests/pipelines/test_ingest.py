import csv
import gzip
import lzma
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.log_stages import build_interactions
from pipelines.settings import Settings
from pipelines.settings_file import load_settings
from pipelines.store import Store
from tests.pipelines.online_retail import online_retail_files
from tests.pipelines.small_log import (
    Row,
    at,
    csv_bytes,
    day,
    event,
    json_bytes,
    parquet_bytes,
    put,
    put_log,
    rows_of,
    run,
    settings_of,
)

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True)),
}
WRITERS: dict[str, Callable[[list[Row]], bytes]] = {
    "csv": csv_bytes,
    "json": json_bytes,
    "parquet": lambda rows: parquet_bytes(pa.Table.from_pylist(rows)),
}
HOSTILE = [
    "it's",
    "'; drop table t; --",
    'say "x"',
    "two\nlines",
    "🙂 ö",
    "x" * 10_000,
    "../..",
    "%s {day}",
    "NULL",
    "a,b;c",
]


def ingest(settings: Settings, first: int = 0, last: int | None = None) -> Store:
    return run(settings, day(first), day(first if last is None else last), [build_interactions])


def reasons(store: Store, **range_: Any) -> dict[int, str]:
    return dict(rows_of(store, "quarantine", "source_row", "reason", **range_))


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("form", WRITERS)
def test_every_format_in_every_packing_gives_the_same_rows(tmp_path: Path, form: str, suffix: str) -> None:
    rows = [
        event("u1", "i1", at(1)),
        event(None, "i2", at(2), "s1"),
        event("u2", None, at(3)),
        event("u1", "i1", at(4)),
    ]
    content = WRITERS[form](rows)
    put(tmp_path, f"logs/2026-01-01.log{suffix}", PACKERS[suffix](content))
    store = ingest(settings_of(tmp_path, events={"path": "logs/{day}.log*", "format": form}))
    assert rows_of(store, "interactions", "source_row", "user_id", "source_session", "item_id", "event_time") == [
        (1, "u1", None, "i1", at(1)), (2, None, "s1", "i2", at(2)), (4, "u1", None, "i1", at(4)),
    ]  # fmt: skip
    assert reasons(store) == {3: "missing_item"}
    assert rows_of(store, "source_files", "source_file", "num_rows", "num_interactions", "num_quarantined") == [
        (f"logs/2026-01-01.log{suffix}", 4, 3, 1)
    ]
    assert not list((tmp_path / "store" / "scratch").iterdir())


def test_an_interaction_has_its_type_weight_day_and_origin(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u1", "i1", at(1), "s1"), event("u1", "i1", at(1, -1))])
    found = rows_of(ingest(settings_of(tmp_path)), "interactions")
    common = {
        "user_id": "u1",
        "item_id": "i1",
        "event_type": "event",
        "weight": 1.0,
        "source_file": "logs/2026-01-01.csv",
    }
    assert found == [
        {**common, "event_date": day(-1), "event_time": at(1, -1), "source_session": None, "source_row": 2},
        {**common, "event_date": day(0), "event_time": at(1), "source_session": "s1", "source_row": 1},
    ]


def test_each_reason_comes_before_those_that_also_apply(tmp_path: Path) -> None:
    header = "user,session,item,time,kind,agent\n"
    now, future, old = "2026-01-01 10:00:00", "2026-01-02 00:00:00", "2025-12-28 23:59:59"
    rows = [
        ("malformed_row", "u"),
        ("missing_item", ",,,,?,bot"),
        ("missing_time", ",,gone,,?,bot"),
        ("unreadable_time", ",,gone,soon,?,bot"),
        ("missing_user", f",,gone,{future},?,bot"),
        ("unknown_event_type", f"u,,gone,{future},?,bot"),
        ("robot", f"u,,gone,{future},view,bot test"),
        ("test", f"u,,gone,{future},view,test"),
        ("in_the_future", f"u,,gone,{future},view,"),
        ("too_late", f"u,,gone,{old},view,"),
        ("unknown_item", f"u,,gone,{now},view,"),
        (None, f"u,,i,{now},view,"),
        ("identical_row", f"u,,i,{now},view,"),
        ("unknown_item", f"u,,gone,{now},view,"),
        ("identical_row", f"u,,i,{now},view,"),
    ]
    put(tmp_path, "logs/2026-01-01.csv", (header + "".join(f"{row}\n" for _, row in rows)).encode())
    put(tmp_path, "items/2026-01-01.csv", b"id\ni\n")
    events = {
        "columns": {"event_type": "kind"},
        "event_types": [{"name": "view"}],
        "reject": [
            {"reason": "robot", "column": "agent", "matches": "^bot"},
            {"reason": "test", "column": "agent", "matches": "test"},
        ],
        "identical_rows": "quarantine",
    }
    catalogue = {"path": "items/{day}.csv", "format": "csv", "columns": {"id": "id"}}
    store = ingest(settings_of(tmp_path, events=events, catalogue=catalogue))
    assert reasons(store) == {number: reason for number, (reason, _) in enumerate(rows, 1) if reason}
    assert rows_of(store, "interactions", "source_row") == [12]
    texts = rows_of(store, "quarantine", "raw_row")
    assert texts[0] == "u"
    assert texts[3] == '{"user":"","session":"","item":"gone","time":"soon","kind":"?","agent":"bot"}'.replace(
        '""', "null"
    )


def test_rows_without_a_user_are_kept_by_their_session_or_rejected(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event(None, "i", at(1), "s"), event("u", "i", at(2)), event(None, "i", at(3))])
    assert reasons(ingest(settings_of(tmp_path))) == {3: "missing_user"}
    strict = settings_of(tmp_path, events={"without_user": "quarantine"}, store={"root": "strict"})
    assert reasons(ingest(strict)) == {1: "missing_user", 3: "missing_user"}


def test_identical_rows_are_kept_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    rows = [event("u", "i", at(1))] * 2 + [event("u", "i", at(1), " ")]
    put(tmp_path, "logs/a-2026-01-01.csv", csv_bytes(rows))
    put(tmp_path, "logs/b-2026-01-01.csv", csv_bytes([event("v", "i", at(1)), *rows[:1]]))
    path = {"path": "logs/*-{day}.csv"}
    assert len(rows_of(ingest(settings_of(tmp_path, events=path)), "interactions")) == 5
    once = ingest(settings_of(tmp_path, events={**path, "identical_rows": "quarantine"}, store={"root": "once"}))
    assert rows_of(once, "quarantine", "source_file", "source_row", "reason") == [
        ("logs/a-2026-01-01.csv", 2, "identical_row"), ("logs/b-2026-01-01.csv", 2, "identical_row"),
    ]  # fmt: skip


def test_the_first_event_type_that_fits_gives_name_and_weight(tmp_path: Path) -> None:
    kinds = ["C1", "C2", "7", "buy", "", "other"]
    rows = [event("u", "i", at(hour)) | {"kind": kind} for hour, kind in enumerate(kinds)]
    put_log(tmp_path, 0, rows)
    types = [
        {"name": "cancel", "weight": 0, "when_column": "kind", "when_matches": "^C"},
        {"name": "C2", "weight": 9},
        {"name": "it's", "weight": 1e-7, "when_column": "kind", "when_matches": r"^\d$"},
        {"name": "buy", "weight": 2.5},
    ]
    store = ingest(settings_of(tmp_path, events={"columns": {"event_type": "kind"}, "event_types": types}))
    assert rows_of(store, "interactions", "source_row", "event_type", "weight") == [
        (1, "cancel", 0), (2, "cancel", 0), (3, "it's", 1e-7), (4, "buy", 2.5),
    ]  # fmt: skip
    assert reasons(store) == {5: "unknown_event_type", 6: "unknown_event_type"}


def test_a_reject_rule_may_be_for_some_event_types_alone(tmp_path: Path) -> None:
    rows = [
        event("u", "i", at(hour)) | {"kind": kind, "n": n}
        for hour, (kind, n) in enumerate([("buy", -1), ("back", -1), ("buy", "")])
    ]
    put_log(tmp_path, 0, rows)
    rule = {"reason": "negative", "column": "n", "matches": "^-", "event_types": ["buy"]}
    types = [{"name": "buy"}, {"name": "back"}]
    events = {"columns": {"event_type": "kind"}, "event_types": types, "reject": [rule]}
    assert reasons(ingest(settings_of(tmp_path, events=events))) == {1: "negative"}


def test_hostile_ids_come_through_unharmed(tmp_path: Path) -> None:
    rows = [event(text, text, at(n), text) | {"title": text} for n, text in enumerate(HOSTILE)]
    put_log(tmp_path, 0, rows)
    store = ingest(settings_of(tmp_path, events={"item_columns": {"title": "title"}}))
    assert rows_of(store, "interactions", "user_id", "item_id", "source_session") == [(t, t, t) for t in HOSTILE]
    assert sorted(rows_of(store, "item_observations", "item_id", "title")) == sorted((t, t) for t in HOSTILE)


@pytest.fixture(scope="module")
def online_retail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the 305 daily files of a real shop."""
    return online_retail_files(tmp_path_factory)


@pytest.mark.all
def test_every_row_of_a_year_of_a_real_shop_is_accounted_for(tmp_path: Path, online_retail: Path) -> None:
    settings = load_settings(Path(__file__).parents[2] / "configs" / "online_retail.toml")
    events = settings.events.model_copy(update={"path": f"{online_retail}/{{day}}.csv"})
    storage = settings.store.model_copy(update={"root": str(tmp_path)})
    settings = settings.model_copy(update={"events": events, "store": storage})
    store = run(settings, date(2010, 12, 1), date(2011, 12, 9), [build_interactions])
    rejected: Counter[str] = Counter()
    for path in online_retail.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                is_sale = not row["InvoiceNo"].startswith("C")
                if re.search(settings.events.reject[0].matches, row["StockCode"]):
                    rejected["not_an_item"] += 1
                elif is_sale and row["Quantity"].startswith("-"):
                    rejected["stock_correction"] += 1
    num_interactions = sum(part.num_rows for part in store.parts("interactions"))
    assert len(rows_of(store, "source_files")) == 305
    assert Counter(rows_of(store, "quarantine", "reason")) == rejected
    assert num_interactions + rejected.total() == 541_909
    assert sum(rows_of(store, "source_files", "num_rows")) == 541_909
