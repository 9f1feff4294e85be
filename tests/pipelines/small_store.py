"""A store with the tables that training and scoring read, made of visits that a test spells out.

Items have one-letter names, so that "abc" is a visit of a, then b, then c. Without a word on `items` the shop has those
of its visits; they are numbered in the order of the alphabet, from 2.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CONTRACTS
from pipelines.engine import describe_part, write_rows
from pipelines.night import Night
from pipelines.settings import Settings
from pipelines.statistics_stages import build_metadata_vocabulary, build_training_sequences
from pipelines.store import Store, Write
from pipelines.training import train_model

FIRST_DAY = date(2026, 3, 1)
Row = dict[str, Any]
NO_CATEGORIES: Mapping[str, str] = {}


@dataclass(frozen=True)
class Visit:
    """One session: `who` acts on one item a minute, from an hour (UTC) of a day on. A name such as ?x is anonymous."""

    who: str
    day: int
    items: str
    hour: float = 12
    kind: str = "view"

    @property
    def is_anonymous(self) -> bool:
        return self.who.startswith("?")

    @property
    def times(self) -> list[datetime]:
        start = datetime.combine(day(self.day), time(), UTC) + timedelta(hours=self.hour)
        return [start + timedelta(minutes=minute) for minute in range(len(self.items))]

    def row(self) -> Row:
        """Its row of `sessions`."""
        name = self.who.removeprefix("?")
        return {
            "session_date": day(self.day),
            "session_id": f"{self.who}-{self.day}-{self.hour:09.4f}-{self.kind}",
            "user_id": None if self.is_anonymous else name,
            "source_session": name if self.is_anonymous else None,
            "started_at": self.times[0],
            "ended_at": self.times[-1],
            "num_events": len(self.items),
            "item_ids": list(self.items),
            "event_times": self.times,
            "event_types": [self.kind] * len(self.items),
        }


def day(number: int) -> date:
    """The day of a number; visits and nights count from 0."""
    return FIRST_DAY + timedelta(days=number)


def shop_settings(*models: str, zone: str = "UTC", training: Row | None = None, **recommendations: object) -> Settings:
    """Settings for these models (all presets tiny) with two event types: view, and a look that teaches nothing."""
    names = models or ("popular",)
    return Settings.model_validate(
        {
            "events": {
                "path": "{day}.json",
                "format": "json",
                "columns": {"user": "user", "item": "item", "time": "time", "event_type": "kind"},
                "event_types": [{"name": "view", "weight": 1}, {"name": "look", "weight": 0}],
            },
            "nights": {"first": FIRST_DAY, "time_zone": zone},
            "training": {"models": dict.fromkeys(names, "tiny"), **(training or {})},
            "recommendations": {"serve": names[0], "k": 5, **recommendations},
            "store": {"memory_limit": "200MB"},
        }
    )


def make_night(
    root: Path,
    visits: Iterable[Visit],
    last: int,
    settings: Settings | None = None,
    *,
    items: str = "",
    unlisted: str = "",
    new: str = "",
    brand: str = "",
    categories: Mapping[str, str] = NO_CATEGORIES,
) -> Night:
    """Publish what precedes training in the night of day `last`; the statistics are left to those who need them.

    The ledger says that each day had one file, whose content are the visits of the day. The vocabulary
    knows the items, and the brand of all of them if there is one; new ones are known since this night. A category is a
    path with ">" between its levels.
    """
    night = Night(settings or shop_settings(), Store(root), day(last), day(last), "run")
    visits = list(visits)
    by_day = defaultdict(list)
    for visit in visits:
        by_day[day(visit.day)].append(visit.row())
    names = sorted(set(items) or {item for visit in visits for item in visit.items})
    publish(night, "interactions", {of: _interactions(rows) for of, rows in by_day.items()})
    publish(night, "sessions", by_day)
    publish(night, "source_files", {of: [_source_file(of, rows)] for of, rows in by_day.items()})
    paths = {name: categories[name].split(">") if name in categories else [] for name in names}
    publish(
        night,
        "items",
        {
            night.day: [
                _item(night, name, paths[name], brand, name not in unlisted)
                | ({"first_seen": night.day} if name in new else {})
                for name in names
            ]
        },
    )
    night.store.publish(build_metadata_vocabulary(night))
    night.store.publish(build_training_sequences(night))
    return night


def _interactions(sessions: Sequence[Row]) -> list[Row]:
    """One row an event; the visits of these tests end on the day on which they begin."""
    return [
        {
            "event_date": session["session_date"],
            "user_id": session["user_id"],
            "item_id": item,
            "event_time": time,
            "event_type": kind,
            "weight": float(kind == "view"),
            "source_session": session["source_session"],
            "source_file": f"{session['session_date']}.json",
            "source_row": row,
        }
        for session in sessions
        for row, (item, time, kind) in enumerate(
            zip(session["item_ids"], session["event_times"], session["event_types"], strict=True), 1
        )
    ]


def _source_file(of: date, rows: Sequence[Row]) -> Row:
    content = hashlib.sha256(repr(rows).encode()).hexdigest()
    counts = {"num_bytes": 1, "num_rows": len(rows), "num_interactions": len(rows), "num_quarantined": 0}
    return {"file_date": of, "source_file": f"{of}.json", "sha256": content, **counts}


def _item(night: Night, name: str, category: list[str], brand: str, is_listed: bool) -> Row:
    empty: Row = dict.fromkeys(("title", "description", "price"))
    known: Row = {"item_id": name, "category": category, "attributes": {}, "first_seen": FIRST_DAY}
    known["is_listed"] = is_listed
    return {"as_of_date": night.day, "brand": brand or None, **empty, **known}


def publish(night: Night, table: str, rows: Mapping[date, Sequence[Row]]) -> None:
    """Publish a table, partition by partition."""
    folder = night.store.run_folder(night.run_id, table)
    parts = [
        describe_part(night.store, write_rows(some, table, folder, partition), partition)
        for partition, some in rows.items()
    ]
    night.store.publish([Write(table, tuple(parts))])


def train(night: Night) -> Night:
    """Train and publish every model of the settings."""
    for name in night.settings.training.models:
        night.store.publish(train_model(night, name))
    return night


def read(night: Night, write: Write) -> list[Row]:
    """Rows of what a stage has written, part by part in its order."""
    schema = CONTRACTS[write.table].schema
    return [row for path in night.store.paths(write.parts) for row in pq.read_table(path, schema=schema).to_pylist()]


def shape(night: Night, write: Write) -> pa.Schema:
    """Arrow schema of the first part that a stage has written."""
    return pq.read_schema(night.store.paths(write.parts)[0])
