"""What the published lists must fulfil: recommendations for subjects, related items for items."""

from collections.abc import Sequence
from typing import Final

from pipelines.expectations.expectation import Expectation, column_list, no_rows
from pipelines.settings import Settings

SOURCES: Final = ("model", "fallback")


def recommendations(settings: Settings) -> tuple[Expectation, ...]:
    """Expect one full list of listed items for every subject that should have one."""
    return (
        _lists_are_full(settings),
        _every_subject_has_a_list(),
        *_ranked_lists(("as_of_date", "model", "subject_type", "subject_id"), "item_id"),
    )


def related_items(settings: Settings) -> tuple[Expectation, ...]:
    """Expect lists of listed items, none longer than asked for, none with the item itself."""
    k = settings.recommendations.related_k
    return (
        no_rows(
            "lists_are_not_too_long",
            """
            select as_of_date, model, item_id, count(*) as num_ranks, $k as max_ranks
            from {batch}
            group by as_of_date, model, item_id
            having count(*) > $k
            """,
            f"a list has at most recommendations.related_k, {k}, items",
            k=k,
        ),
        no_rows(
            "no_item_is_related_to_itself",
            """
            select model, item_id, rank
            from {batch}
            where item_id = related_item_id
            """,
            "no item stands in its own list",
        ),
        *_ranked_lists(("as_of_date", "model", "item_id"), "related_item_id"),
    )


def _lists_are_full(settings: Settings) -> Expectation:
    k = settings.recommendations.k
    return no_rows(
        "lists_are_full",
        """
        with lists as (
            select as_of_date, model, subject_type, subject_id, count(*) as num_ranks
            from {batch}
            group by as_of_date, model, subject_type, subject_id
        ),
        full_list as (
            select least($k, count(*)) as num_expected from items where is_listed
        )
        select as_of_date, model, subject_type, subject_id, num_ranks, num_expected
        from lists, full_list
        where num_ranks <> num_expected
        """,
        f"a list has exactly recommendations.k, {k}, ranks, or as many as there are listed items if these are fewer",
        k=k,
    )


def _every_subject_has_a_list() -> Expectation:
    """A table without any row has no model to ask for: then each subject is missed once, with model null."""
    return no_rows(
        "every_subject_has_a_list",
        """
        with lists as (
            select distinct model, subject_type, subject_id from {batch}
        ),
        expected as (
            select models.model, expected_subjects.subject_type, expected_subjects.subject_id
            from expected_subjects
            left join (select distinct model from lists) as models on true
            where exists (select 1 from items where is_listed)
        )
        select model, subject_type, subject_id
        from expected
        anti join lists using (model, subject_type, subject_id)
        """,
        "every subject that should have a list has one, by every model of the table",
    )


def _ranked_lists(list_key: Sequence[str], item: str) -> tuple[Expectation, ...]:
    """Expect of lists that ``list_key`` identifies and whose entries stand in the column ``item``."""
    key, entry = column_list(list_key), column_list([item])
    return (
        no_rows(
            "ranks_run_from_one_without_holes",
            """
            select $key, min(rank) as first_rank, max(rank) as last_rank, count(*) as num_ranks
            from {batch}
            group by $key
            having min(rank) <> 1 or max(rank) <> count(*)
            """,
            "the ranks of a list run from 1 without holes",
            key=key,
        ),
        no_rows(
            "no_item_stands_twice_in_a_list",
            """
            select $key, $entry, count(*) as num_ranks
            from {batch}
            group by $key, $entry
            having count(*) > 1
            """,
            "no item stands twice in a list",
            key=key,
            entry=entry,
        ),
        no_rows(
            "recommended_items_are_listed",
            """
            with entries as (
                select $key, rank, $entry as entry from {batch}
            )
            select entries.*
            from entries
            anti join (select item_id as entry from items where is_listed) as listed using (entry)
            """,
            "every recommended item is listed in items",
            key=key,
            entry=entry,
        ),
        *_ranked_rows(list_key),
    )


def _ranked_rows(list_key: Sequence[str]) -> tuple[Expectation, ...]:
    return (
        no_rows(
            "score_is_finite",
            """
            select $key, rank, score
            from {batch}
            where not isfinite(score)
            """,
            "score is a finite number",
            key=column_list(list_key),
        ),
        no_rows(
            "source_is_known",
            """
            select $key, rank, source
            from {batch}
            where not list_contains($sources, source)
            """,
            "source is one of " + ", ".join(SOURCES),
            key=column_list(list_key),
            sources=SOURCES,
        ),
    )
