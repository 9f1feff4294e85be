"""One night, or a range of days, as the stages see it: which parts there are, which are still good, how to write."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
from pydantic import BaseModel

from pipelines.contracts import CONTRACTS
from pipelines.engine import connect_to, describe_part, scan_table, write_part, write_rows
from pipelines.engines import Engine, open_engine
from pipelines.kernel import Kernel, Relation
from pipelines.local_engine import Output
from pipelines.settings import Settings
from pipelines.store import Part, Store, Write

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Night:
    """What a stage works on: the days ``first`` to ``day`` (equal but in a backfill), and the run that does it.

    ``seen`` is the version of the store when the stage began: who publishes the same parts in between comes first.
    """

    settings: Settings
    store: Store
    first: date
    day: date
    run_id: str
    seen: int = 0

    @property
    def days(self) -> list[date]:
        """Every day of it, in order."""
        return days_between(self.first, self.day)

    @property
    def engine(self) -> Engine:
        """What runs the kernels."""
        return open_engine(self.settings, self.store)

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB of the settings' size that spills into the store's scratch folder."""
        with connect_to(self.store, self.settings.store) as con:
            yield con

    def previous(self, table: str) -> list[Part]:
        """Parts of the newest snapshot of a table before this night; none in the first night."""
        before = self.store.parts(table, until=self.first - ONE_DAY)
        return [part for part in before if part.partition == before[-1].partition]

    def earlier(self, table: str, num_nights: int) -> list[Part]:
        """Parts of the newest nights before this one that have a row in a table."""
        before = [part for part in self.store.parts(table, until=self.first - ONE_DAY) if part.num_rows]
        newest = sorted({part.partition for part in before})[-num_nights:]
        return [part for part in before if part.partition in newest]

    def current(self, table: str) -> list[Part]:
        """Parts of the snapshot of this night."""
        return self.store.parts(table, since=self.day, until=self.day)

    def others(self, table: str) -> list[Part]:
        """Parts of all nights but this one, earlier and later."""
        return [part for part in self.store.parts(table) if part.partition != self.day.isoformat()]

    def relation(
        self, table: str, rows: str = "select * from files", *, since: date | None = None, until: date | None = None
    ) -> Relation:
        """The published partitions of a table in a range of days, as a kernel reads them."""
        return self.relation_of(table, self.store.parts(table, since=since, until=until), rows)

    def relation_of(self, table: str, parts: list[Part], rows: str = "select * from files") -> Relation:
        """Parts of a table, as a kernel reads them: for a store at a URL copies, which DuckDB reads much faster."""
        if not self.store.is_local:
            self.store.fetch_all(parts)
        return Relation(table, tuple(self.store.paths(parts)), rows)

    def run(
        self, kernel: Kernel, relations: Mapping[str, Relation], slices: Mapping[date, str] | None = None
    ) -> list[Part]:
        """Run a kernel and describe the files it wrote: one for each day, with its slice, or one for this night."""
        output = Output(self.store.run_folder(self.run_id, kernel.table), slices or {self.day: ""})
        return [
            describe_part(self.store, path, day, part_slice)
            for day, part_slice, path in self.engine.run(kernel, relations, output)
        ]

    def write(
        self, con: duckdb.DuckDBPyConnection, table: str, select: str, partition: date | None = None, slice_: str = ""
    ) -> Part:
        """Write one query as one part of a table into the run folder; the partition is this night if not said."""
        folder = self.store.run_folder(self.run_id, table)
        path = write_part(con, select, table, folder, partition or self.day, slice_)
        return describe_part(self.store, path, partition or self.day, slice_)

    def write_rows(self, table: str, rows: Sequence[Mapping[str, Any]], slice_: str) -> Part:
        """Write a few rows, given as dicts, as one part of a table of this night into the run folder."""
        path = write_rows(rows, table, self.store.run_folder(self.run_id, table), self.day, slice_)
        return describe_part(self.store, path, self.day, slice_)

    def snapshot(self, con: duckdb.DuckDBPyConnection, table: str, select: str) -> Write:
        """Write one query as the snapshot of a table for this night."""
        return replace_days(table, [self.write(con, table, select)], [self.day])

    def published(self, table: str) -> str:
        """SELECT of a table as published up to this night; a snapshot shows this night only."""
        since = self.day if CONTRACTS[table].snapshot else None
        return scan_table(self.store, table, since=since, until=self.day)


def days_between(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def replace_days(table: str, parts: list[Part], days: list[date]) -> Write:
    """New parts of a table in place of all that is published for these days."""
    return Write(table, tuple(parts), frozenset(day.isoformat() for day in days))


def rules_hash(*rules: BaseModel | str) -> str:
    """Eight hex digits of the settings that shape a table.

    They are the slice of its parts: so a part that other settings shaped is known, and made anew.
    """
    text = "\n".join(rule if isinstance(rule, str) else rule.model_dump_json() for rule in rules)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
