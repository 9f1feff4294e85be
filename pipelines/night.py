"""One night, stage by stage: name the inputs of a transform, run it, and write its table to the run folder.

Each ``build_*`` returns the parts it wrote. Nothing is visible until the caller, who validates them, publishes.
A range of days (a backfill) is one stage too: daily tables are written for every day, snapshots for the last.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from pipelines.catalogue import CATALOGUE_SLICE, items_sql, load_catalogue, require_prices
from pipelines.contracts import CONTRACTS
from pipelines.engine import connect, create_views, describe_part, quote, scan_parts, scan_table, write_part
from pipelines.ingest import ingest_day, published_content
from pipelines.sequences import training_sequences_sql
from pipelines.sessionise import days_to_rebuild, sessions_sql
from pipelines.settings import Settings
from pipelines.statistics import interval_uniformity_sql, item_frequency_sql, teaching_events_sql
from pipelines.store import Part, Store, Write
from pipelines.vocabulary import vocabulary_sql


@dataclass(frozen=True)
class Night:
    """What a stage works on: the days ``first`` to ``day`` (equal but in a backfill), and the run that does it."""

    settings: Settings
    store: Store
    first: date
    day: date
    run_id: str

    @property
    def days(self) -> list[date]:
        """Every day of it, in order."""
        return [self.first + timedelta(days=n) for n in range((self.day - self.first).days + 1)]

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB of the settings' size that spills into the store's scratch folder."""
        with connect(self.settings.store, self.store.root / "scratch") as con:
            yield con

    def previous(self, table: str) -> list[Part]:
        """Parts of the newest snapshot of a table before this night; none in the first night."""
        before = self.store.parts(table, until=self.first - timedelta(days=1))
        return [part for part in before if part.partition == before[-1].partition]

    def current(self, table: str) -> list[Part]:
        """Parts of the snapshot of this night."""
        return self.store.parts(table, since=self.day, until=self.day)

    def write(
        self, con: duckdb.DuckDBPyConnection, table: str, select: str, partition: date | None = None, slice_: str = ""
    ) -> Part:
        """Write one query as one part of a table into the run folder; the partition is this night if not said."""
        folder = self.store.run_folder(self.run_id, table)
        path = write_part(con, select, table, folder, partition or self.day, slice_)
        return describe_part(self.store, path, partition or self.day, slice_)

    def snapshot(self, con: duckdb.DuckDBPyConnection, table: str, select: str) -> Write:
        """Write one query as the snapshot of a table for this night."""
        return Write(table, (self.write(con, table, select),), frozenset({self.day.isoformat()}))


def build_interactions(night: Night) -> list[Write]:
    """Ingest the raw files of each day: interactions, quarantine, item_observations and source_files."""
    writes: list[Write] = []
    with night.connect() as con:
        known_content = published_content(con, night.store, night.first, night.day)
        previous = scan_parts(night.store, "items", night.previous("items"))
        con.execute(f"create temp table known_items as select item_id from ({previous})")
        for day in night.days:
            known_items = _known_items(con, night, day)
            writes += ingest_day(con, night.store, night.settings, day, night.run_id, known_items, known_content)
    return _merge(writes)


def _known_items(con: duckdb.DuckDBPyConnection, night: Night, day: date) -> str:
    """SELECT of the item_ids that a day's events may name, or empty if any; what a former day knew stays known."""
    catalogue = night.settings.catalogue
    if catalogue is None or catalogue.unknown_items == "keep":
        return ""
    load_catalogue(con, night.settings, day, night.store.root / "scratch")
    con.execute("insert into known_items select item_id from listed except select item_id from known_items")
    return "select item_id from known_items"


def _merge(writes: Sequence[Write]) -> list[Write]:
    """Join the writes of several days to one write a table; all replace by the slice or the partition of their days."""
    merged: dict[str, Write] = {}
    for write in writes:
        former = merged.get(write.table, Write(write.table, ()))
        merged[write.table] = Write(
            write.table,
            former.parts + write.parts,
            former.partitions | write.partitions,
            former.slices | write.slices,
        )
    return list(merged.values())


def build_items(night: Night) -> list[Write]:
    """Bring the items up to this night; rejected catalogue rows go to quarantine.

    With a catalogue, a range goes day by day: an item may stand in the catalogue of one day alone.
    """
    previous = night.previous("items")
    since = date.fromisoformat(previous[0].partition) + timedelta(days=1) if previous else None
    days = night.days if night.settings.catalogue else [night.day]
    rejected = []
    with night.connect() as con:
        con.execute(f"create temp table previous_items as {scan_parts(night.store, 'items', previous)}")
        for day in days:
            load_catalogue(con, night.settings, day, night.store.root / "scratch")
            require_prices(con, night.settings)
            create_views(con, {"observations": _news(night, since, day)})
            con.execute(f"create or replace temp table previous_items as {items_sql(night.settings, day)}")
            rejected.append(night.write(con, "quarantine", _rejected(day), day, CATALOGUE_SLICE))
            since = day + timedelta(days=1)
        items = night.snapshot(con, "items", "select * from previous_items order by item_id")
    whole_days = frozenset(day.isoformat() for day in days)
    return [items, Write("quarantine", tuple(rejected), whole_days, frozenset({CATALOGUE_SLICE}))]


def _news(night: Night, since: date | None, day: date) -> str:
    """SELECT of what the logs say since the former snapshot, and of items that a late file brought for days before."""
    told = scan_table(night.store, "item_observations", until=day)
    if since is None:
        return told
    return f"""
        select * from ({told})
        where file_date >= {quote(since)}::date or item_id not in (select item_id from previous_items)
    """


def _rejected(day: date) -> str:
    return f"select {quote(day)}::date as file_date, * from catalogue_rejected order by all"


def build_sessions(night: Night) -> list[Write]:
    """Rebuild the sessions of every start day that this night's events can change."""
    nights = night.settings.nights
    with night.connect() as con:
        first, last = days_to_rebuild(con, night.store, nights, night.first, night.day)
        create_views(con, {"interactions": scan_table(night.store, "interactions", since=first - timedelta(days=1))})
        con.execute(f"create temp table rebuilt as {sessions_sql(nights, first, last)}")
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        parts = [night.write(con, "sessions", _sessions_of(day), day) for day in days]
    return [Write("sessions", tuple(parts), frozenset(day.isoformat() for day in days))]


def _sessions_of(day: date) -> str:
    return f"select * from rebuilt where session_date = {quote(day)}::date order by started_at, session_id"


def build_item_frequency(night: Night) -> list[Write]:
    """Count the items as of this night."""
    with night.connect() as con:
        _name_events(con, night)
        return [night.snapshot(con, "item_frequency", item_frequency_sql(night.settings.statistics, night.day))]


def build_interval_uniformity(night: Night) -> list[Write]:
    """Measure how evenly each user's visits are spaced, as of this night."""
    with night.connect() as con:
        _name_events(con, night)
        select = interval_uniformity_sql(night.settings.statistics, night.settings.nights.time_zone, night.day)
        return [night.snapshot(con, "interval_uniformity", select)]


def build_metadata_vocabulary(night: Night) -> list[Write]:
    """Append the tokens of this night's items to the vocabulary of the night before."""
    with night.connect() as con:
        previous = scan_parts(night.store, "metadata_vocabulary", night.previous("metadata_vocabulary"))
        current = scan_parts(night.store, "items", night.current("items"))
        create_views(con, {"items": current, "previous_metadata_vocabulary": previous})
        return [night.snapshot(con, "metadata_vocabulary", vocabulary_sql(night.settings.statistics, night.day))]


def build_training_sequences(night: Night) -> list[Write]:
    """Cut every subject's history into train, validation and test, as of this night."""
    with night.connect() as con:
        _name_events(con, night)
        vocabulary = scan_parts(night.store, "metadata_vocabulary", night.current("metadata_vocabulary"))
        create_views(con, {"metadata_vocabulary": vocabulary})
        return [night.snapshot(con, "training_sequences", training_sequences_sql(night.settings, night.day))]


def _name_events(con: duckdb.DuckDBPyConnection, night: Night) -> None:
    create_views(con, {"sessions": scan_table(night.store, "sessions", until=night.day)})
    create_views(con, {"events": teaching_events_sql(night.settings, night.day)})


def published_view(night: Night, table: str) -> str:
    """SELECT of a table as published up to this night; a snapshot shows this night only."""
    parts = night.current(table) if CONTRACTS[table].snapshot else night.store.parts(table, until=night.day)
    return scan_parts(night.store, table, parts)
