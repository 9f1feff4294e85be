"""Item frequency and interval uniformity as of a night (UniRec, arXiv 2406.18470, section 3, repaired).

The published code takes the variance of an item's gaps for its frequency and flags the least uniform users; here
frequency is a count and the flag means what it says. Nothing after the night is read.
"""

from collections.abc import Iterable
from datetime import date, timedelta

from pipelines.engine import quote
from pipelines.settings import EventType, Settings, Statistics


def teaching_events_sql(settings: Settings, day: date) -> str:
    """SELECT of single events of positive weight up to the end of a night; reads ``sessions``."""
    end = f"timezone({quote(settings.nights.time_zone)}, {quote(day + timedelta(days=1))}::timestamp)"
    return f"""
        select * from (
            select session_id, user_id, source_session, unnest(item_ids) as item_id,
                unnest(event_times) as event_time, unnest(event_types) as event_type,
                unnest(range(num_events)) as position
            from sessions
        )
        where event_time < {end} and event_type in ({_teaching(settings.events.event_types)})
    """


def _teaching(kinds: Iterable[EventType]) -> str:
    return ", ".join(quote(kind.name) for kind in kinds if kind.weight > 0) or "null"


def item_frequency_sql(statistics: Statistics, day: date) -> str:
    """SELECT of ``item_frequency``; reads ``events`` (see ``teaching_events_sql``).

    The frequent items are the most frequent ``frequent_share`` of all items with an event (rounded up).
    """
    return f"""
        with gaps as (
            select *, epoch_us(event_time) - epoch_us(lag(event_time) over (
                partition by item_id order by event_time
            )) as gap_us
            from events
        ), counted as (
            select item_id, count(*) as num_events, count(distinct user_id) as num_users,
                count(distinct session_id) as num_sessions, min(event_time) as first_seen,
                max(event_time) as last_seen, {_variance("gap_us")} / 1e12 as gap_variance_s2
            from gaps group by item_id
        ), ranked as (
            select *, row_number() over (order by num_events desc, item_id) as popularity_rank from counted
        )
        select {quote(day)}::date as as_of_date, *, num_events / sum(num_events) over () as share,
            popularity_rank <= ceil({statistics.frequent_share} * count(*) over ()) as is_frequent
        from ranked order by item_id
    """


def interval_uniformity_sql(statistics: Statistics, zone: str, day: date) -> str:
    """SELECT of ``interval_uniformity``; reads ``events``.

    A gap lies between two different points in time: events of the same second (or, by the setting, of the same day in
    ``zone``) are one point. The dispersion is the coefficient of variation of log(1 + gap in seconds), over at least
    two gaps.
    """
    local_day = f"timezone({quote(zone)}, event_time)::date::timestamp"
    point = local_day if statistics.time_granularity == "day" else "date_trunc('second', event_time)"
    return f"""
        with points as (
            select distinct user_id, {point} as point from events where user_id is not null
        ), gaps as (
            select user_id, (
                    epoch_us(point) - epoch_us(lag(point) over (partition by user_id order by point))
                ) // 1_000_000 as gap_s,
                round(ln(1 + gap_s) * 1e9)::bigint as log_gap
            from points
        ), measured as (
            select user_id, count(gap_s) as num_gaps, avg(gap_s) as mean_gap_s,
                {_variance("gap_s")} as gap_variance_s2,
                sqrt({_variance("log_gap")}) / avg(log_gap) as log_gap_dispersion
            from gaps group by user_id
        ), ranked as (
            select *, case when log_gap_dispersion is not null then row_number() over (
                partition by log_gap_dispersion is null order by log_gap_dispersion, user_id
            ) end as uniformity_rank
            from measured
        )
        select {quote(day)}::date as as_of_date, *, coalesce(
            uniformity_rank <= ceil({statistics.uniform_share} * count(uniformity_rank) over ()), false
        ) as is_uniform
        from ranked order by user_id
    """


def _variance(column: str) -> str:
    """Sample variance of whole numbers, whose sums are exact: floats would differ by the order of the threads."""
    num, total, squares = f"count({column})", f"sum({column})", f"sum({column}::hugeint * {column})"
    return f"({num} * {squares} - {total} * {total}) / nullif({num} * ({num} - 1), 0)"
