"""Statistics of a training part, by the kernels that make the pipeline's tables: what UniRec learns from.

Only the sequences that are given are read, so no later event can have an influence.
"""

import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    last = datetime.fromtimestamp(int(train.times.max()), UTC).date()
    with tempfile.TemporaryDirectory() as folder:
        return _Tables(Path(folder), train, last).read(num_items, settings)


class _Tables:
    """The events of a training part in a folder, and the tables that the kernels make of them."""

    def __init__(self, folder: Path, train: Sequences, last: date) -> None:
        self._folder, self._last, self._num_subjects = folder, last, len(train)
        times = pa.array(train.times * 1_000_000).cast(pa.timestamp("us", "UTC"))
        users, items = (pa.array(numbers).cast(pa.string()) for numbers in (train.rows, train.items))
        kind = pa.repeat("user", len(users))
        columns = {"user_id": users, "subject_type": kind, "subject_id": users, "item_id": items, "event_time": times}
        pq.write_table(pa.table(columns), folder / "events.parquet")

    def read(self, num_items: int, settings: StatisticsSettings) -> Statistics:
        everything = settings.model_copy(update={"neighbour_days": ALL_DAYS})
        events = self._events("*")
        distinct = self._events("distinct item_id, user_id")
        frequency = self._run(
            item_frequency_kernel(settings, self._last),
            events=events,
            session_items=distinct,
            new_item_users=distinct,
            former_item_frequency=Relation("item_frequency", ()),
        )
        uniformity = self._run(
            interval_uniformity_kernel(settings, "UTC", self._last),
            events=events,
            former_interval_uniformity=Relation("interval_uniformity", ()),
        )
        neighbours = self._run(
            item_neighbours_kernel(everything, self._last),
            events=events,
            item_frequency=Relation("item_frequency", (str(frequency),)),
        )
        of_items = _columns(frequency, "item_id::int as item, is_frequent, gap_variance_s2")
        of_users = _columns(uniformity, "user_id::int as user, is_uniform, uniformity_rank is not null as is_ranked")
        of_pairs = _columns(neighbours, "item_id::int as item, rank, neighbour_id::int as neighbour")
        is_frequent = np.zeros(num_items, bool)
        gap_variance = np.full(num_items, np.nan)
        is_frequent[of_items["item"]] = of_items["is_frequent"]
        gap_variance[of_items["item"]] = np.ma.filled(of_items["gap_variance_s2"], np.nan)
        near = np.full((num_items, settings.num_neighbours), PADDING, np.int32)
        near[of_pairs["item"], of_pairs["rank"] - 1] = of_pairs["neighbour"]
        is_uniform, is_uneven = np.zeros((2, self._num_subjects), bool)
        is_uniform[of_users["user"]] = of_users["is_uniform"]
        is_uneven[of_users["user"]] = of_users["is_ranked"] & ~of_users["is_uniform"]
        return Statistics(self._last, is_frequent, gap_variance, near, is_uniform, is_uneven)

    def _events(self, columns: str) -> Relation:
        return Relation("", (str(self._folder / "events.parquet"),), f"select {columns} from files")

    def _run(self, kernel: Kernel, **relations: Relation) -> Path:
        engine = LocalEngine(Storage(), Store(self._folder))
        ((_, _, path),) = engine.run(kernel, relations, Output(self._folder, {self._last: kernel.table}))
        return path


def _columns(path: Path, columns: str) -> dict[str, np.ndarray]:
    with duckdb.connect() as con:
        return con.sql(f"select {columns} from {quote_path(str(path))}").fetchnumpy()
