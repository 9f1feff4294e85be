"""How the progress of a fit is told: a bar on a terminal, else a line in the log every few seconds."""

import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from models.stages import StepRecord

SECONDS_BETWEEN_LINES: Final = 3.0

_log = logging.getLogger("nightly.training")


@contextmanager
def progress_told(name: str, chain: str, num_epochs: int) -> Iterator[Callable[[StepRecord], None]]:
    """Give what takes the records of one fit. ``num_epochs``: how many it has at most; it may stop early."""
    if not sys.stdout.isatty():
        yield lines(name)
        return
    columns = (
        TextColumn("    {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(), transient=True) as bar:
        task = bar.add_task(f"{name}, {chain}", total=num_epochs, told="")

        def advance(record: StepRecord) -> None:
            if not math.isnan(record.loss):
                bar.update(task, completed=record.epoch, told=_words(record))

        yield advance


def lines(name: str) -> Callable[[StepRecord], None]:
    """Return what logs a record, if the last was logged some seconds ago."""
    told = 0.0

    def log(record: StepRecord) -> None:
        nonlocal told
        if record.seconds - told < SECONDS_BETWEEN_LINES or math.isnan(record.loss):
            return
        told = record.seconds
        _log.info("    %s: %s, %.0f s", name, _words(record), record.seconds)

    return log


def _words(record: StepRecord) -> str:
    metric = "" if math.isnan(record.metric) else f", NDCG@10 {record.metric:.4f}"
    return f"epoch {record.epoch}, loss {record.loss:.4f}{metric}"
