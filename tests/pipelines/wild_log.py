"""Eleven days of a small wild log, and its nights in whatever order.

Users come around midnight, are up to three days late, bear hostile names and act twice at one moment; one of them does
not sleep for three days. Every day brings items of its own, also in late events. No file is in the order of time.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from pipelines.kernel import Kernel, Relation
from pipelines.local_engine import LocalEngine
from pipelines.log_stages import build_interactions, build_items, build_sessions
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.store import Part, Store
from tests.pipelines.small_log import STAGES, Row, at, day, event, json_bytes, put, run, settings_of

NUM_DAYS: Final = 10
LAST: Final = NUM_DAYS - 1
LOG_STAGES: Final = (build_interactions, build_items, build_sessions)
AS_OF_STAGES: Final = (build_items, *STAGES[3:])
HOSTILE: Final = ["o'brien\"; drop table sessions; --", "two\nlines", "🙂 ö", "x" * 10_000, "../..", " ", "null", "\\"]
EVENT_TYPES: Final = [{"name": "view"}, {"name": "cart", "weight": 2}, {"name": "look", "weight": 0}]
UTC_MIDNIGHT: Final = 5  # of New York, in winter


def wild_settings(folder: Path, root: str, **sections: Any) -> Settings:
    """Settings under which no event of the log is too late."""
    events = {
        "path": "logs/{day}.jsonl",
        "format": "json",
        "columns": {"event_type": "kind"},
        "item_columns": {"title": "title"},
        "event_types": EVENT_TYPES,
        "lateness_days": 30,
    }
    zone = {"time_zone": "America/New_York"}
    fixed: Row = {"events": events, "nights": zone, "store": {"root": root, "memory_limit": "200MB"}}
    return settings_of(folder, **{**fixed, **sections})


def write_wild_log(folder: Path) -> None:
    """Write the files of the days, and one more day, on which nobody is late."""
    draw = Random(7)
    for number in range(NUM_DAYS + 1):
        late = [0] if number == NUM_DAYS else [0, 0, 0, 0, 1, 2, 3]
        rows = [_row(draw, number, number - draw.choice(late)) for _ in range(30)]
        rows += draw.sample(rows, 2)
        if number in (4, 5, 6):
            rows += [_event("sleepless", "i1", "view", step * 0.4, number) for step in range(60)]
        draw.shuffle(rows)
        put(folder, f"logs/{day(number)}.jsonl", json_bytes(rows))


def _row(draw: Random, file_day: int, event_day: int) -> Row:
    hour = draw.choice([0, 0.2, 23.3, 23.6, 23.9, 12]) + draw.choice([0, 0.05, 0.09])
    item = draw.choice([*HOSTILE[:4], *(f"i{number}" for number in range(file_day + 4))])
    kind = draw.choice(["view", "view", "cart", "look"])
    if draw.random() < 0.15:
        return _event("", item, kind, hour, event_day) | {"session": f"s{draw.randrange(4)}"}
    return _event(draw.choice([*HOSTILE, *"abcdef"]), item, kind, hour, event_day)


def _event(user: str, item: str, kind: str, hour: float, number: int) -> Row:
    raw = event(user, item, at(UTC_MIDNIGHT + hour, number)) | {"kind": kind}
    return raw | {"title": f"The {'red' if len(item) % 2 else 'blue'} {item[:9]}"}


def run_nights(settings: Settings, numbers: Iterable[int]) -> Store:
    """Run nights one by one; after each, make again what is as of the newest one."""
    ran: list[int] = []
    for number in numbers:
        is_newest = number == max([number, *ran])
        store = run(settings, day(number), stages=STAGES if is_newest else LOG_STAGES)
        if not is_newest:
            run(settings, day(max(ran)), stages=AS_OF_STAGES)
        ran.append(number)
    return store


def run_ranges(settings: Settings, first_days: Sequence[int]) -> Store:
    """Run the days as backfills that begin on these days."""
    ends = [*(number - 1 for number in first_days[1:]), LAST]
    for first, last in zip(first_days, ends, strict=True):
        store = run(settings, day(first), day(last))
    return store


def copy_of(wild: Path, target: Path) -> Settings:
    """Copy the log, and the store whose days were run as one backfill; return the settings of the copy."""
    shutil.copytree(wild, target, dirs_exist_ok=True)
    return wild_settings(target, "backfill")


@dataclass(frozen=True)
class Reading:
    """One run of a kernel: the days of each relation that it read, and the days that it wrote."""

    table: str
    read: Mapping[str, list[date]]
    written: list[date]


def spy_on(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """Note from now on what every kernel reads and writes."""
    readings: list[Reading] = []
    run_kernel = Night.run

    def noting(
        night: Night,
        kernel: Kernel,
        relations: Mapping[str, Relation],
        slices: Mapping[date, str] | None = None,
    ) -> list[Part]:
        read = {
            name: sorted({date.fromisoformat(Path(path).name[:10]) for path in relation.paths})
            for name, relation in relations.items()
        }
        readings.append(Reading(kernel.table, read, [*(slices or [night.day])]))
        return run_kernel(night, kernel, relations, slices)

    monkeypatch.setattr(Night, "run", noting)
    return readings


def in_chunks(monkeypatch: pytest.MonkeyPatch, max_events: int) -> None:
    """Let the local engine take few events at once."""
    monkeypatch.setattr(
        "pipelines.night.open_engine", lambda settings, store: LocalEngine(settings.store, store, max_events)
    )
