"""What the tables that come straight from the logs must fulfil: source files, interactions, quarantine."""

from pipelines.expectations.expectation import Expectation, no_rows
from pipelines.settings import Settings


def source_files(settings: Settings) -> tuple[Expectation, ...]:
    """Expect that every row that was read is accounted for."""
    return (
        no_rows(
            "nothing_is_lost",
            """
            select source_file, num_rows, num_interactions, num_quarantined
            from {batch}
            where num_rows <> num_interactions + num_quarantined
            """,
            "every row of a file became an interaction or went to quarantine: "
            "num_rows = num_interactions + num_quarantined",
        ),
    )


def interactions(settings: Settings) -> tuple[Expectation, ...]:
    """Expect known event types, ids, an actor, the right day, and not too many anonymous events."""
    own = (
        _event_type_is_known(settings),
        _weight_is_at_least_zero(),
        _ids_are_not_empty(),
        _somebody_acts(),
        _day_fits(settings),
        _rows(),
    )
    return (*own, _most_events_have_a_user(settings)) if settings.events.columns.user else own


def _event_type_is_known(settings: Settings) -> Expectation:
    names = [kind.name for kind in settings.events.event_types]
    return no_rows(
        "event_type_is_known",
        """
        select source_file, source_row, event_type
        from {batch}
        where not list_contains($names, event_type)
        """,
        "event_type is one of events.event_types: " + ", ".join(names),
        names=names,
    )


def _weight_is_at_least_zero() -> Expectation:
    return no_rows(
        "weight_is_at_least_zero",
        """
        select source_file, source_row, event_type, weight
        from {batch}
        where not (weight >= 0 and isfinite(weight))
        """,
        "weight is a finite number, at least 0",
    )


def _ids_are_not_empty() -> Expectation:
    """An empty id would make one item, user or session of all rows whose id is missing.

    The proof asks column by column, which the statistics of Parquet files answer without reading the column.
    """
    return no_rows(
        "ids_are_not_empty",
        """
        select source_file, source_row, item_id, user_id, source_session
        from {batch}
        where item_id = '' or user_id = '' or source_session = ''
        """,
        "item_id, user_id and source_session are not empty texts; a user or session that is not known is null",
        proof="""
        select
            not exists (from {batch} where item_id = '')
            and not exists (from {batch} where user_id = '')
            and not exists (from {batch} where source_session = '')
        """,
    )


def _somebody_acts() -> Expectation:
    return no_rows(
        "somebody_acts",
        """
        select source_file, source_row, item_id, event_time
        from {batch}
        where user_id is null and source_session is null
        """,
        "every event has a user_id, a source_session or both",
    )


def _day_fits(settings: Settings) -> Expectation:
    """The proof asks the zone about each minute between the first and the last event of a day, not about each event.

    A minute lies within one day: since 1973, all offsets and changes of all zones are whole minutes. First and last
    event alone would not do, for a day may be left and come back: at 00:01 of a day in October, the clocks of
    St. John's used to go back to 23:01 of the day before.
    """
    zone = settings.nights.time_zone
    return no_rows(
        "event_date_is_the_day_of_event_time",
        """
        select source_file, source_row, event_date, event_time
        from {batch}
        where event_date <> cast(event_time at time zone $zone as date)
        """,
        f"event_date is the day of event_time in the zone of the nights, {zone}",
        proof="""
        with days as (
            select event_date, min(event_time) as first_event, max(event_time) as last_event
            from {batch}
            group by event_date
        )
        select bool_and(
            case
                when first_event >= timestamptz '1973-01-01 00:00:00Z' and last_event < first_event + interval 2 days
                then list_bool_and([
                    event_date = cast(minute at time zone $zone as date)
                    for minute in generate_series(date_trunc('minute', first_event), last_event, interval 1 minute)
                ])
                else false
            end
        )
        from days
        """,
        zone=zone,
    )


def _rows() -> Expectation:
    return no_rows(
        "source_row_counts_from_one",
        """
        select source_file, source_row
        from {batch}
        where source_row < 1
        """,
        "source_row is the row in its file, and the first data row is 1",
    )


def _most_events_have_a_user(settings: Settings) -> Expectation:
    limit = settings.validation.max_anonymous_share
    return no_rows(
        "most_events_have_a_user",
        """
        select count(*) as num_rows, count(*) - count(user_id) as num_anonymous, $limit as max_share
        from {batch}
        having count(*) - count(user_id) > $limit * count(*)
        """,
        f"the share of rows without a user_id is at most validation.max_anonymous_share, {limit}",
        limit=limit,
    )


def quarantine(settings: Settings) -> tuple[Expectation, ...]:
    """Expect a reason on every row, and that no reason takes more than its share of the night."""
    return (
        no_rows(
            "reason_is_not_empty",
            """
            select source_file, source_row, reason
            from {batch}
            where trim(reason) = ''
            """,
            "every quarantined row says why",
        ),
        _no_reason_takes_too_many_rows(settings),
    )


def _no_reason_takes_too_many_rows(settings: Settings) -> Expectation:
    limits = settings.validation
    overrides = "".join(f", {reason} {share}" for reason, share in sorted(limits.quarantine_shares.items()))
    return no_rows(
        "no_reason_takes_too_many_rows",
        """
        with nights as (
            select file_date, sum(num_rows) as num_raw from staged_source_files group by file_date
        ),
        reasons as (
            select
                file_date,
                reason,
                count(*) as num_rows,
                coalesce(map($reasons, $shares)[reason], $share) as max_share,
                min(source_file) as first_source_file,
                arg_min(source_row, (source_file, source_row)) as first_source_row,
                left(arg_min(raw_row, (source_file, source_row)), 120) as raw_row
            from {batch}
            group by file_date, reason
        )
        select
            file_date, reason, num_rows, round(num_rows / nullif(num_raw, 0), 4) as share, max_share,
            first_source_file, first_source_row, raw_row
        from reasons
        left join nights using (file_date)
        where num_rows > $min_rows and num_rows > max_share * coalesce(num_raw, 0)
        order by num_rows desc, file_date, reason
        """,
        f"no reason rejects more than its share of the night's raw rows (validation.max_quarantine_share "
        f"{limits.max_quarantine_share}{overrides}); up to {limits.min_quarantined_rows} rows are always allowed",
        reasons=list(limits.quarantine_shares),
        shares=list(limits.quarantine_shares.values()),
        share=limits.max_quarantine_share,
        min_rows=limits.min_quarantined_rows,
    )
