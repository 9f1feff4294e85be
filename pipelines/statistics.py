"""Item frequency and interval uniformity as of a night (UniRec, arXiv 2406.18470, section 3, repaired).

The published code takes the variance of an item's gaps for its frequency and flags the least uniform users; here
frequency is a count, the flag means what it says, and both readings are settings. Nothing after the night is read.

Both tables go on from a former one: counts, times and sums of squares add up, so that a night reads the events since,
and no history. Sums are of whole numbers, for floats would differ by the order of the threads.
"""

from datetime import date

from pipelines.engine import quote
from pipelines.kernel import Kernel, Step
from pipelines.settings import Statistics

ITEM, USER = ("item_id",), ("user_id",)


def item_users_kernel(zone: str) -> Kernel:
    """Who touched which item for the first time; reads ``events`` and the ``former_item_users`` of all days before."""
    sql = f"""
        select timezone({quote(zone)}, first_time)::date as first_date, item_id, user_id
        from (
            select item_id, user_id, min(event_time) as first_time
            from events where user_id is not null group by item_id, user_id
        ) anti join former_item_users using (item_id, user_id)
        order by first_date, item_id, user_id
    """
    return Kernel("item_users", (Step("met", ITEM, ("events", "former_item_users"), sql),))


def item_frequency_kernel(statistics: Statistics, day: date) -> Kernel:
    """How often each item was acted on up to a night.

    Reads ``events``, ``session_items`` and ``new_item_users`` since ``former_item_frequency``. The frequent items are
    the first ``frequent_share`` of all items (rounded up): those with the most events, or the least variance.
    """
    counted = Step("counted", ITEM, ("events", "session_items", "new_item_users", "former_item_frequency"), _COUNTED)
    return Kernel("item_frequency", (counted, Step("ranked", (), ("counted",), _ranked_items(statistics, day))))


_COUNTED = """
    with gaps as (
        select item_id, event_time, epoch_us(event_time) - epoch_us(
            lag(event_time) over (partition by item_id order by event_time)
        ) as gap_us
        from events
    ), added as (
        select item_id, count(*) as num_events, min(event_time) as first_seen, max(event_time) as last_seen,
            coalesce(sum(gap_us::hugeint * gap_us), 0) as gap_square_sum_us2
        from gaps group by item_id
    ), added_sessions as (
        select item_id, count(*) as num_sessions from session_items group by item_id
    ), added_users as (
        select item_id, count(*) as num_users from new_item_users group by item_id
    ), joined as (
        select item_id, f, a, epoch_us(a.first_seen) - epoch_us(f.last_seen) as bridge_us
        from former_item_frequency as f full join added as a using (item_id)
    )
    select item_id, coalesce(f.num_events, 0) + coalesce(a.num_events, 0) as num_events,
        coalesce(f.num_users, 0) + coalesce(u.num_users, 0) as num_users,
        coalesce(f.num_sessions, 0) + coalesce(s.num_sessions, 0) as num_sessions,
        coalesce(f.first_seen, a.first_seen) as first_seen, coalesce(a.last_seen, f.last_seen) as last_seen,
        (
            coalesce(f.gap_square_sum_us2::hugeint, 0) + coalesce(a.gap_square_sum_us2, 0)
            + coalesce(bridge_us::hugeint * bridge_us, 0)
        )::decimal(38, 0) as gap_square_sum_us2
    from joined left join added_sessions as s using (item_id) left join added_users as u using (item_id)
"""


def _ranked_items(statistics: Statistics, day: date) -> str:
    frequent_first = "popularity_rank" if statistics.frequent_by == "num_events" else "evenness_rank"
    return f"""
        with measured as (
            select *, {_variance("num_events - 1", "epoch_us(last_seen) - epoch_us(first_seen)", "gap_square_sum_us2")}
                / 1e12 as gap_variance_s2
            from counted
        ), ranked as (
            select *, row_number() over (order by num_events desc, item_id) as popularity_rank,
                row_number() over (order by gap_variance_s2 nulls last, item_id) as evenness_rank
            from measured
        )
        select {quote(day)}::date as as_of_date, *, num_events / sum(num_events) over () as share,
            {frequent_first} <= ceil({statistics.frequent_share} * count(*) over ()) as is_frequent
        from ranked order by item_id
    """


def interval_uniformity_kernel(statistics: Statistics, zone: str, day: date) -> Kernel:
    """How evenly each user's points in time are spaced, up to a night.

    Reads ``events`` since ``former_interval_uniformity``. A gap lies between two different points in time: events of
    the same second (or, by the setting, of the same day in ``zone``) are one point. The dispersion is the coefficient
    of variation of log(1 + gap in seconds), over at least two gaps.
    """
    measured = Step("spaced", USER, ("events", "former_interval_uniformity"), _spaced(statistics, zone))
    return Kernel("interval_uniformity", (measured, Step("ranked", (), ("spaced",), _ranked_users(statistics, day))))


def _spaced(statistics: Statistics, zone: str) -> str:
    local_day = f"timezone({quote(zone)}, event_time)::date::timestamp::timestamptz"
    point = local_day if statistics.time_granularity == "day" else "date_trunc('second', event_time)"
    return f"""
        with points as (
            select distinct user_id, {point} as point from events where user_id is not null
        ), former as (
            select user_id, last_point as point from former_interval_uniformity
        ), gaps as (
            select user_id, point, is_new, (
                    epoch_us(point) - epoch_us(lag(point) over (partition by user_id order by point))
                ) // 1_000_000 as gap_s,
                round(ln(1 + gap_s) * 1e9)::bigint as log_gap
            from (
                select *, true as is_new from points
                union all
                select *, false from former semi join points using (user_id)
            )
        ), added as (
            select user_id, count(*) filter (is_new) as num_points, min(point) filter (is_new) as first_point,
                max(point) as last_point, coalesce(sum(gap_s::hugeint * gap_s), 0) as gap_square_sum_s2,
                coalesce(sum(log_gap), 0) as log_gap_sum,
                coalesce(sum(log_gap::hugeint * log_gap), 0) as log_gap_square_sum
            from gaps group by user_id
        )
        select user_id, coalesce(f.num_gaps + 1, 0) + coalesce(a.num_points, 0) - 1 as num_gaps,
            coalesce(f.first_point, a.first_point) as first_point, coalesce(a.last_point, f.last_point) as last_point,
            {_add("gap_square_sum_s2", "log_gap_sum", "log_gap_square_sum")}
        from former_interval_uniformity as f full join added as a using (user_id)
    """


def _add(*columns: str) -> str:
    return ", ".join(f"(coalesce(f.{c}::hugeint, 0) + coalesce(a.{c}, 0))::decimal(38, 0) as {c}" for c in columns)


def _ranked_users(statistics: Statistics, day: date) -> str:
    by = "gap_variance_s2" if statistics.uniform_by == "gap_variance" else "log_gap_dispersion"
    span_s = "((epoch_us(last_point) - epoch_us(first_point)) // 1_000_000)"
    return f"""
        with measured as (
            select *, {span_s} / nullif(num_gaps, 0) as mean_gap_s,
                {_variance("num_gaps", span_s, "gap_square_sum_s2")} as gap_variance_s2,
                sqrt({_variance("num_gaps", "log_gap_sum", "log_gap_square_sum")})
                    / (log_gap_sum / nullif(num_gaps, 0)) as log_gap_dispersion
            from spaced
        ), ranked as (
            select *, case when {by} is not null then row_number() over (
                partition by {by} is null order by {by}, user_id
            ) end as uniformity_rank
            from measured
        )
        select {quote(day)}::date as as_of_date, *, coalesce(
            uniformity_rank <= ceil({statistics.uniform_share} * count(uniformity_rank) over ()), false
        ) as is_uniform
        from ranked order by user_id
    """


def _variance(num: str, total: str, squares: str) -> str:
    """Sample variance of ``num`` whole numbers from their sum and the sum of their squares; null below two."""
    n, t = f"({num})::hugeint", f"({total})::hugeint"
    return f"({n} * ({squares})::hugeint - {t} * {t}) / nullif({n} * ({n} - 1), 0)"
