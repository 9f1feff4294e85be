"""Item neighbours: items that the same subjects touched (UniRec, arXiv 2406.18470; its published code, repaired).

Similarity is the cosine over subjects, each weighted down by how many items it has: the sum of 1 / ln(1 + n) over the
subjects with both, over the root of the product of their counts. Of the most similar, those are kept that follow each
other closely in time and are acted on evenly. The published code counts validation and test rows, too; here nothing
after the night is read. A window bounds the work, and so does the number of newest items a subject speaks for.
"""

from datetime import date
from typing import Final

from pipelines.engine import quote
from pipelines.kernel import Kernel, Step
from pipelines.settings import Statistics

SUBJECT: Final = ("subject_type", "subject_id")
NUM_CANDIDATES: Final = 50


def item_neighbours_kernel(statistics: Statistics, day: date) -> Kernel:
    """The ``num_neighbours`` best neighbours of each item.

    Reads ``events`` of the window and ``item_frequency`` of the night.
    """
    items = max(NUM_CANDIDATES, statistics.num_neighbours)
    return Kernel(
        "item_neighbours",
        (
            Step("subject_items", SUBJECT, ("events",), _subject_items(statistics.max_neighbour_items)),
            Step("item_subjects", ("item_id",), ("subject_items",), _ITEM_SUBJECTS),
            Step("pair_sums", SUBJECT, ("subject_items",), _PAIR_SUMS),
            Step("ranked", ("item_id",), ("pair_sums",), _ranked(day, items, statistics.num_neighbours)),
        ),
    )


def _subject_items(max_items: int) -> str:
    """The newest distinct items of each subject."""
    return f"""
        with touched as (
            select subject_type, subject_id, item_id, max(epoch_us(event_time)) as time_us
            from events group by all
        ), newest as (
            from touched qualify row_number() over (
                partition by subject_type, subject_id order by time_us desc, item_id
            ) <= {max_items}
        )
        select *, count(*) over (partition by subject_type, subject_id) as num_items from newest
    """


_ITEM_SUBJECTS = "select item_id, count(*) as num_subjects from subject_items group by item_id"

# Weights are whole billionths, for the sums of floats would depend on the order of the threads.
_PAIR_SUMS = """
    with pairs as (
        select a.item_id, b.item_id as neighbour_id, count(*) as num_subjects,
            sum(round(1e9 / ln(1 + a.num_items))::bigint)::bigint as weight_sum,
            sum(abs(a.time_us - b.time_us) // 1_000_000)::bigint as gap_sum_s
        from subject_items as a join subject_items as b using (subject_type, subject_id)
        where a.item_id < b.item_id group by all
    )
    from pairs
    union all
    select neighbour_id, item_id, num_subjects, weight_sum, gap_sum_s from pairs
"""


def _ranked(day: date, num_candidates: int, num_neighbours: int) -> str:
    return f"""
        with summed as (
            select item_id, neighbour_id, sum(num_subjects) as num_subjects, sum(weight_sum) as weight_sum,
                sum(gap_sum_s) as gap_sum_s
            from pair_sums group by item_id, neighbour_id
        ), similar_items as (
            select item_id, neighbour_id, s.num_subjects,
                weight_sum / 1e9 / sqrt(i.num_subjects * n.num_subjects) as similarity,
                gap_sum_s / s.num_subjects as mean_gap_s
            from summed as s join item_subjects as i using (item_id)
                join item_subjects as n on n.item_id = neighbour_id
            qualify row_number() over (
                partition by item_id order by similarity desc, neighbour_id
            ) <= {num_candidates}
        ), scored as (
            select s.*, 0.4 * similarity / (1 + similarity) + 0.8 / (1 + ln(1 + mean_gap_s))
                + 0.5 / (1 + ln(1 + coalesce(f.gap_variance_s2, 0))) as score
            from similar_items as s join item_frequency as f on f.item_id = neighbour_id
        ), ranked as (
            select *, row_number() over (partition by item_id order by score desc, neighbour_id) as rank from scored
        )
        select {quote(day)}::date as as_of_date, * from ranked where rank <= {num_neighbours}
        order by item_id, rank
    """
