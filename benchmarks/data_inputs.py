"""What a peer gets to compute a kernel: the published inputs as files, the settings, and a folder for the result."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Self

from benchmarks.data_shop import Workload, published
from pipelines.settings import Settings

READS: Final[dict[str, tuple[str, ...]]] = {
    "ingest": (),
    "sessions": ("interactions",),
    "item_frequency": ("sessions",),
    "interval_uniformity": ("sessions",),
    "metadata_vocabulary": ("items",),
    "training_sequences": ("sessions", "metadata_vocabulary"),
    "item_neighbours": ("sessions", "item_frequency"),
}
"""The published tables from which each kernel is computed; ``ingest`` reads logs and catalogues."""


@dataclass(frozen=True)
class Inputs:
    """Files of a history that ends with ``days[-1]``. The shop's logs are JSON lines, and all event types teach."""

    settings: Settings
    days: tuple[date, ...]
    logs: dict[date, Path]
    catalogues: dict[date, Path]
    paths: dict[str, list[str]]
    output: Path

    @classmethod
    def of(cls, workload: Workload, kernel: str, num_days: int, output: Path) -> Self:
        """The inputs of a kernel over a history."""
        days, store = workload.days(num_days), workload.store(num_days)
        return cls(
            workload.settings(),
            tuple(days),
            {day: workload.raw_file("events", day) for day in days},
            {day: workload.raw_file("catalogue", day) for day in days},
            {table: published(store, table) for table in READS[kernel]},
            output,
        )

    @property
    def last(self) -> date:
        """The night."""
        return self.days[-1]

    @property
    def window_first(self) -> date:
        """First day that counts for item neighbours."""
        return self.last - timedelta(days=self.settings.statistics.neighbour_days - 1)

    def name_of(self, path: Path) -> str:
        """Name of a log, as the tables have it."""
        return path.relative_to(self.settings.folder).as_posix()

    def file(self, table: str, name: str = "all") -> Path:
        """Where to write a file of a table."""
        folder = self.output / table
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.parquet"
