"""What the tables of items must fulfil: the catalogue and the vocabulary that numbers its tokens."""

from pipelines.expectations.expectation import Expectation, no_rows
from pipelines.settings import Settings


def items(settings: Settings) -> tuple[Expectation, ...]:
    """Expect usable ids, sane prices, and that there is something to recommend."""
    catalogue = settings.catalogue.columns.price if settings.catalogue else ""
    own = [
        _item_id_is_not_empty(),
        _price_is_sane(),
        _first_seen_is_not_later(),
        _an_item_is_listed(),
        _catalogue_did_not_shrink(settings),
    ]
    return (*own, _prices_known(settings)) if catalogue or settings.events.item_columns.price else tuple(own)


def _item_id_is_not_empty() -> Expectation:
    return no_rows(
        "item_id_is_not_empty",
        """
        select as_of_date, item_id, title
        from {batch}
        where trim(item_id) = ''
        """,
        "item_id is not an empty text",
    )


def _price_is_sane() -> Expectation:
    return no_rows(
        "price_is_null_or_at_least_zero",
        """
        select item_id, title, price
        from {batch}
        where not (price >= 0 and isfinite(price))
        """,
        "price is unknown (null) or a finite number, at least 0",
    )


def _first_seen_is_not_later() -> Expectation:
    return no_rows(
        "first_seen_is_not_after_the_night",
        """
        select item_id, first_seen, as_of_date
        from {batch}
        where first_seen > as_of_date
        """,
        "no item is first seen after the night that wrote it",
    )


def _an_item_is_listed() -> Expectation:
    return no_rows(
        "an_item_is_listed",
        """
        select count(*) as num_items, count(*) filter (is_listed) as num_listed
        from {batch}
        having count(*) filter (is_listed) = 0 and (count(*) > 0 or exists (select 1 from interactions))
        """,
        "at least one item is listed, so that something can be recommended (no items at all: only before any event)",
    )


def _catalogue_did_not_shrink(settings: Settings) -> Expectation:
    limit = settings.validation.max_delisted_share
    return no_rows(
        "the_catalogue_did_not_shrink",
        """
        with former as (
            select count(*) as num_listed from previous_items where is_listed
        ),
        delisted as (
            select count(*) as num_delisted, min(item_id) as first_delisted
            from previous_items join {batch} as now using (item_id)
            where previous_items.is_listed and not now.is_listed
        )
        select num_listed, num_delisted, first_delisted, $limit as max_share
        from former, delisted
        where num_delisted > $limit * num_listed and exists (select 1 from {batch} where is_listed)
        """,
        f"of the items listed the night before, at most validation.max_delisted_share, {limit}, are listed no more",
        limit=limit,
    )


def _prices_known(settings: Settings) -> Expectation:
    limit = settings.validation.max_unpriced_share
    return no_rows(
        "most_listed_items_have_a_price",
        """
        select count(*) as num_listed, count(*) - count(price) as num_unpriced, $limit as max_share
        from {batch}
        where is_listed
        having count(*) - count(price) > $limit * count(*)
        """,
        f"the share of listed items without a price is at most validation.max_unpriced_share, {limit}",
        limit=limit,
    )


def metadata_vocabulary(settings: Settings) -> tuple[Expectation, ...]:
    """Expect dense numbers that are given once and never taken back."""
    return (
        no_rows(
            "numbers_run_from_two_without_holes",
            """
            with tokens as (
                select field, token, number from {batch}
                union all
                select field, token, number from other_metadata_vocabulary
            )
            select field, token, number, expected_number
            from (
                select *, 1 + row_number() over (partition by field order by number, token) as expected_number
                from tokens
            )
            where number <> expected_number
            """,
            "over all nights, the n tokens of a field bear the numbers 2 to n + 1, each once (0: padding, 1: unknown)",
        ),
        no_rows(
            "a_token_is_numbered_once",
            """
            select field, token, tonight.number, other.first_night, other.number as other_number
            from (select field, token, number from {batch}) as tonight
            join other_metadata_vocabulary as other using (field, token)
            """,
            "no other night numbered a token of this one",
        ),
        no_rows(
            "tokens_keep_their_numbers",
            """
            with tonight as (
                select field, token, number from {batch}
            )
            select field, token, former.number as former_number, tonight.number as number
            from former_metadata_vocabulary as former
            left join tonight using (field, token)
            where tonight.number is distinct from former.number
            """,
            "what this night numbered when it ran before keeps its number",
        ),
    )
