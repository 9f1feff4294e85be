"""Interactions to sessions.

Events of one user belong together if no pause between them is longer than the gap. Where the source names sessions
(visits, invoices), these are kept apart; where it does not, the gap alone decides.

A session that goes on through a whole day without a pause ends at the midnight after it. So no session touches more
than two days, and which sessions start on a day follows from the events of that day, of the two before and of the one
after: a night works on those, however long the history is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.engine import quote, start_of_day
from pipelines.kernel import Kernel, Step
from pipelines.runs import Bools, changes, starts_of, to_lists, whole_runs
from pipelines.settings import Sessions

SUBJECT = ("user_id", "case when user_id is null then source_session end")
DAYS_BEFORE, DAYS_AFTER = 2, 1


def sessions_kernel(rules: Sessions, zone: str, first: date, last: date) -> Kernel:
    """Sessions that start from ``first`` to ``last``.

    Reads ``interactions`` of ``DAYS_BEFORE`` days before to ``DAYS_AFTER`` days after these.
    """
    sql = f"""
        select user_id, source_session, event_time, event_date, item_id, event_type
        from ({_everything() if rules.max_events_a_day else _reaching(rules, zone, first, last)})
        order by user_id, source_session, event_time, source_file, source_row
    """
    fold = partial(fold_sessions, rules, first, last)
    return Kernel("sessions", (Step("sessionised", SUBJECT, ("interactions",), sql, fold),))


def _everything() -> str:
    """The guard against robots counts all that a user does on a day."""
    return "from interactions"


def _reaching(rules: Sessions, zone: str, first: date, last: date) -> str:
    """The events of the days themselves; of the days around them, those of who acts close to the midnight between."""
    begin, end = start_of_day(zone, first), start_of_day(zone, last + timedelta(days=1))
    gap = f"to_microseconds({gap_us(rules)})"
    same = "i.user_id is not distinct from c.user_id and i.source_session is not distinct from c.source_session"
    return f"""
        with close_to_begin as (
            select distinct user_id, source_session from interactions
            where event_date = {quote(first)}::date and event_time <= {begin} + {gap}
        ), close_to_end as (
            select distinct user_id, source_session from interactions
            where event_date = {quote(last)}::date and event_time >= {end} - {gap}
        )
        from interactions where event_date between {quote(first)}::date and {quote(last)}::date
        union all
        select i.* from interactions as i semi join close_to_begin as c on {same}
        where event_date < {quote(first)}::date
            and event_time >= {start_of_day(zone, first - timedelta(days=DAYS_BEFORE - 1))} - {gap}
        union all
        select i.* from interactions as i semi join close_to_end as c on {same} where event_date > {quote(last)}::date
    """


def gap_us(rules: Sessions) -> int:
    """The gap in microseconds."""
    return round(rules.gap_minutes * 60_000_000)


def fold_sessions(rules: Sessions, first: date, last: date, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut events, ordered by user, source session and time, into rows of ``sessions``."""
    with duckdb.connect(config={"threads": 1}) as con:
        for events in whole_runs(batches, _starts_of_subjects):
            kept = _without_robots(events, rules.max_events_a_day)
            if kept.num_rows:
                sessions = _sessions(_cut(kept, rules), first, last)
                yield sessions.append_column("session_id", _session_ids(con, sessions))


def _starts_of_subjects(events: pa.Table) -> Bools:
    anonymous = pc.is_null(events["user_id"]).to_numpy()
    return changes(events["user_id"]) | (anonymous & changes(events["source_session"]))


def _without_robots(events: pa.Table, max_events_a_day: int) -> pa.Table:
    """Leave out the days on which a subject has more events than a person makes."""
    if not max_events_a_day:
        return events
    subject = np.cumsum(_starts_of_subjects(events))
    days = _days(events)
    day_of_subject = subject * (np.int64(days.max()) - days.min() + 1) + (days - days.min())
    _, index, counts = np.unique(day_of_subject, return_inverse=True, return_counts=True)
    return events.filter(pa.array(counts[index] <= max_events_a_day))


@dataclass(frozen=True)
class _Cut:
    """Events, where each session begins in them, and how many pieces of the same visit lie before it."""

    events: pa.Table
    begins: NDArray[np.int64]
    pieces: NDArray[np.int64]


def _cut(events: pa.Table, rules: Sessions) -> _Cut:
    times = events["event_time"].cast(pa.int64()).to_numpy()
    new_key = starts_of(events, "user_id", "source_session")
    starts = new_key | (np.diff(times, prepend=times[:1]) > gap_us(rules))
    starts |= _cut_at_midnight(starts, _days(events))
    if rules.immediate_repeats == "drop":
        kept = starts | starts_of(events, "item_id", "event_type")
        events, starts = events.filter(pa.array(kept)), starts[kept]
    visit_begins = np.flatnonzero(starts)
    position = np.arange(len(starts)) - visit_begins[np.cumsum(starts) - 1]
    begins = np.flatnonzero(position % rules.max_events == 0)
    return _Cut(events, begins, position[begins] // rules.max_events)


def _cut_at_midnight(starts: Bools, days: NDArray[np.int64]) -> Bools:
    """Where a chain of events without a pause enters its third day, or a later one."""
    first_day = days[starts][np.cumsum(starts) - 1]
    return (np.diff(days, prepend=days[:1]) > 0) & (days > first_day + 1)


def _days(events: pa.Table) -> NDArray[np.int64]:
    return events["event_date"].cast(pa.int32()).to_numpy().astype(np.int64)


def _sessions(cut: _Cut, first: date, last: date) -> pa.Table:
    """Rows of the sessions that start from ``first`` to ``last``, without their ids."""
    events, begins = cut.events, cut.begins
    heads = events.take(pa.array(begins))
    ends = np.append(begins[1:], events.num_rows)
    sessions = pa.table(
        {
            "session_date": heads["event_date"],
            "user_id": heads["user_id"],
            "source_session": heads["source_session"],
            "started_at": heads["event_time"],
            "ended_at": events["event_time"].take(pa.array(ends - 1)),
            "num_events": pa.array((ends - begins).astype(np.int32)),
            "item_ids": to_lists(events["item_id"], begins),
            "event_times": to_lists(events["event_time"], begins),
            "event_types": to_lists(events["event_type"], begins),
            "piece": pa.array(cut.pieces),
        }
    )
    started = sessions["session_date"]
    wanted = pc.and_(pc.greater_equal(started, pa.scalar(first)), pc.less_equal(started, pa.scalar(last)))
    return sessions.filter(wanted)


def _session_ids(con: duckdb.DuckDBPyConnection, sessions: pa.Table) -> pa.ChunkedArray:
    """Ids of sessions: a hash of who, the source session, the start, and the piece if a visit was cut."""
    return con.sql("""
        with named as (
            select [user_id, source_session, epoch_us(started_at)::varchar] as parts, piece from sessions
        )
        select md5(to_json(case when piece = 0 then parts else parts || [piece::varchar] end)::varchar) as session_id
        from named
    """).to_arrow_table()["session_id"]
