"""Kernels on small Parquet files, through the local engine: rows in, rows out; and sessions to feed them with."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contracts import CONTRACTS
from pipelines.engine import check_schema, connect
from pipelines.kernel import Kernel, Relation
from pipelines.local_engine import LocalEngine, Output
from pipelines.night import days_between
from pipelines.sessionise import sessions_kernel
from pipelines.settings import Sessions, Settings, Statistics, Storage
from pipelines.statistics import interval_uniformity_kernel, item_frequency_kernel, item_users_kernel
from pipelines.store import Store
from pipelines.teaching_events import events_rows, session_items_rows
from tests.pipelines.small_log import settings_of

Row = dict[str, Any]
STORAGE: Final = Storage(memory_limit="500MB")
HOSTILE: Final = [
    "it's",
    'say "x"',
    "'; drop table items; --",
    "two\nlines",
    "\\",
    "🙂",
    "ö" * 5_000,
    "null",
    " ",
    "\0",
]
TYPES: Final = [{"name": "view", "weight": 1}, {"name": "it's", "weight": 0.5}, {"name": "look", "weight": 0}]
"""Two event types that teach, and one that does not."""


@dataclass(frozen=True)
class KernelRun:
    """A folder in which kernels run."""

    folder: Path
    _numbers: count = field(default_factory=count)

    def fresh(self) -> Path:
        """A folder that is not used yet."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def relation(self, table: str, rows: Sequence[Row], select: str = "select * from files") -> Relation:
        """Rows of a table as a kernel reads them; without rows, there is no file."""
        if not rows:
            return Relation(table, (), select)
        path = self.fresh() / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows), schema=CONTRACTS[table].schema), path)
        return Relation(table, (str(path),), select)

    def read(self, relation: Relation) -> list[Row]:
        """The rows of a relation."""
        with connect(STORAGE, self.folder / "scratch") as con:
            return con.sql(relation.select()).to_arrow_table().to_pylist()

    def paths(self, kernel: Kernel, days: Sequence[date], **relations: Relation) -> list[Path]:
        """The files of a kernel's result, day by day."""
        engine, folder = LocalEngine(STORAGE, Store(self.folder)), self.fresh()
        parts = engine.run(kernel, relations, Output(folder, dict.fromkeys(days, "")))
        assert [day for day, _, _ in parts] == list(days)
        assert sorted(folder.iterdir()) == sorted(path for _, _, path in parts)
        return [path for _, _, path in parts]

    def run(self, kernel: Kernel, days: Sequence[date], **relations: Relation) -> list[Row]:
        """The rows of a kernel's result in stored order; each lies in the file of its day."""
        contract = CONTRACTS[kernel.table]
        rows: list[Row] = []
        for day, path in zip(days, self.paths(kernel, days, **relations), strict=True):
            check_schema(contract, path)
            table = pq.read_table(path)
            assert set(table[contract.partition].to_pylist()) <= {day}
            rows += table.to_pylist()
        return rows


@dataclass(frozen=True)
class History:
    """All sessions, as a store holds them, and the relations that stages make of those that they read."""

    runs: KernelRun
    settings: Settings
    sessions: Sequence[Row]

    def events(self, first: date, last: date) -> Relation:
        """The events that teach, of a range of days."""
        return self._read(events_rows(self.settings, first, last), first, last)

    def session_items(self, first: date, last: date) -> Relation:
        """The items of each session, of a range of days."""
        return self._read(session_items_rows(self.settings, first, last), first, last)

    def _read(self, select: str, first: date, last: date) -> Relation:
        wanted = days_between(first - timedelta(days=1), last)
        return self.runs.relation("sessions", [s for s in self.sessions if s["session_date"] in wanted], select)

    def teaching(self, last: date) -> list[Row]:
        """The same events up to a day, taken out of the sessions with no SQL."""
        zone = ZoneInfo(self.settings.nights.time_zone)
        teaches = {kind.name for kind in self.settings.events.event_types if kind.weight > 0}
        return [
            {**session, "item_id": item, "event_time": time, "position": position}
            for session in self.sessions
            for position, (item, time, kind) in enumerate(
                zip(session["item_ids"], session["event_times"], session["event_types"], strict=True)
            )
            if kind in teaches and time.astimezone(zone).date() <= last
        ]


def sessions_of(runs: KernelRun, interactions: Sequence[Row], zone: str = "UTC", gap_minutes: float = 60) -> History:
    """The history that interactions are."""
    days = [e["event_date"] for e in interactions]
    sessions = []
    if days:
        first, last = min(days), max(days)
        kernel = sessions_kernel(Sessions(gap_minutes=gap_minutes, max_events=5), zone, first, last)
        relation = runs.relation("interactions", interactions)
        sessions = runs.run(kernel, days_between(first, last), interactions=relation)
    return History(runs, teaching_settings(zone), sessions)


def statistics_of(
    history: History, statistics: Statistics, chunks: Sequence[tuple[date, date]]
) -> dict[str, list[Row]]:
    """Statistics after the last chunk of days; each goes on from those of the one before, as the stages do."""
    runs, zone = history.runs, history.settings.nights.time_zone
    tables: dict[str, list[Row]] = {"item_users": [], "item_frequency": [], "interval_uniformity": []}
    for first, last in chunks:
        former = {name: runs.relation(name, rows) for name, rows in tables.items()}
        events = history.events(first, last)
        days = days_between(first, last)
        new = runs.run(item_users_kernel(zone), days, events=events, former_item_users=former["item_users"])
        tables["item_users"] += new
        tables["item_frequency"] = runs.run(
            item_frequency_kernel(statistics, last),
            [last],
            events=events,
            session_items=history.session_items(first, last),
            new_item_users=runs.relation("item_users", new),
            former_item_frequency=former["item_frequency"],
        )
        tables["interval_uniformity"] = runs.run(
            interval_uniformity_kernel(statistics, zone, last),
            [last],
            events=events,
            former_interval_uniformity=former["interval_uniformity"],
        )
    return tables


def teaching_settings(zone: str = "UTC", **sections: Any) -> Settings:
    """Settings with the event types ``TYPES``."""
    events = {"columns": {"event_type": "kind"}, "event_types": TYPES}
    return settings_of(Path("/"), **{"events": events, "nights": {"time_zone": zone}, **sections})


def visit(
    user: str | None, *events: tuple[Any, ...], session: str | None = None, name: str = "", zone: str = "UTC"
) -> Row:
    """A session of (item, time) or (item, time, event type)."""
    items, times, kinds = zip(*((*event, "view")[:3] for event in events), strict=True)
    return {
        "session_date": times[0].astimezone(ZoneInfo(zone)).date(),
        "session_id": name or f"{user} {session} {times[0]}",
        "user_id": user,
        "source_session": session,
        "started_at": times[0],
        "ended_at": times[-1],
        "num_events": len(times),
        "item_ids": list(items),
        "event_times": list(times),
        "event_types": list(kinds),
    }


def local_day(time: datetime, zone: str) -> date:
    """The day of a point in time in a zone."""
    return time.astimezone(ZoneInfo(zone)).date()


def by_key(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    """Rows grouped by the values of columns (one column: its value alone), in order."""
    groups = defaultdict(list)
    for row in rows:
        groups[row[columns[0]] if len(columns) == 1 else tuple(row[c] for c in columns)].append(row)
    return groups


def in_buckets(con: duckdb.DuckDBPyConnection, kernel: Kernel, relations: Mapping[str, Relation], num: int) -> pa.Table:
    """The result of a kernel whose every step runs bucket by bucket, by its key, as an engine may run it."""
    tables = {name: con.sql(relation.select()).to_arrow_table() for name, relation in relations.items()}
    for step in kernel.steps:
        buckets = []
        for bucket in range(num if step.key else 1):
            for name, rows in tables.items():
                con.register("whole", rows)
                kept = f"hash({', '.join(step.key)}) % {num} = {bucket}" if step.key and name in step.split else "true"
                con.execute(f"create or replace temp table {name} as from whole where {kept}")
            ordered = con.sql(step.sql).to_arrow_reader()
            fold = step.load() if step.load else step.fold
            buckets += list(fold(iter(ordered))) if fold else [ordered.read_all()]
        tables[step.name] = pa.concat_tables(buckets)
    return tables[kernel.steps[-1].name].select(CONTRACTS[kernel.table].column_names)
