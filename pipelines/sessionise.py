"""Interactions to sessions.

Events belong together if user and source session are the same and no pause between them is longer than the gap. Where
the source names sessions (visits, invoices), these are kept apart; where it does not, the gap alone decides. Whether an
event starts a session depends on the event before it alone, so a night has to reopen only the days whose sessions its
events can reach.
"""

from datetime import date, timedelta

import duckdb

from pipelines.engine import quote, scan_parts
from pipelines.settings import Nights
from pipelines.store import Store


def days_to_rebuild(
    con: duckdb.DuckDBPyConnection, store: Store, nights: Nights, first: date, last: date
) -> tuple[date, date]:
    """First and last start day of the sessions that the files of ``first`` to ``last`` can change.

    The files may hold late events, and the first event of the earliest day may continue a session that began before.
    Where a later day was ingested already, its sessions may lose their first events to the latest day, or get them.
    """
    slices = {(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)}
    touched = [date.fromisoformat(part.partition) for part in store.parts("interactions", slices=slices)]
    earliest, latest = min([first, *touched]), max([last, *touched])
    if store.parts("interactions", since=latest + timedelta(days=1)):
        latest += timedelta(days=1)
    before = store.parts("sessions", until=earliest - timedelta(days=1))
    still_open = con.execute(f"""
        select min(session_date) from ({scan_parts(store, "sessions", before)})
        where epoch_us(ended_at) >= {_midnight_us(earliest, nights.time_zone)} - {_gap_us(nights)}
    """).fetchone()
    assert still_open is not None
    return (still_open[0] or earliest), latest


def sessions_sql(nights: Nights, first: date, last: date) -> str:
    """SELECT of the sessions that start from ``first`` to ``last``; reads ``interactions`` from the day before on."""
    key = "user_id, source_session"
    order = "event_time, source_file, source_row"
    return f"""
        with marked as (
            select *, coalesce(
                epoch_us(event_time) - epoch_us(lag(event_time) over in_order) > {_gap_us(nights)}, true
            ) as starts
            from interactions
            window in_order as (partition by {key} order by {order})
        ), numbered as (
            select *, sum(starts::int) over (
                partition by {key} order by {order} rows unbounded preceding
            ) as session_number
            from marked
        ), grouped as (
            select {key}, min(event_time) as started_at, max(event_time) as ended_at, count(*) as num_events,
                list(item_id order by {order}) as item_ids,
                list(event_time order by {order}) as event_times,
                list(event_type order by {order}) as event_types
            from numbered group by {key}, session_number
        ), dated as (
            select *, timezone({quote(nights.time_zone)}, started_at)::date as session_date,
                md5(to_json([user_id, source_session, epoch_us(started_at)::varchar])::varchar) as session_id
            from grouped
        )
        select * from dated where session_date between {quote(first)}::date and {quote(last)}::date
        order by session_date, started_at, session_id
    """


def _gap_us(nights: Nights) -> int:
    return round(nights.session_gap_minutes * 60_000_000)


def _midnight_us(day: date, zone: str) -> str:
    return f"epoch_us(timezone({quote(zone)}, {quote(day)}::timestamp))"
