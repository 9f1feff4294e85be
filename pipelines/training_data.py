"""What the models of a night learn from, as arrays: the items by number, and the history of every subject."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.sequences import Sequences
from pipelines.engine import create_views, quote, scan_parts, scan_table
from pipelines.kernel import Relation
from pipelines.night import Night
from pipelines.runs import one_chunk
from pipelines.store import Part
from pipelines.training_arrays import FILES, TEST, TRAIN, USERS_FILE, VALIDATION, Days, TrainingData, ensure_arrays
from pipelines.vocabulary import FIRST_NUMBER, vocabulary_hash


@dataclass(frozen=True)
class Vocabulary:
    """The items as models see them: ``item_ids[n]`` is the id of number n, ``is_listed[n]`` whether it may be shown.

    ``is_new`` bool[num_items]: known since this night.
    ``categories`` int64[num_items] are equal for items of one category path, and -1 for an item without.
    ``departments`` int64[num_items] are the places of the first category of each path in ``department_names``, or -1.
    """

    item_ids: pa.Array
    is_listed: NDArray[np.bool_]
    is_new: NDArray[np.bool_]
    categories: NDArray[np.int64]
    departments: NDArray[np.int64]
    department_names: tuple[str, ...]
    content_hash: str

    @property
    def num_items(self) -> int:
        """Item numbers, padding and unknown included."""
        return len(self.item_ids)


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
                coalesce(first_seen >= {quote(night.day)}::date, false) as is_new,
                case when len(category) > 0 then dense_rank() over (order by category) else -1 end as category,
                category[1] as department
            from (select unnest(range((select coalesce(max(number), {FIRST_NUMBER - 1}) + 1 from numbered))) as number)
                left join numbered using (number) left join items on items.item_id = token
            order by number
        """).to_arrow_table()
        content_hash = vocabulary_hash(con)
    departments = one_chunk(rows["department"].cast(pa.string())).dictionary_encode()
    return Vocabulary(
        item_ids=one_chunk(rows["item_id"].cast(pa.string())),
        is_listed=rows["is_listed"].to_numpy(),
        is_new=rows["is_new"].to_numpy(),
        categories=rows["category"].to_numpy().astype(np.int64),
        departments=departments.indices.fill_null(-1).to_numpy().astype(np.int64),
        department_names=tuple(departments.dictionary.to_pylist()),
        content_hash=content_hash,
    )


def vocabulary_hash_of(night: Night, day: date) -> str:
    """The hash of the vocabulary as it was in a night up to this one, whose numbers mean the same ever since."""
    with night.connect() as con:
        create_views(con, {"metadata_vocabulary": scan_table(night.store, "metadata_vocabulary", until=day)})
        return vocabulary_hash(con)


def load_training_data(night: Night) -> TrainingData:
    """Map the sequences within this night's window into memory, subjects in the order of their type and id.

    Night N is the last day with events, N-1 the one before: days without events are skipped. Of each part, a subject's
    newest ``max_events`` are kept: of each, for what a subject does last must not decide what the train part holds.
    """
    return TrainingData.read(training_arrays(night))


def training_arrays(night: Night) -> Path:
    """Return the folder of the arrays of this night, which are written once and used by all its models."""
    parts, known = history_parts(night), _known_rows(night)
    filled = sorted({part.partition for part in parts if part.num_rows})
    which = dict.fromkeys(filled, TRAIN) | dict.fromkeys(filled[-2:-1], VALIDATION) | dict.fromkeys(filled[-1:], TEST)
    each = [
        (night.relation_of("training_sequences", [part for part in parts if part.partition == day], known), which[day])
        for day in filled
    ]
    max_events = night.settings.training.max_events
    shape = f"{max_events} {FILES} {USERS_FILE}"
    made_of = "\n".join([known, shape, *sorted(f"{part.partition} {part.sha256}" for part in parts)])
    key = hashlib.sha256(made_of.encode()).hexdigest()
    days = Days(night.relation_of("training_sequences", parts, known), each, max_events, key)
    with night.connect() as con:
        return ensure_arrays(con, days, night.store.scratch / "training_arrays")


def history_parts(night: Night) -> list[Part]:
    """The parts of ``training_sequences`` that a model of this night may learn from."""
    first = night.day - timedelta(days=night.settings.training.window_days - 1)
    return night.store.parts("training_sequences", since=first, until=night.day)


def history(night: Night) -> Relation:
    """The sequences that a model of this night may learn from, of items that have a number by then."""
    return night.relation_of("training_sequences", history_parts(night), _known_rows(night))


def _known_rows(night: Night) -> str:
    """SELECT of the rows of ``files`` without the items that have no number yet.

    A later night may have brought a late event of these days, on an item that it was the first to number.
    """
    with night.connect() as con:
        numbers = f"select max(number) from ({night.published('metadata_vocabulary')}) where field = 'item'"
        highest = con.sql(f"select coalesce(({numbers}), {FIRST_NUMBER - 1})").fetchall()[0][0]
    all_known = f"list_max(item_numbers) <= {highest}"
    known = f"[e for e in list_zip(item_numbers, event_times) if e[1] <= {highest}]"
    return f"""
        select * replace (
            case when {all_known} then item_numbers else [e[1] for e in {known}] end as item_numbers,
            case when {all_known} then event_times else [e[2] for e in {known}] end as event_times
        )
        from files where list_min(item_numbers) <= {highest}
    """


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
