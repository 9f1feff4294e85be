from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.peer_job import LIST_LENGTH, PeerJob, lists_path, read_epochs
from benchmarks.peer_ours import EpochClock, run
from benchmarks.peer_split import write_histories
from models.stages import StepRecord
from tests.pipelines.small_sequences import make

HISTORIES = make(*[[2 + (start + place) % 20 for place in range(8)] for start in range(40)])


@pytest.fixture
def job(tmp_path: Path) -> PeerJob:
    files: dict[str, Any] = {name: tmp_path / f"{name}.parquet" for name in ("train", "validation", "test")}
    for path in files.values():
        write_histories(HISTORIES, path)
    return PeerJob(
        folder=tmp_path, num_items=22, num_epochs=3, time_limit_s=1, dim=8, length=5, batch_size=16,
        num_threads=torch.get_num_threads(), learning_rate=0.02, **files,
    )  # fmt: skip


def test_a_side_leaves_seconds_and_lists_of_every_epoch(job: PeerJob) -> None:
    report = run(job, 1.0)
    epochs = read_epochs(job.folder)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert all(epoch["seconds"] > 0 for epoch in epochs)
    assert len(report["recommend_s"]) == 3
    assert report["peak_mib"] >= epochs[-1]["peak_mib"]
    first, last = (np.load(lists_path(job.folder, "test", epoch)) for epoch in (1, 3))
    assert last.shape == (len(HISTORIES), LIST_LENGTH)
    assert not np.array_equal(first, last)
    assert not (last[:, :, None] == HISTORIES.right_padded(8)[:, None]).any()


def test_an_epoch_lasts_from_the_last_record_of_one_to_that_of_the_next(job: PeerJob) -> None:
    clock = EpochClock(job)
    for epoch, seconds in ((1, 2.0), (1, 3.0), (2, 5.0), (2, 7.5)):
        clock(StepRecord("fit", step=1, epoch=epoch, loss=1.0, metric=float("nan"), seconds=seconds))
    clock.end_epoch()
    assert [(line["epoch"], line["seconds"]) for line in read_epochs(job.folder)] == [(1, 3.0), (2, 4.5)]
