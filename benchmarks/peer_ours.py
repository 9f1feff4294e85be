"""The side of this project in the SASRec comparison.

    python -m benchmarks.peer_ours JOB

JOB is the JSON of a ``PeerJob``. The model is fitted twice with the same seed, which gives the same weights: once
without lists, for the seconds of an epoch, and once with lists after every epoch.
"""

import json
import sys
import time
from typing import Any, Final

import numpy as np
import torch

from benchmarks.memory import peak_mib
from benchmarks.peer_job import LIST_LENGTH, NUM_RUNS, PARTS, RECOMMENDED, PeerJob
from benchmarks.peer_split import read_histories
from models.catalogue import Catalogue
from models.recommender import Validation
from models.sasrec import SasRec, SasRecConfig
from models.sequences import FIRST_ITEM, Sequences
from models.stages import StepRecord

SEEN_ARE_REMOVED: Final = {"exclude_seen": True}


class EpochClock:
    """Notes how long each epoch of a fit without validation part took.

    A fit records some steps within an epoch, too; the last record of an epoch is known when the next one begins.
    """

    def __init__(self, job: PeerJob) -> None:
        self._job = job
        self._last: StepRecord | None = None
        self._before = 0.0

    def __call__(self, record: StepRecord) -> None:
        """Take a record of the fit."""
        if self._last and record.epoch > self._last.epoch:
            self.end_epoch()
        self._last = record

    def end_epoch(self) -> None:
        """Note the epoch of the last record."""
        assert self._last, "an epoch has a record"
        self._job.note_epoch(self._last.epoch, self._last.seconds - self._before)
        self._before = self._last.seconds


def run(job: PeerJob, before_mib: float) -> dict[str, Any]:
    """Train, make lists after every epoch, recommend; the report has what is not kept epoch by epoch."""
    torch.set_num_threads(job.num_threads)
    train = read_histories(job.train)
    timed = time_epochs(job, train)
    cases = {part: read_histories(getattr(job, part)) for part in PARTS}
    model, losses = fit_with_lists(job, train, cases)
    if losses != timed:
        raise RuntimeError("the fit with validation part went otherwise than the timed one: their losses differ")
    allowed = np.arange(job.num_items) >= FIRST_ITEM
    seconds = []
    for _ in range(NUM_RUNS):
        started = time.perf_counter()
        model.topk(cases["test"], RECOMMENDED, allowed, **SEEN_ARE_REMOVED)
        seconds.append(time.perf_counter() - started)
    return {"recommend_s": seconds, "before_mib": before_mib, "peak_mib": peak_mib(), "versions": {}}


def time_epochs(job: PeerJob, train: Sequences) -> list[float]:
    """Fit without validation part; return the losses of the records."""
    clock = EpochClock(job)
    report = SasRec(_config(job), Catalogue(job.num_items)).fit(train, seed=job.seed, on_step=clock)
    clock.end_epoch()
    return [record.loss for record in report.records]


def fit_with_lists(job: PeerJob, train: Sequences, cases: dict[str, Sequences]) -> tuple[SasRec, list[float]]:
    """Fit again, with lists after every epoch; return the model and the losses of the records."""
    model = SasRec(_config(job), Catalogue(job.num_items))
    allowed = np.arange(job.num_items) >= FIRST_ITEM

    def save(record: StepRecord) -> None:
        if np.isnan(record.metric):
            return
        for part, histories in cases.items():
            lists, _ = model.rank(histories, LIST_LENGTH, allowed, **SEEN_ARE_REMOVED)
            job.save_lists(part, record.epoch, lists)

    # One case, to be told where an epoch ends; which epoch is the best is seen from the lists, over all cases.
    bell = Validation(cases["validation"].take(np.array([0])), cases["validation"].take(np.array([0])).tail(1))
    report = model.fit(train, bell, seed=job.seed, on_step=save)
    return model, [record.loss for record in report.records]


def _config(job: PeerJob) -> SasRecConfig:
    same = {name for name in SasRecConfig.model_fields if name in PeerJob.model_fields}
    return SasRecConfig(**job.model_dump(include=same), patience=job.num_epochs, device="cpu", loss="softmax")


if __name__ == "__main__":
    before = peak_mib()
    own = PeerJob.model_validate_json(sys.argv[1])
    own.report.write_text(json.dumps(run(own, before)))
