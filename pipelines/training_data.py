"""The training sequences of a night as arrays: one row a subject, the three parts of its history aligned."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.sequences import Sequences
from pipelines.engine import create_views, scan_parts
from pipelines.kernel import Relation
from pipelines.night import Night
from pipelines.runs import one_chunk
from pipelines.store import Part
from pipelines.vocabulary import FIRST_NUMBER, vocabulary_hash


@dataclass(frozen=True)
class Vocabulary:
    """The items as models see them: ``item_ids[n]`` is the id of number n, ``is_listed[n]`` whether it may be shown.

    ``categories`` int64[num_items] are equal for items of one category path, and -1 for an item without.
    """

    item_ids: pa.Array
    is_listed: NDArray[np.bool_]
    categories: NDArray[np.int64]
    content_hash: str

    @property
    def num_items(self) -> int:
        """Item numbers, padding and unknown included."""
        return len(self.item_ids)


@dataclass(frozen=True)
class TrainingData:
    """S subjects: ``is_user`` bool[S], and what each did up to night N-2 (train), on N-1 (validation) and N (test)."""

    is_user: NDArray[np.bool_]
    train: Sequences
    validation: Sequences
    test: Sequences

    @property
    def everything(self) -> Sequences:
        """The whole history of each subject, for the model that serves."""
        return self.train.concat(self.validation).concat(self.test)


def load_vocabulary(night: Night) -> Vocabulary:
    """Read the item field of this night's vocabulary, with what is listed.

    A number that another night gave away, and this one does not know, is an item without a name that is not listed.
    """
    with night.connect() as con:
        items = scan_parts(night.store, "items", night.current("items"))
        create_views(con, {"metadata_vocabulary": night.published("metadata_vocabulary"), "items": items})
        rows = con.sql(f"""
            with numbered as (from metadata_vocabulary where field = 'item')
            select coalesce(token, '') as item_id, coalesce(is_listed, false) as is_listed,
                case when len(category) > 0 then dense_rank() over (order by category) else -1 end as category
            from (select unnest(range((select coalesce(max(number), {FIRST_NUMBER - 1}) + 1 from numbered))) as number)
                left join numbered using (number) left join items on items.item_id = token
            order by number
        """).to_arrow_table()
        content_hash = vocabulary_hash(con)
    categories = rows["category"].to_numpy().astype(np.int64)
    return Vocabulary(
        one_chunk(rows["item_id"].cast(pa.string())), rows["is_listed"].to_numpy(), categories, content_hash
    )


def load_training_data(night: Night) -> TrainingData:
    """Read the sequences within this night's window, subjects in the order of their type and id.

    Night N is the last day with events, N-1 the one before: days without events are skipped. Of each part, a subject's
    newest ``max_events`` are kept: of each, for what a subject does last must not decide what the train part holds.
    """
    training = night.settings.training
    parts = history_parts(night)
    filled = sorted({part.partition for part in parts if part.num_rows}, reverse=True)
    with night.connect() as con:
        create_views(con, {"sequences": history(night).select()})
        con.execute("""
            create temp table subjects as
            select subject_type, subject_id, row_number() over (order by subject_type, subject_id) - 1 as place
            from (select distinct subject_type, subject_id from sequences)
        """)
        is_user = con.sql("select subject_type = 'user' as is_user from subjects order by place").to_arrow_table()
        train, validation, test = (
            _load_split(con, which, is_user.num_rows).tail(training.max_events)
            for which in (set(filled[2:]), set(filled[1:2]), set(filled[:1]))
        )
    return TrainingData(is_user["is_user"].to_numpy().astype(bool), train, validation, test)


def history_parts(night: Night) -> list[Part]:
    """The parts of ``training_sequences`` that a model of this night may learn from."""
    first = night.day - timedelta(days=night.settings.training.window_days - 1)
    return night.store.parts("training_sequences", since=first, until=night.day)


def history(night: Night) -> Relation:
    """The sequences that a model of this night may learn from, of items that have a number by then.

    A later night may have brought a late event of these days, on an item that it was the first to number.
    """
    with night.connect() as con:
        numbers = f"select max(number) from ({night.published('metadata_vocabulary')}) where field = 'item'"
        highest = con.sql(f"select coalesce(({numbers}), {FIRST_NUMBER - 1})").fetchall()[0][0]
    all_known = f"list_max(item_numbers) <= {highest}"
    known = f"[e for e in list_zip(item_numbers, event_times) if e[1] <= {highest}]"
    rows = f"""
        select * replace (
            case when {all_known} then item_numbers else [e[1] for e in {known}] end as item_numbers,
            case when {all_known} then event_times else [e[2] for e in {known}] end as event_times
        )
        from files where list_min(item_numbers) <= {highest}
    """
    return night.relation_of("training_sequences", history_parts(night), rows)


def _load_split(con: duckdb.DuckDBPyConnection, days: set[str], num_subjects: int) -> Sequences:
    """The events of some days, one row a subject; reads ``sequences`` and ``subjects``."""
    rows = con.sql(f"""
        select place, item_numbers, event_times from sequences join subjects using (subject_type, subject_id)
        where list_contains({sorted(days)}::date[], event_date) order by place, event_date
    """).to_arrow_table()
    begins = np.searchsorted(rows["place"].to_numpy(), np.arange(num_subjects))
    return gather(rows, begins)


def gather(rows: pa.Table, begins: NDArray[np.int64]) -> Sequences:
    """Join the lists of consecutive rows: sequence n has those from row ``begins[n]`` to ``begins[n + 1]``, or the end.

    ``rows`` have item_numbers and event_times; null counts as empty.
    """
    items, times, offsets = _flatten(rows["item_numbers"], rows["event_times"])
    return Sequences(items, times, offsets[np.append(begins, rows.num_rows)])


def to_sequences(item_numbers: pa.ChunkedArray | pa.Array, event_times: pa.ChunkedArray | pa.Array) -> Sequences:
    """Turn two list columns (int32 numbers, timestamps in us) into ragged arrays; times in seconds, null is empty."""
    return Sequences(*_flatten(item_numbers, event_times))


def _flatten(
    item_numbers: pa.ChunkedArray | pa.Array, event_times: pa.ChunkedArray | pa.Array
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    numbers, times = one_chunk(item_numbers), one_chunk(event_times)
    lengths = pc.fill_null(pc.list_value_length(numbers), 0).to_numpy()
    items = numbers.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    seconds = times.flatten().cast(pa.int64()).to_numpy(zero_copy_only=False) // 1_000_000
    return items, seconds.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def newest_day(sequences: Sequences, zone: str) -> date | None:
    """Day of the newest event in a zone; None without an event."""
    if not len(sequences.times):
        return None
    return datetime.fromtimestamp(int(sequences.times.max()), ZoneInfo(zone)).date()


def non_empty(sequences: Sequences) -> NDArray[np.int64]:
    """Indices of the sequences that have an event."""
    return np.flatnonzero(sequences.lengths)


def distinct(sequences: Sequences) -> Sequences:
    """Each item of a sequence once, ordered by number; the times are 0, for this is not the order of the events."""
    width = np.int64(sequences.items.max(initial=0)) + 1
    keys = np.unique(sequences.rows * width + sequences.items)
    offsets = np.searchsorted(keys, np.arange(len(sequences) + 1) * width)
    return Sequences((keys % width).astype(np.int32), np.zeros(len(keys), np.int64), offsets.astype(np.int64))
