"""Raw logs of one day to interactions, quarantine, item observations and the ledger of files.

Every raw row ends in exactly one of two tables: ``interactions``, or ``quarantine`` with the first reason that applies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import duckdb

from pipelines.engine import connect_to, quote, quote_path
from pipelines.night import Night
from pipelines.raw import plain_file, raw_column, read_raw
from pipelines.settings import Events, EventType, RejectRule, Settings
from pipelines.sources import day_files
from pipelines.store import Write
from pipelines.store_files import hash_file

ITEM_PROPERTIES: Final = ("title", "description", "category", "brand", "price")
LOG_SLICE: Final = "events"


def ingest_day(night: Night, known_items: str, day: date, run_id: str) -> list[Write]:
    """Read the raw files of one day and write their rows to the run folder of ``run_id``; nothing is published yet.

    ``known_items`` is the path of a file of (item_id, known_from), or empty if events may name any item. A day without
    a file gives empty parts. Raises ``InputError`` for a file that cannot be read or lacks a mapped column.
    """
    settings = night.settings
    files = day_files(settings.events.path, settings.folder).get(day, [])
    hashes = {name: hash_file(settings.folder / name) for name in files}
    with connect_to(night.store, night.engine.storage) as con:
        con.execute(_EMPTY_JUDGED)
        known = f"select item_id from {quote_path(known_items)} where known_from <= {quote(day)}::date"
        for name in files:
            _judge_file(con, settings, night.store.scratch, day, name, known if known_items else "")
        if settings.events.identical_rows == "quarantine":
            con.execute(_REJECT_IDENTICAL)
        _list_files(con, settings.folder, hashes)
        return _write_tables(con, replace(night, run_id=run_id), day)


_EMPTY_JUDGED: Final = """
    create or replace temp table judged (
        source_file varchar, source_row bigint, raw_row varchar, user_id varchar, item_id varchar,
        event_time timestamptz, event_date date, event_type varchar, source_session varchar,
        title varchar, description varchar, category varchar, brand varchar, price varchar,
        weight double, reason varchar
    )
"""

# Few rows repeat: their hashes are found first, and only they are compared and numbered.
_REJECT_IDENTICAL: Final = """
    update judged set reason = 'identical_row'
    from (
        select rowid as place, row_number() over (partition by raw_row order by source_file, source_row) as n
        from judged where reason is null and hash(raw_row) in (
            select hash(raw_row) from judged where reason is null group by hash(raw_row) having count(*) > 1
        )
    ) as repeated
    where judged.rowid = place and n > 1
"""


def _judge_file(
    con: duckdb.DuckDBPyConnection, settings: Settings, scratch: Path, day: date, name: str, known_items: str
) -> None:
    """Append the rows of one raw file to the table judged, each with its reason to be rejected or null."""
    events = settings.events
    origin = settings.path_of(name)
    with plain_file(events, origin, scratch, "[events]") as plain:
        con.execute(f"set TimeZone = {quote(events.time_zone)}")
        raw = read_raw(con, events, plain, origin, _raw_columns(events))
        con.execute(
            f"insert into judged by name {_judge(events, settings.nights.time_zone, day, name, raw, known_items)}"
        )
        con.execute("set TimeZone = 'UTC'")


def _raw_columns(events: Events) -> list[str]:
    """Raw columns that the settings speak of."""
    items = [getattr(events.item_columns, name) for name in ITEM_PROPERTIES]
    types = [kind.when_column for kind in events.event_types]
    rules = [rule.column for rule in events.reject]
    return [name for name in (*events.columns.model_dump().values(), *items, *types, *rules) if name]


def _judge(events: Events, zone: str, day: date, name: str, raw: str, known_items: str) -> str:
    columns = events.columns
    earliest = day - timedelta(days=events.lateness_days)
    properties = ", ".join(f"{_column(getattr(events.item_columns, p))} as {p}" for p in ITEM_PROPERTIES)
    unknown = f"item_id not in ({known_items})" if known_items else "false"
    return f"""
        with named as (
            select *, {_column(columns.user)} as user_id_, {_column(columns.item)} as item_id_,
                {_column(columns.session)} as source_session_, {_column(columns.time)} as time_text_,
                {properties}
            from ({raw})
        ), typed as (
            select *, {_event_type(events)} as event_type_, {_event_time("time_text_", events)} as event_time_
            from named
        ), dated as (
            select *, try(timezone({quote(zone)}, event_time_)::date) as event_date_ from typed
        )
        select {quote(name)} as source_file, source_row, raw_row, user_id_ as user_id, item_id_ as item_id,
            event_time_ as event_time, event_date_ as event_date, event_type_ as event_type,
            source_session_ as source_session, title, description, category, brand, price,
            {_weight(events.event_types)} as weight,
            case
                when is_malformed then 'malformed_row'
                when item_id is null then 'missing_item'
                when time_text_ is null then 'missing_time'
                when event_time is null or event_date is null then 'unreadable_time'
                when {_nobody(events)} then 'missing_user'
                when event_type is null then 'unknown_event_type'
                {_custom_reasons(events.reject)}
                when event_date > {quote(day)}::date then 'in_the_future'
                when event_date < {quote(earliest)}::date then 'too_late'
                when {unknown} then 'unknown_item'
            end as reason
        from dated
    """


def _column(name: str) -> str:
    return raw_column(name) if name else "cast(null as varchar)"


def _nobody(events: Events) -> str:
    if events.without_user == "quarantine":
        return "user_id is null"
    return "user_id is null and source_session is null"


def _event_type(events: Events) -> str:
    """Name of the first event type that fits, or null."""
    cases = []
    for kind in events.event_types:
        if kind.when_column:
            test = f"regexp_matches({raw_column(kind.when_column)}, {quote(kind.when_matches)})"
        elif events.columns.event_type:
            test = f"{raw_column(events.columns.event_type)} = {quote(kind.name)}"
        else:
            test = "true"
        cases.append(f"when {test} then {quote(kind.name)}")
    return f"case {' '.join(cases)} end"


def _weight(kinds: Iterable[EventType]) -> str:
    return "case event_type " + " ".join(f"when {quote(k.name)} then {k.weight!r}" for k in kinds) + " end"


def _custom_reasons(rules: Iterable[RejectRule]) -> str:
    cases = []
    for rule in rules:
        kinds = ", ".join(quote(kind) for kind in rule.event_types)
        only = f" and event_type in ({kinds})" if kinds else ""
        test = f"coalesce(regexp_matches({raw_column(rule.column)}, {quote(rule.matches)}), false)"
        cases.append(f"when {test}{only} then {quote(rule.reason)}")
    return " ".join(cases)


_EPOCH_US: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}


def _event_time(text: str, events: Events) -> str:
    """Point in time of a text, or null. The session's time zone is the one of the logs: naive times are read in it."""
    if events.time_format == "iso":
        return f"try_cast({text} as timestamptz)"
    if events.time_format in _EPOCH_US:
        micros = f"try_cast({text} as decimal(38, 6)) * {_EPOCH_US[events.time_format]}"
        return f"try(make_timestamptz(cast({micros} as bigint)))"
    return f"try_cast(try_strptime({text}, {quote(events.time_format)}) as timestamptz)"


def _list_files(con: duckdb.DuckDBPyConnection, folder: Path, hashes: Mapping[str, str]) -> None:
    con.execute("create or replace temp table files (source_file varchar, sha256 varchar, num_bytes bigint)")
    for name, digest in hashes.items():
        con.execute("insert into files values (?, ?, ?)", [name, digest, (folder / name).stat().st_size])


def _write_tables(con: duckdb.DuckDBPyConnection, night: Night, day: date) -> list[Write]:
    # A day that a former run of this day had events for keeps an empty part, which tells its sessions to be rebuilt.
    whole_day = frozenset({day.isoformat()})
    former = {date.fromisoformat(part.partition) for part in night.store.parts("interactions", slices=whole_day)}
    dates = con.execute("select distinct event_date from judged where reason is null").fetchall()
    event_days = sorted({day, *former, *(row[0] for row in dates)})
    interactions = [
        night.write(con, "interactions", _accepted(event_day), event_day, day.isoformat()) for event_day in event_days
    ]
    daily = {
        "quarantine": _quarantined(day),
        "item_observations": _observed(day),
        "source_files": _ledger(day),
    }
    return [
        Write("interactions", tuple(interactions), slices=whole_day),
        *(
            Write(table, (night.write(con, table, select, day, LOG_SLICE),), whole_day, frozenset({LOG_SLICE}))
            for table, select in daily.items()
        ),
    ]


def _accepted(event_day: date) -> str:
    return f"""
        select * from judged where reason is null and event_date = {quote(event_day)}::date
        order by event_time, source_file, source_row
    """


def _quarantined(day: date) -> str:
    return f"""
        select {quote(day)}::date as file_date, * from judged where reason is not null
        order by source_file, source_row
    """


def _observed(day: date) -> str:
    newest = ", ".join(
        f"arg_max({name}, (event_time, source_file, source_row)) filter ({name} is not null) as {name}"
        for name in ITEM_PROPERTIES
    )
    return f"""
        select {quote(day)}::date as file_date, item_id, max(event_time) as observed_at, {newest}
        from judged where reason is null group by item_id order by item_id
    """


def _ledger(day: date) -> str:
    return f"""
        select {quote(day)}::date as file_date, source_file, sha256, num_bytes, count(source_row) as num_rows,
            count(source_row) filter (reason is null) as num_interactions,
            count(source_row) filter (reason is not null) as num_quarantined
        from files left join judged using (source_file) group by all order by source_file
    """
