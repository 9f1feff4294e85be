"""The training sequences of a night as arrays: one row a subject, the three parts of its history aligned."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.sequences import Sequences
from pipelines.engine import create_views, scan_parts
from pipelines.night import Night
from pipelines.vocabulary import FIRST_NUMBER, vocabulary_hash


@dataclass(frozen=True)
class Vocabulary:
    """The items as models see them: ``item_ids[n]`` is the id of number n, ``is_listed[n]`` whether it may be shown."""

    item_ids: pa.Array
    is_listed: NDArray[np.bool_]
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
    """Read the item field of this night's vocabulary, with what is listed."""
    with night.connect() as con:
        tables = ("metadata_vocabulary", "items")
        create_views(con, {table: scan_parts(night.store, table, night.current(table)) for table in tables})
        rows = con.sql("""
            select token, coalesce(is_listed, false) as is_listed
            from metadata_vocabulary left join items on item_id = token where field = 'item' order by number
        """).to_arrow_table()
        content_hash = vocabulary_hash(con)
    special = pa.array(["", ""], pa.string())
    ids = pa.concat_arrays([special, *rows["token"].cast(pa.string()).chunks])
    listed = np.concatenate([np.zeros(FIRST_NUMBER, bool), rows["is_listed"].to_numpy()])
    return Vocabulary(ids, listed, content_hash)


def load_training_data(night: Night) -> TrainingData:
    """Read this night's training sequences, subjects in the order of their type and id."""
    splits = ("train", "validation", "test")
    lists = ", ".join(
        f"coalesce(any_value({column}) filter (split = '{split}'), []) as {split}_{column}"
        for split in splits
        for column in ("item_numbers", "event_times")
    )
    with night.connect() as con:
        create_views(
            con, {"sequences": scan_parts(night.store, "training_sequences", night.current("training_sequences"))}
        )
        rows = con.sql(f"""
            select subject_type = 'user' as is_user, {lists} from sequences
            group by subject_type, subject_id order by subject_type, subject_id
        """).to_arrow_table()
    parts = {split: to_sequences(rows[f"{split}_item_numbers"], rows[f"{split}_event_times"]) for split in splits}
    return TrainingData(is_user=rows["is_user"].to_numpy().astype(bool), **parts)


def to_sequences(item_numbers: pa.ChunkedArray | pa.Array, event_times: pa.ChunkedArray | pa.Array) -> Sequences:
    """Turn two list columns (int32 numbers, timestamps in us) without nulls into ragged arrays; times in seconds."""
    numbers, times = _one_chunk(item_numbers), _one_chunk(event_times)
    offsets = numbers.offsets.to_numpy().astype(np.int64)
    items = numbers.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    seconds = times.flatten().cast(pa.int64()).to_numpy(zero_copy_only=False) // 1_000_000
    return Sequences(items, seconds.astype(np.int64), offsets - offsets[0])


def _one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


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
