"""The side of RecTools in the SASRec comparison; runs in RecTools' own environment.

    python -m benchmarks.peer_rectools JOB

JOB is the JSON of a ``PeerJob``. RecTools fits in parts of one epoch, whose training a callback times: the preparation
of the data before each part does not count. What the job does not say is RecTools' default.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.memory import peak_mib
from benchmarks.peer_job import LIST_LENGTH, NUM_RUNS, PARTS, RECOMMENDED, PeerJob

PACKAGES: Final = ("rectools", "torch", "pytorch-lightning", "numpy", "pandas")
TRAINER_PRECISIONS: Final = {"float32": "32-true", "bfloat16": "bf16-mixed"}


class EpochClock(Callback):
    """Times the training of an epoch, from before its first batch to after its last."""

    started = seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.started


def trainer(precision: str) -> Trainer:
    """Make the trainer that RecTools itself makes, and give it a clock."""
    return Trainer(
        precision=TRAINER_PRECISIONS[precision],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        devices=1,
        accelerator="cpu",
        callbacks=[EpochClock()],
    )


def run(job: PeerJob, before_mib: float) -> dict[str, Any]:
    """Train, make lists after every epoch, recommend; the report has what is not kept epoch by epoch."""
    torch.set_num_threads(job.num_threads)
    seed_everything(job.seed, verbose=False)
    train, cases = read_dataset(job.train), {part: read_dataset(getattr(job, part)) for part in PARTS}
    model = SASRecModel(
        n_blocks=job.num_blocks,
        n_heads=job.num_heads,
        n_factors=job.dim,
        dropout_rate=job.dropout,
        session_max_len=job.length,
        loss="softmax",
        lr=job.learning_rate,
        batch_size=job.batch_size,
        epochs=job.num_epochs,
        get_trainer_func=trainer,
        get_trainer_func_kwargs={"precision": job.precision},
    )
    fit(model, train, cases, job)
    seconds = []
    for _ in range(NUM_RUNS):
        started = time.perf_counter()
        recommend(model, cases["test"], RECOMMENDED)
        seconds.append(time.perf_counter() - started)
    versions = {name: version(name) for name in PACKAGES}
    return {"recommend_s": seconds, "before_mib": before_mib, "peak_mib": peak_mib(), "versions": versions}


def read_dataset(path: Path) -> Dataset:
    """Read histories; the place in the history stands for the time, so that RecTools' sort keeps the order."""
    events = pd.read_parquet(path)
    times = pd.to_datetime(events["place"], unit="s")
    columns = {Columns.User: events["user"], Columns.Item: events["item"], Columns.Weight: 1.0, Columns.Datetime: times}
    return Dataset.construct(pd.DataFrame(columns))


def fit(model: SASRecModel, train: Dataset, cases: dict[str, Dataset], job: PeerJob) -> None:
    """Train epoch by epoch, as far as the time limit lets, with lists after each."""
    spent = 0.0
    for epoch in range(1, job.num_epochs + 1):
        model.fit_partial(train, min_epochs=1, max_epochs=1)
        (clock,) = [callback for callback in model.fit_trainer.callbacks if isinstance(callback, EpochClock)]
        spent += clock.seconds
        job.note_epoch(epoch, clock.seconds)
        for part, dataset in cases.items():
            job.save_lists(part, epoch, as_lists(recommend(model, dataset, LIST_LENGTH), dataset, LIST_LENGTH))
        if spent + spent / epoch > job.time_limit_s:
            return


def recommend(model: SASRecModel, dataset: Dataset, k: int) -> pd.DataFrame:
    """Recommend to all users of a dataset, without what they have had."""
    users = dataset.user_id_map.external_ids
    return model.recommend(users=users, dataset=dataset, k=k, filter_viewed=True, on_unsupported_targets="ignore")


def as_lists(recommended: pd.DataFrame, dataset: Dataset, k: int) -> NDArray[np.int32]:
    """Return the lists by number of user, int32[C, k], 0 where no item stands."""
    lists = np.zeros((len(dataset.user_id_map.external_ids), k), np.int32)
    lists[recommended[Columns.User], recommended[Columns.Rank] - 1] = recommended[Columns.Item]
    return lists


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    before = peak_mib()
    own = PeerJob.model_validate_json(sys.argv[1])
    own.report.write_text(json.dumps(run(own, before)))
