import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import model_cells
from benchmarks.model_cells import Cell, measure, rank_test
from benchmarks.protocols import load_task
from models.catalogue import Catalogue
from models.markov import Markov
from models.recommender import ModelConfig, Recommender
from models.registry import configure, model_class
from models.sasrec import SasRec
from models.sequences import Sequences
from tests.benchmarks.small_data import write, write_set


def write_sessions(data: Path) -> None:
    """1 -> 2 -> 3 ten times, the last one held out for selection; the test asks after 1 and after 1, 2."""
    sessions = [("train", (1, 2, 3))] * 10 + [("test", (1, 2, 3))]
    rows = [
        (number, place, item, split)
        for number, (split, items) in enumerate(sessions)
        for place, item in enumerate(items)
    ]
    write_set(data, "diginetica", "session_id position item_id split", rows, item_id=range(1, 30), category=[7] * 29)


def test_a_cell_has_the_metrics_of_every_case(tmp_path: Path) -> None:
    write_sessions(tmp_path)
    cell = measure(load_task("diginetica", tmp_path), "markov", 0)
    assert {name: values.tolist() for name, values in cell.values.items()} == {
        "recall@20": [1.0, 1.0],
        "mrr@20": [1.0, 1.0],
    }
    assert cell.numbers["coverage"] == pytest.approx(20 / 29)  # both lists hold the items that lead their order
    assert {"fit_seconds", "refit_seconds", "rank_seconds", "peak_mib"} < set(cell.numbers)


def test_a_model_is_fitted_again_on_everything_for_as_many_epochs_as_were_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sessions(tmp_path)
    task = load_task("diginetica", tmp_path)
    fits: list[tuple[int, bool, int]] = []
    fit = SasRec.fit

    def note(self: SasRec, train: Sequences, validation: object = None, *, seed: int, statistics: None) -> object:
        fits.append((len(train), validation is not None, self.config.num_epochs))
        return fit(self, train, validation, seed=seed)  # type: ignore[arg-type]

    def tiny(_: str, model: str) -> tuple[type[Recommender], ModelConfig]:
        changes = {"num_epochs": 30, "patience": 2, "learning_rate": 0.02, "batch_size": 2, "dropout": 0}
        return model_class(model), configure(model, "tiny", changes)

    monkeypatch.setattr(SasRec, "fit", note)
    monkeypatch.setattr(model_cells, "entrant", tiny)
    cell = measure(task, "sasrec", 1)
    assert fits == [(9, True, 30), (10, False, cell.numbers["epochs"])]
    assert cell.numbers["epochs"] < 28  # it is perfect long before
    assert cell.values["mrr@20"].tolist() == [1.0, 1.0]
    assert cell.numbers["validation_ndcg"] == 1.0


def test_candidates_are_ranked_as_they_stand_among_all_items(tmp_path: Path) -> None:
    """Everyone goes 1, 2, 3, 4 in a circle: 4 follows 3, and 5 and 6 were never met."""
    name = "amazon_luxury_beauty"
    visits = [[1 + (first + step) % 4 for step in range(4)] for first in range(4)]
    rows = [
        (f"user {number}", f"i{item}", place) for number, row in enumerate(visits) for place, item in enumerate(row)
    ]
    write_set(tmp_path, name, "user_id item_id seq", rows, item_id=[f"i{item}" for item in range(1, 60)])
    stored = {"user_id": [f"user {n}" for n in range(4)], "target": [f"i{row[-1]}" for row in visits]}
    negatives = [[f"i{item}" for item in range(40, 21, -1)]] * 4
    write(tmp_path / name / "candidates.parquet", stored | {"negatives": negatives})
    task = load_task(name, tmp_path)
    model = Markov(Markov.presets["small"], Catalogue(task.num_items))  # type: ignore[arg-type]
    model.fit(task.everything, seed=0)
    lists = rank_test(task, model)
    assert lists.shape == task.candidates.shape == (4, 20)
    assert np.array_equal(np.sort(lists, axis=1), task.candidates)
    ranked, _ = model.topk(task.test.histories, task.num_items, task.allowed)
    for row, expected, candidates in zip(lists, ranked, task.candidates, strict=True):
        assert row.tolist() == [item for item in expected if item in candidates]


def test_a_cell_is_a_process_that_leaves_a_file(tmp_path: Path) -> None:
    write_sessions(tmp_path)
    path = tmp_path / "cells" / "cell.npz"
    job = [sys.executable, "-m", "benchmarks.model_cells", str(tmp_path), "diginetica", "popular", "0", str(path)]
    subprocess.run(job, check=True)
    cell = Cell.read(path)
    assert cell.values["recall@20"].tolist() == [1.0, 1.0]
    assert cell.values["mrr@20"].tolist() == [1 / 2, 1 / 3]  # 1, 2, 3 are equally popular
