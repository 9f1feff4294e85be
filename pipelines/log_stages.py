"""The stages that read logs: interactions, items, sessions.

Each ``build_*`` returns the parts it wrote. Nothing is visible until the caller, who validates them, publishes.
A range of days (a backfill) is one stage too: daily tables are written for every day, snapshots for the last.
"""

from collections.abc import Sequence
from datetime import date
from functools import partial

from pipelines.catalogue import CATALOGUE_SLICE, items_sql, load_catalogue, require_prices
from pipelines.engine import create_views, quote, scan_parts
from pipelines.ingest import ingest_day
from pipelines.ledger import refuse_repeated_content
from pipelines.night import ONE_DAY, Night, days_between, replace_days, rules_hash
from pipelines.sessionise import DAYS_AFTER, DAYS_BEFORE, sessions_kernel
from pipelines.store import Part, Write


def build_interactions(night: Night) -> list[Write]:
    """Ingest the raw files of each day: interactions, quarantine, item_observations and source_files."""
    known_items = _write_known_items(night)
    task = partial(ingest_day, night, known_items)
    writes = _merge([write for written in night.engine.each(task, night.days, night.run_id) for write in written])
    refuse_repeated_content(night, writes)
    return writes


def _write_known_items(night: Night) -> str:
    """Write from which day on each item may be named, and return the path; empty if events may name any item.

    What a former day knew stays known, though it left the catalogue.
    """
    catalogue = night.settings.catalogue
    if catalogue is None or catalogue.unknown_items == "keep":
        return ""
    path = night.store.run_folder(night.run_id, "known_items") / "known_items.parquet"
    with night.connect() as con:
        previous = scan_parts(night.store, "items", night.previous("items"))
        con.execute(f"""
            create temp table known as select item_id, {quote(night.first)}::date as known_from from ({previous})
        """)
        for day in night.days:
            load_catalogue(con, night.settings, day, night.store.scratch)
            con.execute(f"""
                insert into known
                select item_id, {quote(day)}::date from listed where item_id not in (select item_id from known)
            """)
        con.execute(f"copy known to {quote(path)} (format parquet)")
    return str(path)


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
    days = night.days if night.settings.catalogue else [night.day]
    rejected = []
    with night.connect() as con:
        con.execute(f"create temp table previous_items as {scan_parts(night.store, 'items', previous)}")
        told: set[str] = set()
        for day in days:
            load_catalogue(con, night.settings, day, night.store.scratch)
            require_prices(con, night.settings)
            news = [part for part in _news(night, previous, day) if part.path not in told]
            told.update(part.path for part in news)
            create_views(con, {"observations": scan_parts(night.store, "item_observations", news)})
            con.execute(f"create or replace temp table previous_items as {items_sql(night.settings, day)}")
            rejected.append(night.write(con, "quarantine", _rejected(day), day, CATALOGUE_SLICE))
        items = night.snapshot(con, "items", "select * from previous_items order by item_id")
    whole_days = frozenset(day.isoformat() for day in days)
    return [items, Write("quarantine", tuple(rejected), whole_days, frozenset({CATALOGUE_SLICE}))]


def _news(night: Night, previous: Sequence[Part], day: date) -> list[Part]:
    """What the logs say up to a day and the former snapshot does not know: of later days, or published after it."""
    return [
        part
        for part in night.store.parts("item_observations", until=day)
        if not previous or part.partition > previous[0].partition or part.version > previous[0].version
    ]


def _rejected(day: date) -> str:
    return f"select {quote(day)}::date as file_date, * from catalogue_rejected order by all"


def build_sessions(night: Night) -> list[Write]:
    """Rebuild the sessions of every start day that this night's events can change, in chunks of days."""
    rules, zone = night.settings.sessions, night.settings.nights.time_zone
    shaped_by = rules_hash(rules, zone)
    first, last = _start_days(night, shaped_by)
    parts: list[Part] = []
    for chunk in chunks_of_days(night, "interactions", first, last):
        interactions = night.relation(
            "interactions", since=chunk[0] - DAYS_BEFORE * ONE_DAY, until=chunk[-1] + DAYS_AFTER * ONE_DAY
        )
        kernel = sessions_kernel(rules, zone, chunk[0], chunk[-1])
        parts += night.run(kernel, {"interactions": interactions}, dict.fromkeys(chunk, shaped_by))
    return [replace_days("sessions", parts, days_between(first, last))]


def _start_days(night: Night, shaped_by: str) -> tuple[date, date]:
    """First and last start day of the sessions that the files of the night can change, or that other rules shaped.

    The files may hold late events; the first event of a day may belong to a session of the day before, and take from or
    give to one of the day after, if that was ingested already.
    """
    slices = {day.isoformat() for day in night.days}
    touched = [date.fromisoformat(part.partition) for part in night.store.parts("interactions", slices=slices)]
    others = [
        date.fromisoformat(part.partition)
        for part in night.store.parts("sessions", until=night.day)
        if not part.slice.startswith(shaped_by)
    ]
    known = night.store.partitions("interactions")
    earliest, latest = min([night.first, *touched, *others]), max([night.day, *touched])
    first = max(earliest - ONE_DAY, min([night.first, *known]))
    return first, max(day for day in (latest, latest + ONE_DAY) if day == latest or day in known)


def chunks_of_days(night: Night, table: str, first: date, last: date) -> list[list[date]]:
    """Consecutive days from ``first`` to ``last``, in lists of about as many rows as the engine takes at once."""
    rows: dict[str, int] = {}
    for part in night.store.parts(table, since=first, until=last):
        rows[part.partition] = rows.get(part.partition, 0) + part.num_rows
    chunks: list[list[date]] = [[]]
    num_rows = 0
    for day in days_between(first, last):
        added = rows.get(day.isoformat(), 0)
        if chunks[-1] and num_rows + added > night.engine.max_events:
            chunks.append([])
            num_rows = 0
        chunks[-1].append(day)
        num_rows += added
    return chunks
