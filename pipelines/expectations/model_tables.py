"""What the tables around the models must fulfil: training sequences, training runs, metrics."""

from typing import Final

from pipelines.expectations.expectation import Expectation, no_rows
from pipelines.settings import Settings

BOUNDED_METRICS: Final = ("recall", "ndcg", "map", "mrr", "hit", "coverage", "gini", "diversity", "familiarity")
FEWEST_EARLIER_NIGHTS: Final = 3
MOST_EARLIER_NIGHTS: Final = 14
FEWEST_CASES: Final = 100


def training_sequences(settings: Settings) -> tuple[Expectation, ...]:
    """Expect ordered sequences of known items, each on its day: a day decides what a model may learn from."""
    zone = settings.nights.time_zone
    return (
        no_rows(
            "lists_have_the_same_length",
            """
            select subject_type, subject_id, event_date, len(item_numbers) as num_items, len(event_times) as num_times
            from {batch}
            where len(item_numbers) < 1 or len(item_numbers) <> len(event_times)
            """,
            "item_numbers and event_times have the same length, at least 1",
        ),
        no_rows(
            "event_times_are_in_order",
            """
            select subject_type, subject_id, event_date, event_times[1] as first_event, event_times[-1] as last_event
            from {batch}
            where event_times is distinct from list_sort(event_times)
            """,
            "event_times are in order",
        ),
        no_rows(
            "event_date_is_the_day_of_the_events",
            """
            select subject_type, subject_id, event_date, list_min(event_times) as first, list_max(event_times) as last
            from {batch}
            where
                cast(list_min(event_times) at time zone $zone as date) <> event_date
                or cast(list_max(event_times) at time zone $zone as date) <> event_date
            """,
            f"every event lies on event_date in the zone of the nights, {zone}",
            zone=zone,
        ),
        *_item_numbers(),
    )


def _item_numbers() -> tuple[Expectation, ...]:
    return (
        no_rows(
            "item_numbers_start_at_two",
            """
            select subject_type, subject_id, event_date, list_min(item_numbers) as least_number
            from {batch}
            where list_min(item_numbers) < 2
            """,
            "no sequence holds 0 (padding) or 1 (unknown)",
        ),
        no_rows(
            "item_numbers_are_in_the_vocabulary",
            """
            with used as (
                select number, count(*) as num_events, min(subject_id) as subject_id
                from (select subject_id, unnest(item_numbers) as number from {batch})
                where number >= 2
                group by number
            )
            select used.number, used.num_events, used.subject_id
            from used
            anti join (
                select number from metadata_vocabulary where field = 'item'
                union all
                select number from other_metadata_vocabulary where field = 'item'
            ) as known using (number)
            """,
            "every number is the number of an item in metadata_vocabulary, whichever night numbered it",
        ),
    )


def training_runs(settings: Settings) -> tuple[Expectation, ...]:
    """Expect finite losses, and that every run tells its weights."""
    return (
        no_rows(
            "loss_is_null_or_finite",
            """
            select model, chain, stage, step, loss
            from {batch}
            where not isfinite(loss)
            """,
            "loss is null (a model without a loss) or a finite number",
        ),
        no_rows(
            "checkpoint_hash_is_not_empty",
            """
            select model, chain, stage, step, checkpoint_hash
            from {batch}
            where trim(checkpoint_hash) = ''
            """,
            "every training tells the hash of its weights",
        ),
        no_rows(
            "seconds_are_at_least_zero",
            """
            select model, chain, stage, step, seconds
            from {batch}
            where not (seconds >= 0 and isfinite(seconds))
            """,
            "seconds is a finite number, at least 0",
        ),
    )


def metrics(settings: Settings) -> tuple[Expectation, ...]:
    """Expect possible values within their intervals, and warn of behaviour that has changed."""
    return (
        no_rows(
            "value_is_finite",
            """
            select model, protocol, slice, metric, value
            from {batch}
            where not isfinite(value)
            """,
            "value is a finite number",
        ),
        no_rows(
            "value_lies_in_its_interval",
            """
            select model, protocol, slice, metric, low, value, high
            from {batch}
            where isfinite(value) and (value < low - 1e-9 or value > high + 1e-9)
            """,
            "value lies between low and high, where these are known",
        ),
        no_rows(
            "shares_lie_between_zero_and_one",
            """
            select model, protocol, slice, metric, value
            from {batch}
            where
                isfinite(value)
                and list_contains($metrics, split_part(metric, '@', 1))
                and value not between 0 and 1
            """,
            ", ".join(BOUNDED_METRICS) + " lie between 0 and 1",
            metrics=BOUNDED_METRICS,
        ),
        no_rows(
            "num_cases_is_at_least_zero",
            """
            select model, protocol, slice, metric, num_cases
            from {batch}
            where num_cases < 0
            """,
            "num_cases is at least 0",
        ),
        _behaviour_is_as_familiar_as_before(settings),
    )


def _behaviour_is_as_familiar_as_before(settings: Settings) -> Expectation:
    """Warn of behaviour that changed: the lists may still be good, so a person is told and the night goes on."""
    limit = settings.validation.max_familiarity_fall
    return no_rows(
        "behaviour_is_as_familiar_as_before",
        """
        with earlier as (
            select
                model, protocol, slice, count(*) as num_nights,
                sum(value * num_cases) / sum(num_cases) as earlier_mean
            from earlier_metrics
            where metric = 'familiarity' and num_cases >= $fewest_cases
            group by model, protocol, slice
        )
        select
            model, slice, round(value, 4) as value, round(high, 4) as high, round(earlier_mean, 4) as earlier_mean,
            num_nights, num_cases, $limit as max_fall
        from {batch} join earlier using (model, protocol, slice)
        where
            metric = 'familiarity'
            and num_cases >= $fewest_cases
            and num_nights >= $fewest_nights
            and high < earlier_mean - $limit
        order by model, slice
        """,
        "what was done this night is as familiar as before: on a slice of "
        f"{FEWEST_CASES} cases or more, the upper bound (high) of familiarity lies at most "
        f"validation.max_familiarity_fall, {limit}, below its mean of the {FEWEST_EARLIER_NIGHTS} to "
        f"{MOST_EARLIER_NIGHTS} nights before. If it fell, items went together that did not before, or were new, or "
        "the model was given other settings: look what changed in the shop or in its logs",
        severity="warning",
        fewest_cases=FEWEST_CASES,
        fewest_nights=FEWEST_EARLIER_NIGHTS,
        limit=limit,
    )
