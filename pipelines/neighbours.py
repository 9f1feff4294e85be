"""Item neighbours: items that the same subjects touched (UniRec, arXiv 2406.18470; its published code, repaired).

Similarity is the cosine over subjects, each weighted down by how many items it has: the sum of 1 / ln(1 + n) over the
subjects with both, over the root of the product of their counts. Of the most similar, those are kept that follow each
other closely in time and are acted on evenly (as published, one with fewer than two gaps is). The published code counts
validation and test rows, too; here nothing after the night is read. A window bounds the work, and so does the number of
newest items a subject speaks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.engine import quote
from pipelines.kernel import Kernel, Step
from pipelines.pair_sums import COUNT, GAP, Floats, Ints, SmallInts, most_similar
from pipelines.settings import Statistics
from pipelines.teaching_events import SUBJECT

Number = TypeVar("Number", np.int32, np.bool_)

NUM_CANDIDATES: Final = 50
BLOCK_ITEMS: Final = 10_000
"""Items whose candidates are in memory at once: 2 kB each."""
PIECE: Final = 1_000_000


def item_neighbours_kernel(statistics: Statistics, day: date) -> Kernel:
    """The ``num_neighbours`` best neighbours of each item.

    Reads ``events`` of the window and ``item_frequency`` of the night. Every bucket of items reads all touches: so they
    are small numbers by then, and lie subject by subject.
    """
    first = day - timedelta(days=statistics.neighbour_days)
    fold = partial(rank_neighbours, statistics.num_neighbours, day)
    return Kernel(
        "item_neighbours",
        (
            Step("numbered", (), (), _NUMBERED),
            Step("own_items", (), (), "select item from numbered"),
            Step("touches", SUBJECT, ("events",), _touches(statistics.max_neighbour_items, first)),
            Step("ranked", ("item",), ("own_items",), _ITEMS_AND_TOUCHES, fold),
        ),
    )


_NUMBERED: Final = """
    select item_id, (row_number() over (order by item_id) - 1)::integer as item,
        coalesce(gap_variance_s2, 0) as variance
    from item_frequency
"""


def _touches(max_items: int, first: date) -> str:
    """The newest distinct items of each subject, with the second of its last event on them, counted from a day on."""
    return f"""
        select item, second, newest = 1 as is_first from (
            select subject_type, subject_id, item,
                ((max(epoch_us(event_time)) - epoch_us({quote(first)}::timestamptz)) // 1_000_000)::integer as second,
                row_number() over (partition by subject_type, subject_id order by second desc, item) as newest
            from events join numbered using (item_id) group by subject_type, subject_id, item
        ) where newest <= {max_items} order by subject_type, subject_id, newest
    """


# Three scans one after the other, for DuckDB keeps the order of the rows of these, but not beside a join.
_ITEMS_AND_TOUCHES: Final = """
    select item_id, item, variance, null::integer as second, false as is_first from numbered
    union all
    select null, item, null, null, false from own_items
    union all
    select null, item, null, second, is_first from touches
"""


@dataclass(frozen=True)
class _Items:
    """I items in order of their ids, the gap variance of each (s^2), and whether its neighbours are asked for."""

    ids: pa.Array
    variances: Floats
    is_own: NDArray[np.bool_]


@dataclass(frozen=True)
class _Touches:
    """T touches of S subjects, subject by subject: ``items`` and ``seconds`` int32[T], ``begins`` int64[S + 1]."""

    items: SmallInts
    seconds: SmallInts
    begins: Ints


@dataclass(frozen=True)
class _Pairs:
    """P pairs of an item and a neighbour: how many subjects have both, and the sum of their times between."""

    item: Ints
    neighbour: Ints
    num_subjects: Ints
    similarity: Floats
    gap_s: Ints


def rank_neighbours(num_neighbours: int, day: date, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Rank the neighbours of the own items, given the rows of all items, of the own items, and of all touches."""
    gathered = _gather(batches)
    if gathered is None:
        return
    items, touches = gathered
    for pairs in _candidates(items, touches, max(NUM_CANDIDATES, num_neighbours)):
        ranked = _ranked(items, pairs, num_neighbours)
        yield ranked.append_column("as_of_date", pa.repeat(pa.scalar(day), ranked.num_rows))


def _gather(batches: Iterator[pa.RecordBatch]) -> tuple[_Items, _Touches] | None:
    """Take the rows apart; a batch at a time, for as rows the touches are three times as large. None without rows."""
    of_items: list[pa.RecordBatch] = []
    own_items: list[SmallInts] = []
    places: list[SmallInts] = []
    seconds: list[SmallInts] = []
    is_first: list[NDArray[np.bool_]] = []
    for batch in batches:
        is_item, is_touch = pc.is_valid(batch["item_id"]), pc.is_valid(batch["second"])
        of_items.append(batch.filter(is_item))
        own_items.append(batch.filter(pc.invert(pc.or_(is_item, is_touch)))["item"].to_numpy())
        touches = batch.filter(is_touch)
        places.append(touches["item"].to_numpy())
        seconds.append(touches["second"].to_numpy())
        is_first.append(touches["is_first"].to_numpy(zero_copy_only=False))
    if not of_items:
        return None
    begins = np.append(np.flatnonzero(_joined(is_first)), sum(map(len, places)))
    assert begins[0] == 0, "the touches have lost their order"
    return _items(of_items, _joined(own_items)), _Touches(_joined(places), _joined(seconds), begins)


def _items(batches: list[pa.RecordBatch], own_items: SmallInts) -> _Items:
    rows = pa.Table.from_batches(batches).sort_by("item")
    is_own = np.zeros(rows.num_rows, bool)
    is_own[own_items] = True
    return _Items(rows["item_id"].combine_chunks(), rows["variance"].to_numpy(), is_own)


def _joined(arrays: list[NDArray[Number]]) -> NDArray[Number]:
    """The arrays as one; the list is emptied, for two copies of all columns at once are the most that this takes."""
    joined = np.concatenate(arrays)
    arrays.clear()
    return joined


def _candidates(items: _Items, touches: _Touches, num_candidates: int) -> Iterator[_Pairs]:
    """The most similar items of each own item that anyone touched, in blocks."""
    counts = _count(touches.items, len(items.ids))
    own_items = np.flatnonzero(items.is_own & (counts > 0))
    of_own = np.flatnonzero(items.is_own[touches.items])
    own_touches = of_own[np.argsort(touches.items[of_own], kind="stable")].astype(np.int32)
    own_begins = np.append(0, np.cumsum(counts[own_items]))
    lengths = np.diff(touches.begins)
    subjects = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    weights = np.round(1e9 / np.log1p(lengths)).astype(np.int64)
    for begin, end in pairwise([*range(0, len(own_items), BLOCK_ITEMS), len(own_items)]):
        neighbours, similarity, sums = most_similar(
            own_items[begin:end],
            own_begins[begin : end + 1],
            own_touches,
            counts,
            subjects,
            touches.begins,
            touches.items,
            touches.seconds,
            weights,
            num_candidates,
        )
        row, slot = np.nonzero(neighbours >= 0)
        of_pair = sums[row, slot]
        yield _Pairs(
            own_items[begin + row], neighbours[row, slot], of_pair[:, COUNT], similarity[row, slot], of_pair[:, GAP]
        )


def _count(numbers: SmallInts, num: int) -> Ints:
    """How often each of the numbers below ``num`` is there; piece by piece, for numpy makes int64 of all it counts."""
    counts = np.zeros(num, np.int64)
    for begin in range(0, len(numbers), PIECE):
        counts += np.bincount(numbers[begin : begin + PIECE], minlength=num)
    return counts


def _ranked(items: _Items, pairs: _Pairs, num_neighbours: int) -> pa.Table:
    """Rank candidates by their score; of equal ones the smaller id comes first."""
    mean_gap_s = pairs.gap_s / pairs.num_subjects
    score = (
        0.4 * pairs.similarity / (1 + pairs.similarity)
        + 0.8 / (1 + np.log1p(mean_gap_s))
        + 0.5 / (1 + np.log1p(items.variances[pairs.neighbour]))
    )
    order = np.lexsort((pairs.neighbour, -score, pairs.item))
    begins = np.flatnonzero(np.diff(pairs.item[order], prepend=-1))
    rank = 1 + np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    best = order[rank <= num_neighbours]
    return pa.table(
        {
            "item_id": items.ids.take(pa.array(pairs.item[best])),
            "rank": rank[rank <= num_neighbours].astype(np.int32),
            "neighbour_id": items.ids.take(pa.array(pairs.neighbour[best])),
            "similarity": pairs.similarity[best],
            "mean_gap_s": mean_gap_s[best],
            "num_subjects": pairs.num_subjects[best],
            "score": score[best],
        }
    )
