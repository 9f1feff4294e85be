"""What the tables about behaviour must fulfil: sessions, frequency of items, regularity of users."""

from pipelines.expectations.expectation import Expectation, no_rows
from pipelines.settings import Settings


def sessions(settings: Settings) -> tuple[Expectation, ...]:
    """Expect ordered, complete sessions on the right day, which do not overlap."""
    return (
        no_rows(
            "session_starts_before_it_ends",
            """
            select session_id, started_at, ended_at
            from {batch}
            where started_at > ended_at
            """,
            "a session does not end before it starts",
        ),
        _num_events_is_the_length(),
        _event_times_fit(),
        _day_fits(settings),
        _sessions_do_not_overlap(settings),
    )


def _num_events_is_the_length() -> Expectation:
    return no_rows(
        "num_events_is_the_length_of_the_lists",
        """
        select
            session_id,
            num_events,
            list_count(item_ids) as num_item_ids,
            list_count(event_times) as num_event_times,
            list_count(event_types) as num_event_types
        from {batch}
        where
            num_events < 1
            or num_events <> len(item_ids) or num_events <> list_count(item_ids)
            or num_events <> len(event_times) or num_events <> list_count(event_times)
            or num_events <> len(event_types) or num_events <> list_count(event_types)
        """,
        "num_events is at least 1 and the length of item_ids, event_times and event_types, none of which holds a null",
    )


def _event_times_fit() -> Expectation:
    return no_rows(
        "event_times_run_from_start_to_end",
        """
        select session_id, started_at, event_times[1] as first_event, event_times[-1] as last_event, ended_at
        from {batch}
        where
            started_at <= ended_at
            and (
                event_times is distinct from list_sort(event_times)
                or event_times[1] <> started_at
                or event_times[-1] <> ended_at
            )
        """,
        "event_times are in order; the first is started_at, the last is ended_at",
    )


def _day_fits(settings: Settings) -> Expectation:
    zone = settings.nights.time_zone
    return no_rows(
        "session_date_is_the_day_of_its_start",
        """
        select session_id, session_date, started_at
        from {batch}
        where session_date <> cast(started_at at time zone $zone as date)
        """,
        f"session_date is the day of started_at in the zone of the nights, {zone}",
        zone=zone,
    )


def _sessions_do_not_overlap(settings: Settings) -> Expectation:
    rules = settings.sessions
    return no_rows(
        "sessions_do_not_overlap",
        """
        with visits as (
            select
                user_id, source_session, session_id, session_date, started_at,
                lag(session_id) over by_subject as former_session_id,
                lag(ended_at) over by_subject as former_ended_at,
                lag(num_events) over by_subject >= $max_events
                    or lag(session_date) over by_subject < session_date as may_go_on
            from {batch}
            window by_subject as (partition by user_id, source_session order by started_at, ended_at)
        )
        select user_id, source_session, former_session_id, former_ended_at, session_id, started_at
        from visits
        where
            started_at < former_ended_at
            or (started_at <= former_ended_at + to_microseconds($gap_us) and not may_go_on)
        """,
        f"within one user_id and source_session, a session starts more than {rules.gap_minutes:g} minutes "
        "(sessions.gap_minutes) after the former one ended; or at once, where a long one was cut "
        f"(at {rules.max_events} events, or at midnight)",
        gap_us=round(rules.gap_minutes * 60_000_000),
        max_events=rules.max_events,
    )


def item_frequency(settings: Settings) -> tuple[Expectation, ...]:
    """Expect counts that fit together, a full ranking, and only items that are known."""
    return (
        _counts_fit_together(),
        _popularity_rank_follows_num_events(),
        no_rows(
            "shares_sum_to_one",
            """
            select as_of_date, sum(share) as sum_of_shares
            from {batch}
            group by as_of_date
            having abs(sum(share) - 1) > 1e-6
            """,
            "the shares of all items sum to 1",
        ),
        no_rows(
            "first_seen_is_not_after_last_seen",
            """
            select item_id, first_seen, last_seen
            from {batch}
            where first_seen > last_seen
            """,
            "the first event of an item is not later than its last",
        ),
        no_rows(
            "every_item_is_known",
            """
            select item_id, num_events
            from {batch}
            anti join items using (item_id)
            """,
            "every item with events stands in items",
        ),
    )


def item_users(settings: Settings) -> tuple[Expectation, ...]:
    """Expect that nobody meets an item for the first time twice."""
    return (
        no_rows(
            "nobody_meets_an_item_twice",
            """
            select item_id, user_id, count(*) as num_days
            from {batch}
            group by item_id, user_id
            having count(*) > 1
            """,
            "a user stands beside an item on one day only",
        ),
    )


def item_neighbours(settings: Settings) -> tuple[Expectation, ...]:
    """Expect other items, ranked by score without holes, and no more of them than the settings allow."""
    most = settings.statistics.num_neighbours
    return (
        no_rows(
            "no_item_is_its_own_neighbour",
            """
            select item_id, rank, neighbour_id
            from {batch}
            where item_id = neighbour_id
            """,
            "a neighbour is another item",
        ),
        no_rows(
            "ranks_follow_the_score",
            """
            select item_id, rank, neighbour_id, score, expected_rank
            from (
                select *, row_number() over (partition by item_id order by score desc, neighbour_id) as expected_rank
                from {batch}
            )
            where rank <> expected_rank or rank > $most
            """,
            f"rank runs from 1 without holes, best score first, to at most statistics.num_neighbours, {most}",
            most=most,
        ),
        no_rows(
            "similarity_and_score_are_positive",
            """
            select item_id, rank, neighbour_id, similarity, mean_gap_s, num_subjects, score
            from {batch}
            where not (
                similarity > 0 and isfinite(similarity) and score > 0 and isfinite(score)
                and mean_gap_s >= 0 and num_subjects >= 1
            )
            """,
            "similarity and score are positive numbers, of at least one subject",
        ),
    )


def _counts_fit_together() -> Expectation:
    return no_rows(
        "counts_fit_together",
        """
        select item_id, num_events, num_users, num_sessions
        from {batch}
        where
            num_events < 1
            or num_users not between 0 and num_events
            or num_sessions not between 0 and num_events
        """,
        "num_events is at least 1; num_users and num_sessions lie between 0 and num_events",
    )


def _popularity_rank_follows_num_events() -> Expectation:
    return no_rows(
        "popularity_rank_follows_num_events",
        """
        select as_of_date, item_id, num_events, popularity_rank, expected_rank
        from (
            select
                *,
                row_number() over (partition by as_of_date order by num_events desc, item_id) as expected_rank
            from {batch}
        )
        where popularity_rank <> expected_rank
        """,
        "popularity_rank runs from 1 without holes, most events first, ties by item_id",
    )


def interval_uniformity(settings: Settings) -> tuple[Expectation, ...]:
    """Expect possible gaps and dispersions, and no more uniform users than the settings allow."""
    return (
        no_rows(
            "num_gaps_is_at_least_zero",
            """
            select user_id, num_gaps
            from {batch}
            where num_gaps < 0
            """,
            "num_gaps is at least 0",
        ),
        no_rows(
            "dispersion_is_null_or_at_least_zero",
            """
            select user_id, num_gaps, log_gap_dispersion
            from {batch}
            where not (log_gap_dispersion >= 0 and isfinite(log_gap_dispersion))
            """,
            "log_gap_dispersion is unknown (null) or a finite number, at least 0",
        ),
        no_rows(
            "uniform_users_have_two_gaps",
            """
            select user_id, num_gaps, is_uniform
            from {batch}
            where is_uniform and num_gaps < 2
            """,
            "a user with fewer than two gaps is not called uniform",
        ),
        _uniform_share_is_kept(settings),
    )


def _uniform_share_is_kept(settings: Settings) -> Expectation:
    share = settings.statistics.uniform_share
    return no_rows(
        "uniform_share_is_kept",
        """
        select as_of_date, count(*) filter (is_uniform) as num_uniform, count(uniformity_rank) as num_ranked
        from {batch}
        group by as_of_date
        having count(*) filter (is_uniform) > ceil($share * count(uniformity_rank))
        """,
        f"of the users with a uniformity_rank, at most the share statistics.uniform_share, {share}, is called uniform",
        share=share,
    )
