"""How a fit goes on: stage after stage, each reporting its steps, and each able to go on where it was interrupted.

A model with gradient has a `models.training.Training` for every stage; one that passes over the data once has a `Pass`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class StepRecord:
    """Progress of a fit: a mean loss, the validation NDCG@10 (NaN when none), seconds so far.

    The last record of an epoch speaks of the whole epoch, the others of the steps since the one before.
    """

    stage: str
    step: int
    epoch: int
    loss: float
    metric: float
    seconds: float


def ignore(record: StepRecord) -> None:
    """Take a progress record and do nothing with it."""


@dataclass(frozen=True)
class Run:
    """How a fit is done, beside what it learns.

    key: what tells this fit from every other one, or an interrupted one would be resumed with other data. folder: where
    a stage keeps what it needs to be resumed; None: it starts anew after an interruption.
    """

    seed: int
    key: str
    on_step: Callable[[StepRecord], None] = ignore
    folder: Path | None = None

    def generator(self, stage: str, *numbers: int) -> np.random.Generator:
        """Random numbers of one step or epoch of a stage, the same however the fit came there."""
        return np.random.default_rng([self.seed, *stage.encode(), *numbers])


@dataclass(frozen=True)
class StageReport:
    """How a stage went; ``best_epoch`` is the one whose weights were kept."""

    records: tuple[StepRecord, ...]
    best_epoch: int


class Stage(Protocol):
    """A part of a fit that is done as a whole, by name."""

    @property
    def name(self) -> str:
        """Its name in records."""

    def run(self, run: Run) -> StageReport:
        """Do it, or the rest of it."""


@dataclass(frozen=True)
class Pass:
    """A stage that passes over the data once and has no loss. It is short, so it is not resumed but done again."""

    name: str
    work: Callable[[], object]

    def run(self, run: Run) -> StageReport:
        """Do it."""
        started = time.perf_counter()
        self.work()
        seconds = time.perf_counter() - started
        record = StepRecord(self.name, step=1, epoch=1, loss=float("nan"), metric=float("nan"), seconds=seconds)
        run.on_step(record)
        return StageReport((record,), best_epoch=1)


BestEpochs = Mapping[str, int]
