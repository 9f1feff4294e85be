import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import models
from benchmarks.model_cells import Cell
from tests.benchmarks.small_data import at, write_set


def test_what_is_measured_stays_and_only_models_that_draw_run_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(who, item, at(item), item) for who in ("ann", "bob") for item in range(5)]
    write_set(tmp_path, "movielens_1m", "user_id item_id timestamp seq", rows, item_id=range(5), category=["x"] * 5)
    measured: list[tuple[str, str]] = []

    def run(job: list[str], **_: Any) -> None:
        model, seed, path = job[-3:]
        measured.append((model, seed))
        metrics = ("ndcg@10", "hit@10", "ndcg@20", "hit@20")
        numbers = {"fit_seconds": 1.0, "rank_seconds": 1.0, "epochs": 1.0, "coverage": 1.0, "peak_mib": 1.0}
        Cell(dict.fromkeys(metrics, np.array([0.25, 0.75])), numbers).save(Path(path))

    monkeypatch.setattr(subprocess, "run", run)
    options = ["--data", str(tmp_path), "--folder", str(tmp_path / "cells"), "--tasks", "movielens_1m"]
    monkeypatch.setattr(sys, "argv", ["models", *options, "--models", "popular", "sasrec", "--seeds", "4", "7"])
    models.main()
    assert measured == [("popular", "4"), ("sasrec", "4"), ("sasrec", "7")]
    first = capsys.readouterr().out
    assert "### movielens_1m, P2 (leave-one-out): 2 cases" in first
    assert "| sasrec | 2 | 0.5000 ± 0.0000 |" in first
    models.main()
    assert len(measured) == 3
    assert capsys.readouterr().out == first
