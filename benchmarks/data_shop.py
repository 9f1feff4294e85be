"""What ``benchmarks.data`` measures on: the logs of a sample shop, and stores that hold the tables made of them.

A folder has ``shop/`` with the logs and catalogues of all days, and for each length of history ``store-00010/``, whose
tables the real stages built in one backfill. Both are made once. A measurement works in a clone of a store: the same
files under hard links, and a manifest of its own.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from pipelines.contracts import CONTRACTS
from pipelines.ingest import LOG_SLICE
from pipelines.log_stages import build_interactions, build_items, build_sessions
from pipelines.night import Night
from pipelines.sample_shop import SampleShop, write_day, write_shop
from pipelines.sample_shop_files import path_of
from pipelines.settings import Settings
from pipelines.statistics_stages import (
    build_interval_uniformity,
    build_item_frequency,
    build_item_neighbours,
    build_metadata_vocabulary,
    build_training_sequences,
)
from pipelines.store import Part, Store, Write

Build = Callable[[Night], list[Write]]
Engine = Literal["local", "beam"]

STAGES: Final[dict[str, Build]] = {
    "interactions": build_interactions,
    "items": build_items,
    "sessions": build_sessions,
    "item_frequency": build_item_frequency,
    "interval_uniformity": build_interval_uniformity,
    "item_neighbours": build_item_neighbours,
    "metadata_vocabulary": build_metadata_vocabulary,
    "training_sequences": build_training_sequences,
}
"""The data stages of a night, in order."""

KERNELS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "ingest": ("interactions", ("interactions", "quarantine", "item_observations", "source_files")),
    "sessions": ("sessions", ("sessions",)),
    "item_frequency": ("item_frequency", ("item_frequency", "item_users")),
    "interval_uniformity": ("interval_uniformity", ("interval_uniformity",)),
    "metadata_vocabulary": ("metadata_vocabulary", ("metadata_vocabulary",)),
    "training_sequences": ("training_sequences", ("training_sequences",)),
    "item_neighbours": ("item_neighbours", ("item_neighbours",)),
}
"""What is measured over all of history: the stage that makes it, and its tables."""


@dataclass(frozen=True)
class Workload:
    """A sample shop and the folder of its logs and stores; a history of D days is its first D days.

    ``buckets`` are Beam's.
    """

    folder: Path
    shop: SampleShop
    buckets: int = 16

    def settings(self, engine: Engine = "local", beam: dict[str, Any] | None = None) -> Settings:
        """Settings as in ``configs/sample_shop.toml``; a Beam worker has 256 MB, of which a machine has several."""
        memory_limit = "2GB" if engine == "local" else "256MB"
        return Settings.model_validate(
            _SETTINGS
            | {
                "folder": self.folder / "shop",
                "nights": {"first": self.shop.first_day},
                "engine": engine,
                "beam": {"buckets": self.buckets, **(beam or {"options": {"direct_num_workers": 1}})},
                "store": {"memory_limit": memory_limit, "threads": 2},
            }
        )

    def days(self, num_days: int) -> list[date]:
        """The days of a history."""
        return [self.shop.first_day + timedelta(days=n) for n in range(num_days)]

    def raw_file(self, kind: str, day: date) -> Path:
        """Where the ``events`` or the ``catalogue`` of a day lie."""
        return path_of(self.shop, self.folder / "shop", kind, day)

    def night(self, store: Store, settings: Settings, num_days: int, run_id: str = "measured") -> Night:
        """The backfill of a history. Two runs with one id would write over each other's files, also in clones."""
        first, *_, last = [*self.days(num_days)[:1], *self.days(num_days)]
        return Night(settings, store, first, last, run_id, store.version())

    def prepare(self, num_days: int, say: Callable[[str], None] = print) -> None:
        """Write the logs of a history and of the day after it, and build its store, unless they are there."""
        self._write_logs(num_days + 1, say)
        if self._root(num_days).exists():
            return
        partial = self.folder / f"partial-{num_days:05}"
        shutil.rmtree(partial, ignore_errors=True)
        store = Store(partial)
        for name, build in STAGES.items():
            say(f"{num_days} days: {name}")
            store.publish(build(self.night(store, self.settings(), num_days, "prepared")))
        shutil.rmtree(store.scratch, ignore_errors=True)
        partial.rename(self._root(num_days))

    def _write_logs(self, num_days: int, say: Callable[[str], None]) -> None:
        missing = [day for day in self.days(num_days) if not self.raw_file("events", day).exists()]
        if len(missing) == num_days:
            say(f"logs of {num_days} days")
            write_shop(self.shop.model_copy(update={"num_days": num_days}), self.folder / "shop")
            return
        for day in missing:
            say(f"log of {day}")
            write_day(self.shop, self.folder / "shop", day)

    def _root(self, num_days: int) -> Path:
        return self.folder / f"store-{num_days:05}"

    def store(self, num_days: int) -> Store:
        """The store of a history; nobody writes to it."""
        return Store(self._root(num_days))

    def clone(self, num_days: int, root: Path, without: Sequence[str] = ()) -> Store:
        """A store at ``root``, on the same disk, with the same tables, but for those that it is ``without``."""
        shutil.copytree(self._root(num_days), root, copy_function=os.link)
        store = Store(root)
        if without:
            store.publish([Write(table, ()) for table in without])
        return store


def published(store: Store, table: str) -> list[str]:
    """Paths of a table's files: of ``quarantine`` what the logs brought, not the catalogue; of snapshots the newest."""
    parts = store.parts(table, slices=[LOG_SLICE] if table == "quarantine" else ())
    return store.paths(newest(table, parts))


def newest(table: str, parts: Sequence[Part]) -> list[Part]:
    """The parts of the newest snapshot, or all if the table has none: the engine keeps some of the nights before."""
    last = max((part.partition for part in parts), default="")
    return [part for part in parts if part.partition == last or not CONTRACTS[table].snapshot]


_SETTINGS: Final[dict[str, Any]] = {
    "events": {
        "path": "logs/events-{day}.jsonl",
        "format": "json",
        "columns": {"user": "user", "session": "session", "item": "item", "time": "time", "event_type": "event"},
        "identical_rows": "quarantine",
        "event_types": [
            {"name": "view", "weight": 1},
            {"name": "cart", "weight": 2},
            {"name": "purchase", "weight": 3},
        ],
    },
    "catalogue": {
        "path": "catalogue/catalogue-{day}.jsonl",
        "format": "json",
        "columns": {
            "id": "id",
            "title": "title",
            "description": "description",
            "category": "category",
            "brand": "brand",
            "price": "price",
            "attributes": {"colour": "attributes.colour", "material": "attributes.material"},
        },
    },
    "training": {"models": {"popular": "tiny"}},
    "recommendations": {"serve": "popular"},
}
