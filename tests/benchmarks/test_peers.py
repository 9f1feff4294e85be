import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.data_process import Ended
from benchmarks.peer_environment import is_complete
from benchmarks.peer_job import PeerJob
from benchmarks.protocols import Task, load_task
from benchmarks.results import Results
from tests.benchmarks.small_data import at, write_set

NAME = "movielens_1m"


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        folder=tmp_path / "measured", data=tmp_path, epochs=2, time_limit=10.0, threads=2, peer_python=None,
        tasks=[NAME], sides=["rectools", "ours"],
    )  # fmt: skip


@pytest.fixture
def task(tmp_path: Path) -> Task:
    rows = [(who, item, at(item), item) for who in ("ann", "bob") for item in range(5)]
    write_set(tmp_path, NAME, "user_id item_id timestamp seq", rows, item_id=range(5), category=["x"] * 5)
    return load_task(NAME, tmp_path)


def test_a_side_is_judged_by_the_lists_it_leaves(
    task: Task, arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item 5 is the target of both in validation, 6 in the test: second and first place for ann, nowhere for bob."""
    jobs: list[PeerJob] = []

    def run(module: str, job: dict[str, Any], *_: Any, **more: Any) -> Ended:
        jobs.append(PeerJob.model_validate(job))
        lists = np.zeros((2, 10), np.int32)
        lists[0, :2] = (6, 5)
        for epoch in (1, 2):
            jobs[-1].note_epoch(epoch, 1.5)
            for part in ("validation", "test")[: 3 - epoch]:  # ended before the test lists of the second epoch
                jobs[-1].save_lists(part, epoch, lists)
        return Ended("time limit", {}, 9.0, 123.0)

    monkeypatch.setattr(peers, "run_fresh", run)
    record = peers.measure(task, "ours_all_bf16", arguments)
    (epoch,) = record["epochs"]
    assert (epoch["epoch"], epoch["seconds"]) == (1, 1.5)
    assert epoch["validation_ndcg"] == pytest.approx(1 / np.log2(3) / 2)
    assert (epoch["validation_hit"], epoch["test_ndcg"], epoch["test_hit"]) == (0.5, 0.5, 0.5)
    assert (record["status"], record["peak_mib"], record["num_targets"], record["num_users"]) == (
        "time limit",
        123,
        4,
        2,
    )
    assert (jobs[0].train.name, jobs[0].precision, jobs[0].num_items) == ("train_all.parquet", "bfloat16", 7)


def test_an_environment_without_rectools_is_not_taken(arguments: argparse.Namespace, tmp_path: Path) -> None:
    assert not is_complete(tmp_path / "bin" / "python")
    arguments.peer_python = tmp_path / "python"
    arguments.peer_python.write_text("#!/bin/sh\nexit 1\n")
    os.chmod(arguments.peer_python, 0o755)
    with pytest.raises(SystemExit, match="has not all that RecTools needs"):
        peers._python(arguments)


def test_what_is_measured_is_not_measured_again(
    task: Task, arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments.folder.mkdir()
    results = Results.read(arguments.folder / "measured.json")
    empty = {"epochs": [], "num_epochs": 2, "peak_mib": 1.0, "num_targets": 4, "num_users": 2}
    results.add(f"{NAME}/rectools/2 epochs", {"status": "done", "message": "kept", **empty})
    measured: list[str] = []

    def measure(_: Task, side: str, __: argparse.Namespace) -> dict[str, Any]:
        measured.append(side)
        return {"status": "failed", "message": "ValueError", **empty}

    monkeypatch.setattr(peers, "measure", measure)
    options = ["--folder", str(arguments.folder), "--data", str(arguments.data), "--tasks", NAME, "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["peers", *options, "--sides", "rectools", "ours"])
    peers.main()
    assert measured == ["ours"]
    assert "**failed** ValueError" in capsys.readouterr().out
    assert json.loads(results.path.read_text())[f"{NAME}/ours/2 epochs"]["status"] == "failed"
