"""What a data set's ``items.parquet`` says of its items, as the catalogue that models see."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.catalogue import FIRST_VALUE, Catalogue, Values

NO_WORD: Final = r"[^\p{L}\p{N}]+"
MIN_WORD_ITEMS: Final = 2  # a word of one title says nothing of another item
WORDS: Final = "title"  # the field that is cut into words, as in the pipeline's vocabulary


def make_catalogue(ids: pa.Array, listed: pa.Array, columns: Mapping[str, pa.Array]) -> Catalogue:
    """Return what is known of the items ``ids[n]``, given their ids in the file and a column for each field.

    A time is a quantity, in seconds; every other field holds values, several where the column is of lists.
    """
    row = pc.index_in(ids, value_set=listed, skip_nulls=True)
    fields, quantities = {}, {}
    for name, column in columns.items():
        of_item = column.take(row)
        if pa.types.is_timestamp(column.type):
            quantities[name] = _seconds(of_item)
        else:
            fields[name] = _values(_words(of_item) if name == WORDS else of_item)
    return Catalogue(len(ids), fields, quantities)


def _seconds(times: pa.Array) -> NDArray[np.float64]:
    seconds = pc.divide(
        times.cast(pa.int64()).cast(pa.float64()), {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.type.unit]
    )
    return pc.fill_null(seconds, np.nan).to_numpy()


def _words(titles: pa.Array) -> pa.Array:
    return pc.split_pattern_regex(pc.utf8_lower(titles), NO_WORD)


def _values(column: pa.Array) -> Values:
    """Number the values of each item, those of most items first."""
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    flat = column.flatten() if is_list else column.drop_null()
    item = pc.list_parent_indices(column) if is_list else pa.array(np.flatnonzero(column.is_valid().to_numpy(False)))
    table = pa.table({"item": item, "value": flat.cast(pa.string())}).group_by(["item", "value"]).aggregate([])
    table = table.filter(pc.not_equal(table["value"], ""))
    counted = table.group_by("value").aggregate([([], "count_all")])
    if is_list:
        counted = counted.filter(pc.greater_equal(counted["count_all"], MIN_WORD_ITEMS))
    names = counted.sort_by([("count_all", "descending"), ("value", "ascending")])["value"].combine_chunks()
    number = pc.index_in(table["value"].combine_chunks(), value_set=names)
    known = np.flatnonzero(number.is_valid().to_numpy(zero_copy_only=False))
    items, numbers = table["item"].to_numpy()[known], number.take(pa.array(known)).to_numpy() + FIRST_VALUE
    order = np.lexsort((numbers, items))
    offsets = np.searchsorted(items[order], np.arange(len(column) + 1))
    return Values(numbers[order].astype(np.int32), offsets.astype(np.int64), FIRST_VALUE + len(names))
