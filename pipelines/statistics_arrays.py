"""The statistics of a chain as its models see them: by item number and by subject, as arrays on disk.

A chain learns up to some day, and its statistics are as of that day: the newest day of the training part for the
evaluation, the night itself for serving. So each has its own, and arrays, or rows, of another day are refused.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from models.sequences import PADDING
from models.statistics import Statistics
from pipelines.engine import create_views, quote, quote_path, scan_parts
from pipelines.errors import InputError
from pipelines.night import Night
from pipelines.statistics_stages import parts_as_of, uniformity_as_of
from pipelines.store import Part
from pipelines.training_arrays import USERS_FILE, written_once
from pipelines.training_data import Vocabulary

ARRAYS: Final = ("is_frequent", "gap_variance", "neighbours", "is_uniform", "is_uneven")
DAY_FILE: Final = "as_of.txt"


@dataclass(frozen=True)
class Uniformity:
    """Which of the S subjects of the training arrays come in even or uneven intervals: bool[S] each.

    Users with too few gaps, and anonymous sessions, do neither.
    """

    is_uniform: NDArray[np.bool_]
    is_uneven: NDArray[np.bool_]


def statistics_arrays(night: Night, chain: str, day: date, vocabulary: Vocabulary, training: Path) -> Path:
    """Return the folder of the statistics of a chain as of a day, written now if need be.

    training: folder of the night's training arrays, whose subjects they are of. Raises ``InputError`` where a table has
    rows as of another day.
    """
    tables = parts_as_of(night, day)
    num_neighbours = night.settings.statistics.num_neighbours
    hashes = [f"{table} {part.sha256}" for table, parts in tables.items() for part in parts]
    made_of = [day.isoformat(), vocabulary.content_hash, str(vocabulary.num_items), str(num_neighbours), training.name]
    key = hashlib.sha256("\n".join([*made_of, *hashes]).encode()).hexdigest()

    def write(folder: Path) -> None:
        with night.connect() as con:
            create_views(con, {"metadata_vocabulary": night.published("metadata_vocabulary")})
            _name_tables(con, night, day, tables)
            _write_items(con, folder, vocabulary.num_items, num_neighbours)
            uniformity = _uniformity(con, training)
        np.save(folder / "is_uniform.npy", uniformity.is_uniform)
        np.save(folder / "is_uneven.npy", uniformity.is_uneven)
        (folder / DAY_FILE).write_text(day.isoformat())

    return written_once(night.store.scratch / "statistics_arrays" / chain, key, write)


def read_statistics(folder: Path, as_of: date) -> Statistics:
    """Map the statistics of a folder into memory; ValueError if they are not as of this day."""
    found = (folder / DAY_FILE).read_text()
    if found != as_of.isoformat():
        raise ValueError(f"the statistics in {folder} are as of {found}; what learns up to {as_of} needs those of it")
    return Statistics(as_of, **{name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS})


def uniformity_of(night: Night, day: date, training: Path) -> Uniformity:
    """Return how evenly the subjects of the night's training arrays came, as of a day.

    training: folder of these arrays. Raises ``InputError`` where the table has rows as of another day.
    """
    parts = uniformity_as_of(night, day)
    with night.connect() as con:
        _name_tables(con, night, day, {"interval_uniformity": parts})
        return _uniformity(con, training)


def _name_tables(con: duckdb.DuckDBPyConnection, night: Night, day: date, tables: dict[str, list[Part]]) -> None:
    """Create a view of each table, all of whose rows are as of the day."""
    create_views(con, {table: scan_parts(night.store, table, parts) for table, parts in tables.items()})
    for table, parts in tables.items():
        others = con.sql(f"select as_of_date from {table} where as_of_date <> {quote(day)}::date limit 1").fetchall()
        if others:
            raise InputError(
                f"{table} is not of the day up to which a chain learns",
                where=", ".join(night.store.paths(parts)),
                value=f"a row as of {others[0][0]}",
                allowed=f"rows as of {day}, and no other",
                fix=f"let the night {day} make {table} again",
            )


def _write_items(con: duckdb.DuckDBPyConnection, folder: Path, num_items: int, num_neighbours: int) -> None:
    """Write what is known of each item; what no event was counted of is neither frequent nor has it a variance."""
    con.execute("""
        create temp table numbered as select token as item_id, number from metadata_vocabulary where field = 'item'
    """)
    rows = con.sql("""
        select number, is_frequent, coalesce(gap_variance_s2, 'nan'::double) as gap_variance
        from item_frequency join numbered using (item_id)
    """).fetchnumpy()
    is_frequent, gap_variance = np.zeros(num_items, bool), np.full(num_items, np.nan)
    is_frequent[rows["number"]], gap_variance[rows["number"]] = rows["is_frequent"], rows["gap_variance"]
    rows = con.sql("""
        select own.number as item, row_number() over (partition by own.number order by rank) - 1 as place,
            other.number as neighbour
        from item_neighbours join numbered as own using (item_id)
            join numbered as other on other.item_id = neighbour_id
    """).fetchnumpy()
    neighbours = np.full((num_items, num_neighbours), PADDING, np.int32)
    neighbours[rows["item"], rows["place"]] = rows["neighbour"]
    for name, array in (("is_frequent", is_frequent), ("gap_variance", gap_variance), ("neighbours", neighbours)):
        np.save(folder / f"{name}.npy", array)


def _uniformity(con: duckdb.DuckDBPyConnection, training: Path) -> Uniformity:
    num_subjects = len(np.load(training / "is_user.npy", mmap_mode="r"))
    rows = con.sql(f"""
        select place, is_uniform from read_parquet({quote_path(training / USERS_FILE)})
            join interval_uniformity using (user_id)
        where uniformity_rank is not null
    """).fetchnumpy()
    is_uniform, is_uneven = np.zeros(num_subjects, bool), np.zeros(num_subjects, bool)
    is_uniform[rows["place"]], is_uneven[rows["place"]] = rows["is_uniform"], ~rows["is_uniform"]
    return Uniformity(is_uniform, is_uneven)
