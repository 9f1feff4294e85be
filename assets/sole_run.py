"""One run of the command line at a time, and order after one that was killed."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import dagster as dg

from pipelines.errors import InputError

FROM_COMMAND_LINE: Final = {"nightly/from": "command line"}


@contextmanager
def sole_run(work_folder: Path) -> Iterator[None]:
    """Hold the right to run nights of a store from the command line; ``InputError`` if another process holds it."""
    try:
        work_folder.mkdir(parents=True, exist_ok=True)
        lock = (work_folder / ".run.lock").open("w")
    except OSError as error:
        raise InputError(
            "the store cannot be written",
            where=work_folder,
            value=error,
            allowed="a folder, or a path where one can be made",
            fix="change store.root in the settings, or the rights of the folder",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                "another run is at work on this store",
                where=work_folder,
                value="locked",
                allowed="one run at a time",
                fix="wait until it has ended, then run again",
            ) from error
        yield


def close_orphans(instance: dg.DagsterInstance) -> None:
    """Mark runs of the command line that were killed as failed: Dagster would count them as running for ever.

    The caller holds ``sole_run``, so no such run is alive.
    """
    alive = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    for run in instance.get_runs(dg.RunsFilter(tags=FROM_COMMAND_LINE, statuses=alive)):
        instance.report_run_failed(run, "the process was killed before the run had ended")
