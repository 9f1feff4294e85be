import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import sparsity
from benchmarks.model_cells import Cell, cell_path
from benchmarks.model_settings import entrant
from benchmarks.sparsity_cells import changes, trained_as


def cell_of(form: str, seed: int) -> Cell:
    recall = np.array([0.2, 0.4]) * (0.5 if "static" in form else 1) + 0.01 * seed
    numbers = {
        "file_bytes": 2**20 * (0.25 if "static" in form else 1), "state_bytes": 2**22, "peak_mib": 512.0,
        "epoch_seconds": 3.25, "ever_live": 0.2 if "static" in form else 1.0, "correlation": float("nan"),
    }  # fmt: skip
    numbers |= {f"{kind}_{number}": number / 10 for kind in ("subjects", "items") for number in range(10)}
    return Cell({"recall@20": recall, "ndcg@20": recall / 2}, numbers)


def test_every_form_stands_beside_the_first_and_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[tuple[str, int]] = []

    def run(job: list[str], **_: Any) -> None:
        task, form, seed, folder = job[-4:]
        measured.append((form, int(seed)))
        for made in [form, *(changes(form) if form == "lightgcn" else ())]:
            cell_of(made, int(seed)).save(cell_path(Path(folder), task, made, int(seed)))

    monkeypatch.setattr(subprocess, "run", run)
    forms = ["lightgcn", "lightgcn_static", "lightgcn_int8"]
    options = ["--folder", str(tmp_path), "--forms", *forms, "--seeds", "0", "2"]
    monkeypatch.setattr(sys, "argv", ["sparsity", *options])
    sparsity.main()
    first = capsys.readouterr().out
    sparsity.main()
    assert capsys.readouterr().out == first
    assert measured == [(form, seed) for form in forms[:2] for seed in (0, 2)]
    rows = [line.strip("| ").split(" | ") for line in first.splitlines() if line.startswith("|")]
    dense, static = rows[2:4]
    assert dense[:5] == ["lightgcn", "2", "0.3100", "0.1550", "100.0%"]
    assert static[2:5] == ["0.1600", "0.0800", "51.6%"]
    assert static[6:12] == ["0.25", "0.250", "4.0", "512", "3.2", "0.20"]
    assert rows[7] == ["subjects: lightgcn", *(f"{number / 10:.3f}" for number in range(10))]


def test_every_form_is_known() -> None:
    trained = {trained_as(form) for form in sparsity.FORMS}
    assert set(changes("lightgcn")) | trained == set(sparsity.FORMS)
    assert len(trained) == 18
    assert len({repr(entrant("lightgcn_gowalla", form)[1]) for form in trained}) == 18
