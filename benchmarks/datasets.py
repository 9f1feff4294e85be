"""Interaction logs of the ``--data`` folder as arrays: who acted, in what order, on which numbered item.

A data set is a folder with ``events.parquet`` and ``items.parquet``. Reading is column by column, without a loop over
events. Items are numbered from 2 in the order of their ids, so a number means the same in every run; subjects keep the
order in which they first appear in the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.item_fields import make_catalogue
from models.catalogue import Catalogue
from models.sequences import FIRST_ITEM, Sequences
from pipelines.errors import InputError

EVENTS: Final = "events.parquet"
ITEMS: Final = "items.parquet"
TIME: Final = "timestamp"
SPLIT: Final = "split"


@dataclass(frozen=True)
class Source:
    """How one data set is read.

    subject: column of the user or session. order: columns by which a subject's events are sorted; the order of the file
    breaks ties and is all there is without a column. Times are those of ``timestamp``, or 0. fields: columns of the
    items, by the names that models know; see ``benchmarks.item_fields``. with_unseen_items: whether items without any
    event are numbered too, and so may be recommended.
    """

    subject: str
    order: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    with_unseen_items: bool = False


_BEAUTY: Final = {
    "title": "title",
    "brand": "brand_id",
    "category_1": "category",
    "category_2": "category_leaf",
    "attribute:ids": "attribute_ids",
}
_RETAILROCKET: Final = {"category_1": "parent_category", "category_2": "category"}
_GLOBO: Final = {"category_1": "category_id", "created_at": "created_at"}
SOURCES: Final[dict[str, Source]] = {
    "movielens_1m": Source("user_id", (TIME,), {"category_1": "category"}),
    "movielens_latest_small": Source("user_id", (TIME,), {"category_1": "category"}),
    "amazon_beauty": Source("user_id", (TIME, "seq"), _BEAUTY),
    "amazon_luxury_beauty": Source("user_id", ("seq",), with_unseen_items=True),
    "diginetica": Source("session_id", ("position",), {"category_1": "category"}, with_unseen_items=True),
    "retailrocket": Source("session_id", ("position",), _RETAILROCKET, with_unseen_items=True),
    "yoochoose_100k": Source("session_id", (TIME,), with_unseen_items=True),
    "globo_news": Source("session_id", (TIME,), _GLOBO, with_unseen_items=True),
    "lightgcn_gowalla": Source("user_id", with_unseen_items=True),
}


@dataclass(frozen=True)
class Items:
    """The items of a data set: ``ids[n]`` is the id of number n, null for the special numbers 0 and 1."""

    ids: pa.Array
    catalogue: Catalogue

    def numbers(self, ids: pa.Array) -> NDArray[np.int32]:
        """Return the number of each id, int32. Raises ValueError for an id that has none."""
        found = pc.index_in(ids.cast(self.ids.type), value_set=self.ids)
        if found.null_count or ids.null_count:
            raise ValueError(f"{found.null_count + ids.null_count} item ids are null or not among the items")
        return found.to_numpy().astype(np.int32)


@dataclass(frozen=True)
class Log:
    """Events of S subjects: ``subject_ids[s]`` did sequence s. ``is_test`` bool[N] is the given split of each event."""

    items: Items
    subject_ids: pa.Array
    sequences: Sequences
    is_test: NDArray[np.bool_]


def read_log(folder: Path, source: Source) -> Log:
    """Read a data set. Raises InputError where a file or a column is missing."""
    events = read_columns(folder / EVENTS, source.subject, "item_id", *source.order, optional=(SPLIT,))
    items = _number_items(folder, events["item_id"], source)
    subjects = events[source.subject].dictionary_encode()
    subject = subjects.indices.to_numpy().astype(np.int64)
    by_first = [subject, *(events[name].to_numpy() for name in source.order)]
    order = np.lexsort(by_first[::-1])  # stable, so the order of the file breaks ties
    offsets = np.searchsorted(subject[order], np.arange(len(subjects.dictionary) + 1)).astype(np.int64)
    keys = np.arange(len(subjects.dictionary), dtype=np.uint64)
    sequences = Sequences(items.numbers(events["item_id"])[order], _seconds(events, source)[order], offsets, keys)
    return Log(items, subjects.dictionary, sequences, _is_test(events)[order])


def read_columns(path: Path, *names: str, optional: tuple[str, ...] = ()) -> dict[str, pa.Array]:
    """Read columns of a Parquet file by name, the optional ones where it has them."""
    if not path.is_file():
        raise InputError(
            "a file of the benchmark data is missing",
            where=path,
            value="no such file",
            allowed="a folder with one folder for each data set",
            fix="name it with --data",
        )
    known = pq.read_schema(path).names
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            "a file of the benchmark data lacks a column",
            where=path,
            value=missing[0],
            allowed=", ".join(known),
            fix="take the file as it was published",
        )
    table = pq.read_table(path, columns=[*names, *(name for name in optional if name in known)])
    return {name: table[name].combine_chunks() for name in table.column_names}


def _number_items(folder: Path, used: pa.Array, source: Source) -> Items:
    table = read_columns(folder / ITEMS, "item_id", *source.fields.values())
    listed = table["item_id"]
    found = pa.concat_arrays([used.cast(listed.type), listed]) if source.with_unseen_items else used.cast(listed.type)
    real = pc.unique(found)
    ids = pa.concat_arrays([pa.nulls(FIRST_ITEM, listed.type), real.take(pc.sort_indices(real))])
    columns = {name: table[column] for name, column in source.fields.items()}
    return Items(ids, make_catalogue(ids, listed, columns))


def _seconds(events: dict[str, pa.Array], source: Source) -> NDArray[np.int64]:
    if TIME not in source.order:
        return np.zeros(len(events["item_id"]), np.int64)
    seconds = pc.floor_temporal(events[TIME], unit="second").cast(pa.timestamp("s", tz="UTC"))
    return seconds.cast(pa.int64()).to_numpy()


def _is_test(events: dict[str, pa.Array]) -> NDArray[np.bool_]:
    if SPLIT not in events:
        return np.zeros(len(events["item_id"]), np.bool_)
    return pc.equal(events[SPLIT].cast(pa.string()), "test").to_numpy(zero_copy_only=False)
