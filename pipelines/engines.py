"""Which engine runs the kernels: DuckDB in this process, or Beam on whatever its runner is."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Protocol, TypeVar

from pipelines.kernel import Kernel, Relation
from pipelines.local_engine import LocalEngine, Output
from pipelines.settings import Settings, Storage
from pipelines.store import Store

T = TypeVar("T")


class Engine(Protocol):
    """Runs kernels, and functions of single days.

    ``max_events`` is how many events a stage should hand over at once, at most, where it can go on in chunks of days.
    """

    @property
    def max_events(self) -> int:
        """Events."""
        ...

    @property
    def storage(self) -> Storage:
        """Memory and threads of one call of a function by ``each``."""
        ...

    def run(self, kernel: Kernel, relations: Mapping[str, Relation], output: Output) -> list[tuple[date, str, Path]]:
        """Run a kernel; return day, slice and path of the files it wrote."""
        ...

    def each(self, function: Callable[[date, str], T], days: Sequence[date], run_id: str) -> list[T]:
        """Call a function with each day and the id of the run folder it may write to; return the results in order."""
        ...


def open_engine(settings: Settings, store: Store) -> Engine:
    """The engine of the settings."""
    if settings.engine == "beam":
        from pipelines.beam_engine import BeamEngine  # Beam takes a second to import

        return BeamEngine(settings, store)
    return LocalEngine(settings.store, store)
