"""Item neighbours: items that the same subjects touched (UniRec, arXiv 2406.18470; its published code, repaired).

Similarity is the cosine over subjects, each weighted down by how many items it has: the sum of 1 / ln(1 + n) over the
subjects with both, over the root of the product of their counts. Of the most similar, those are kept that follow each
other closely in time and are acted on evenly. The published code counts validation and test rows, too; here nothing
after the night is read. A window bounds the work, and so does the number of newest items a subject speaks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.kernel import Kernel, Step
from pipelines.pair_sums import COUNT, GAP, Floats, Ints, most_similar
from pipelines.runs import starts_of
from pipelines.settings import Statistics
from pipelines.teaching_events import SUBJECT

NUM_CANDIDATES: Final = 50


def item_neighbours_kernel(statistics: Statistics, day: date) -> Kernel:
    """The ``num_neighbours`` best neighbours of each item.

    Reads ``events`` of the window and ``item_frequency`` of the night.
    """
    return Kernel(
        "item_neighbours",
        (
            Step("touches", SUBJECT, ("events",), _touches(statistics.max_neighbour_items)),
            Step("own_items", ("item_id",), ("touches",), "select distinct item_id from touches"),
            Step(
                "ranked",
                ("item_id",),
                ("own_items",),
                _ORDERED,
                partial(rank_neighbours, statistics.num_neighbours, day),
            ),
        ),
    )


def _touches(max_items: int) -> str:
    """The newest distinct items of each subject, with the time of its last event on them."""
    return f"""
        select subject_type, subject_id, item_id, max(epoch_us(event_time)) // 1_000_000 as time_s
        from events group by subject_type, subject_id, item_id
        qualify row_number() over (partition by subject_type, subject_id order by time_s desc, item_id) <= {max_items}
    """


_ORDERED: Final = """
    select subject_type, subject_id, item_id, time_s, coalesce(gap_variance_s2, 0) as gap_variance_s2,
        own_items.item_id is not null as is_own
    from touches left join own_items using (item_id) join item_frequency using (item_id)
    order by subject_type, subject_id, item_id
"""


@dataclass(frozen=True)
class _Touches:
    """T touches of S subjects on I items, ordered by subject.

    ``items`` int64[T] are places in ``item_ids``, which are sorted; ``begins`` int64[S + 1]; ``variances`` float64[I];
    ``is_own`` bool[I] tells the items whose neighbours are asked for.
    """

    items: Ints
    times: Ints
    begins: Ints
    item_ids: pa.Array
    variances: Floats
    is_own: NDArray[np.bool_]


@dataclass(frozen=True)
class _Pairs:
    """P pairs of an item and a neighbour: how many subjects have both, and the sum of their times between."""

    item: Ints
    neighbour: Ints
    num_subjects: Ints
    similarity: Floats
    gap_s: Ints


def rank_neighbours(num_neighbours: int, day: date, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Rank the neighbours of the own items in the ordered rows of all touches."""
    tables = [pa.Table.from_batches([batch]) for batch in batches if batch.num_rows]
    if not tables:
        return
    touches = _encode(pa.concat_tables(tables).combine_chunks())
    ranked = _ranked(touches, _candidates(touches, max(NUM_CANDIDATES, num_neighbours)), num_neighbours)
    yield ranked.append_column("as_of_date", pa.repeat(pa.scalar(day), ranked.num_rows))


def _encode(rows: pa.Table) -> _Touches:
    encoded = rows["item_id"].combine_chunks().dictionary_encode()
    order = np.argsort(np.asarray(encoded.dictionary.to_pylist(), dtype=object), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    items = place[encoded.indices.to_numpy()]
    variances, is_own = np.zeros(len(order)), np.zeros(len(order), bool)
    variances[items] = rows["gap_variance_s2"].to_numpy()
    is_own[items] = rows["is_own"].to_numpy()
    begins = np.append(np.flatnonzero(starts_of(rows, *SUBJECT)), rows.num_rows)
    ids = encoded.dictionary.take(pa.array(order))
    return _Touches(items, rows["time_s"].to_numpy(), begins, ids, variances, is_own)


def _candidates(touches: _Touches, num_candidates: int) -> _Pairs:
    lengths = np.diff(touches.begins)
    own_items = np.flatnonzero(touches.is_own)
    neighbours, similarity, sums = most_similar(
        own_items,
        np.argsort(touches.items, kind="stable"),
        np.append(0, np.cumsum(np.bincount(touches.items, minlength=len(touches.item_ids)))),
        np.repeat(np.arange(len(lengths)), lengths),
        touches.begins,
        touches.items,
        touches.times,
        np.round(1e9 / np.log1p(lengths)).astype(np.int64),
        num_candidates,
    )
    row, slot = np.nonzero(neighbours >= 0)
    found = sums[row, slot]
    return _Pairs(own_items[row], neighbours[row, slot], found[:, COUNT], similarity[row, slot], found[:, GAP])


def _ranked(touches: _Touches, pairs: _Pairs, num_neighbours: int) -> pa.Table:
    """Rank candidates by their score; of equal ones the smaller id comes first."""
    mean_gap_s = pairs.gap_s / pairs.num_subjects
    score = (
        0.4 * pairs.similarity / (1 + pairs.similarity)
        + 0.8 / (1 + np.log1p(mean_gap_s))
        + 0.5 / (1 + np.log1p(touches.variances[pairs.neighbour]))
    )
    order = np.lexsort((pairs.neighbour, -score, pairs.item))
    begins = np.flatnonzero(np.diff(pairs.item[order], prepend=-1))
    rank = 1 + np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    best = order[rank <= num_neighbours]
    return pa.table(
        {
            "item_id": touches.item_ids.take(pa.array(pairs.item[best])),
            "rank": rank[rank <= num_neighbours].astype(np.int32),
            "neighbour_id": touches.item_ids.take(pa.array(pairs.neighbour[best])),
            "similarity": pairs.similarity[best],
            "mean_gap_s": mean_gap_s[best],
            "num_subjects": pairs.num_subjects[best],
            "score": score[best],
        }
    )
