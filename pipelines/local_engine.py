"""The local engine: every kernel over its whole input, in one DuckDB, within the memory limit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

import duckdb

from pipelines.contracts import CONTRACTS
from pipelines.engine import connect_to, identifier, quote, write_part
from pipelines.kernel import Fold, Kernel, Relation, Step, load_fold, name_relations, run_fold, store_step
from pipelines.part_writer import write_days
from pipelines.settings import Storage
from pipelines.store import Store

T = TypeVar("T")


@dataclass(frozen=True)
class Output:
    """Where the result of a kernel goes: one file in ``folder`` for each day, by the table's partition column.

    ``slices`` has the days, each with the slice of its file, which is a part of the file's name.
    """

    folder: Path
    slices: Mapping[date, str]


@dataclass(frozen=True)
class LocalEngine:
    """DuckDB in this process. A range is worked off in chunks of days of about ``max_events`` events."""

    storage: Storage
    store: Store
    max_events: int = 2_500_000

    def run(self, kernel: Kernel, relations: Mapping[str, Relation], output: Output) -> list[tuple[date, str, Path]]:
        """Run a kernel; return day, slice and path of each file."""
        with connect_to(self.store, self.storage) as con:
            name_relations(con, relations)
            for step in kernel.steps[:-1]:
                store_step(con, step)
            last = kernel.steps[-1]
            written = write_result(con, last, kernel.table, output, load_fold(last))
        return [(day, output.slices[day], path) for day, path in written.items()]

    def each(self, function: Callable[[date, str], T], days: Sequence[date], run_id: str) -> list[T]:
        """Call a function with each day and the id of the run; return the results in order."""
        return [function(day, run_id) for day in days]


def write_result(
    con: duckdb.DuckDBPyConnection, step: Step, table: str, output: Output, fold: Fold | None
) -> dict[date, Path]:
    """Run the last step of a kernel, with its fold if it has one, and write its rows by day."""
    if fold is not None:
        return write_days(run_fold(con, step, fold), table, output.folder, output.slices)
    if len(output.slices) == 1:
        ((day, slice_),) = output.slices.items()
        return {day: write_part(con, step.sql, table, output.folder, day, slice_)}
    store_step(con, step)
    column, result = identifier(CONTRACTS[table].partition), identifier(step.name)
    return {
        day: write_part(con, f"from {result} where {column} = {quote(day)}::date", table, output.folder, day, slice_)
        for day, slice_ in output.slices.items()
    }
