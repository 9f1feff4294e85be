"""Statistics of a training part, by the kernels that make the pipeline's tables: what UniRec learns from.

Only the sequences that are given are read, so no later event can have an influence.
"""

import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.sequences import PADDING, Sequences
from models.statistics import Statistics
from pipelines.engine import quote_path
from pipelines.kernel import Kernel, Relation
from pipelines.local_engine import LocalEngine, Output
from pipelines.neighbours import item_neighbours_kernel
from pipelines.settings import Statistics as StatisticsSettings
from pipelines.settings import Storage
from pipelines.statistics import interval_uniformity_kernel, item_frequency_kernel
from pipelines.store import Store

ALL_DAYS: Final = 20_000
"""Days of the window in which items are neighbours: all of history."""


def statistics_of(train: Sequences, num_items: int, settings: StatisticsSettings) -> Statistics:
    """Measure the items and subjects of a training part as of the day of its last event; neighbours over all of it."""
    settings = settings.model_copy(update={"neighbour_days": ALL_DAYS})
    last = datetime.fromtimestamp(int(train.times.max()), UTC).date()
    with tempfile.TemporaryDirectory() as folder:
        tables = _Tables.of(train, last, settings, Path(folder))
        is_uniform, is_uneven = tables.subjects(len(train))
        return Statistics(last, *tables.items(num_items), is_uniform, is_uneven)


@dataclass(frozen=True)
class _Tables:
    """The files of the three tables; ids are numbers, as text."""

    frequency: Path
    uniformity: Path
    neighbours: Path

    @classmethod
    def of(cls, train: Sequences, last: date, settings: StatisticsSettings, folder: Path) -> "_Tables":
        """Run the kernels on the events of a training part."""
        path = folder / "events.parquet"
        pq.write_table(_events(train), path)
        events = Relation("", (str(path),))
        distinct = Relation("", (str(path),), "select distinct item_id, user_id from files")
        frequency = _run(
            item_frequency_kernel(settings, last),
            last,
            folder,
            events=events,
            session_items=distinct,
            new_item_users=distinct,
            former_item_frequency=Relation("item_frequency", ()),
        )
        former = Relation("interval_uniformity", ())
        kernel = interval_uniformity_kernel(settings, "UTC", last)
        uniformity = _run(kernel, last, folder, events=events, former_interval_uniformity=former)
        counted = Relation("item_frequency", (str(frequency),))
        kernel = item_neighbours_kernel(settings, last)
        return cls(frequency, uniformity, _run(kernel, last, folder, events=events, item_frequency=counted))

    def items(self, num_items: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int32]]:
        """Return which items are frequent, the variance of their gaps, and their neighbours."""
        is_frequent, gap_variance = np.zeros(num_items, np.bool_), np.full(num_items, np.nan)
        rows = _read(self.frequency, "item_id::int as item, is_frequent, gap_variance_s2 as variance")
        is_frequent[rows["item"]] = rows["is_frequent"]
        gap_variance[rows["item"]] = np.ma.filled(rows["variance"], np.nan)
        rows = _read(self.neighbours, "item_id::int as item, rank - 1 as place, neighbour_id::int as neighbour")
        neighbours = np.full((num_items, rows["place"].max(initial=0) + 1), PADDING, np.int32)
        neighbours[rows["item"], rows["place"]] = rows["neighbour"]
        return is_frequent, gap_variance, neighbours

    def subjects(self, num_subjects: int) -> NDArray[np.bool_]:
        """Return which subjects are uniform and which uneven, bool[2, num_subjects]."""
        rows = _read(self.uniformity, "user_id::int as subject, is_uniform, uniformity_rank is not null as is_ranked")
        kinds = np.zeros((2, num_subjects), np.bool_)
        kinds[:, rows["subject"]] = rows["is_uniform"], rows["is_ranked"] & ~rows["is_uniform"]
        return kinds


def _events(train: Sequences) -> pa.Table:
    subjects, items = (pa.array(numbers).cast(pa.string()) for numbers in (train.rows, train.items))
    times = pa.array(train.times * 1_000_000).cast(pa.timestamp("us", "UTC"))
    kind = pa.repeat("user", len(subjects))
    return pa.table(
        {"user_id": subjects, "subject_type": kind, "subject_id": subjects, "item_id": items, "event_time": times}
    )


def _run(kernel: Kernel, last: date, folder: Path, **relations: Relation) -> Path:
    engine = LocalEngine(Storage(), Store(folder))
    ((_, _, path),) = engine.run(kernel, relations, Output(folder, {last: kernel.table}))
    return path


def _read(path: Path, columns: str) -> dict[str, NDArray[Any]]:
    with duckdb.connect() as con:
        return con.sql(f"select {columns} from read_parquet({quote_path(str(path))})").fetchnumpy()
