"""The catalogue of a night as models see it: the numbers of every item's values, as arrays on disk.

They are written once a night and mapped into memory by every model that knows items by their metadata, here and on the
machines that score. A title word or a value without a number of its own is left out: it says nothing yet.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from models.catalogue import Catalogue, Values
from pipelines.engine import create_views, quote, scan_parts
from pipelines.night import Night
from pipelines.training_arrays import written_once
from pipelines.vocabulary import ITEM_TOKENS

QUANTITIES: Final = {"price": "price", "first_seen": "epoch(first_seen) / 86400"}  # name: expression over `items`
INDEX_FILE: Final = "fields.json"


def catalogue_arrays(night: Night, vocabulary_hash: str, num_items: int) -> Path:
    """Return the folder of the arrays of this night's items, written now if need be."""
    parts = night.current("items")
    made_of = "\n".join([str(QUANTITIES), vocabulary_hash, str(num_items), *sorted(part.sha256 for part in parts)])
    key = hashlib.sha256(made_of.encode()).hexdigest()

    def write(folder: Path) -> None:
        with night.connect() as con:
            views = {"metadata_vocabulary": night.published("metadata_vocabulary")}
            create_views(con, views | {"files": scan_parts(night.store, "items", parts)})
            _write(con, folder, num_items)

    return written_once(night.store.scratch / "catalogue_arrays", key, write)


def read_catalogue(folder: Path | None, num_items: int) -> Catalogue:
    """Map the arrays of a folder into memory; without one, nothing is known but the number of items."""
    if folder is None:
        return Catalogue(num_items)
    fields = {}
    for number, about in enumerate(json.loads((folder / INDEX_FILE).read_text())):
        numbers, offsets = (_mapped(folder / f"{number}-{part}.npy") for part in ("numbers", "offsets"))
        fields[about["field"]] = Values(numbers, offsets, about["num_values"])
    return Catalogue(num_items, fields, {name: np.load(folder / f"{name}.npy") for name in QUANTITIES})


def _mapped(path: Path) -> NDArray[Any]:
    """Map an array into memory, writable by name alone: torch shares no memory that it may not write to."""
    array: NDArray[Any] = np.load(path, mmap_mode="c")
    return array


def _write(con: duckdb.DuckDBPyConnection, folder: Path, num_items: int) -> None:
    con.execute(f"""
        create temp table values as
        select named.number as item, carried.field, carried.number as value
        from ({ITEM_TOKENS}) as tokens
            join metadata_vocabulary as named on named.field = 'item' and named.token = tokens.item_id
            join metadata_vocabulary as carried on carried.field = tokens.field and carried.token = tokens.token
        where tokens.field <> 'item'
    """)
    fields = con.sql("""
        select field, max(number) + 1 from metadata_vocabulary where field <> 'item' group by field order by field
    """).fetchall()
    for number, (name, _) in enumerate(fields):
        rows = con.sql(f"select item, value from values where field = {quote(name)} order by item, value").fetchnumpy()
        counts = np.bincount(rows["item"], minlength=num_items)
        np.save(folder / f"{number}-numbers.npy", rows["value"].astype(np.int32))
        np.save(folder / f"{number}-offsets.npy", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    index = [{"field": name, "num_values": num_values} for name, num_values in fields]
    (folder / INDEX_FILE).write_text(json.dumps(index))
    for name, expression in QUANTITIES.items():
        rows = con.sql(f"""
            select number, {expression} as quantity from files
                join metadata_vocabulary on field = 'item' and token = item_id
            where {expression} is not null
        """).fetchnumpy()
        quantity = np.full(num_items, np.nan)
        quantity[rows["number"]] = rows["quantity"]
        np.save(folder / f"{name}.npy", quantity)
