from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import convergence
from benchmarks.convergence import curve, item_loss, steps_to
from benchmarks.protocols import load_task
from models.m2trec import M2TRec, M2TRecConfig
from tests.benchmarks.small_data import write_set


def write_sessions(data: Path) -> None:
    """1 -> 2 -> 3 and 11 -> 12 -> 13, in two categories."""
    sessions = [("train", (1 + start, 2 + start, 3 + start)) for start in (0, 10) for _ in range(20)]
    rows = [
        (number, place, item, split)
        for number, (split, items) in enumerate([*sessions, ("test", (1, 2, 3))])
        for place, item in enumerate(items)
    ]
    kinds = [item // 10 for item in range(1, 30)]
    write_set(data, "diginetica", "session_id position item_id split", rows, item_id=range(1, 30), category=kinds)


def test_a_curve_has_the_losses_along_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sessions(tmp_path)
    task = load_task("diginetica", tmp_path)
    monkeypatch.setattr(convergence, "STEPS_BETWEEN_LOOKS", 1)
    found = curve(task, weight=0.3, num_steps=15)
    assert [step for step, *_ in found] == list(range(1, 16))
    losses = [loss for _, loss, _ in found]
    assert losses[-1] < losses[0]


def test_the_loss_is_that_of_the_item_head_alone(tmp_path: Path) -> None:
    write_sessions(tmp_path)
    task = load_task("diginetica", tmp_path)
    model = M2TRec(M2TRecConfig(dim=16, num_epochs=1, hashed_ids=True, category_weight=9), task.items.catalogue)
    model.fit(task.train, seed=0)
    queries = torch.from_numpy(model.queries(task.validation.histories))
    (vectors,) = model.item_blocks()
    shares = torch.softmax(queries @ torch.from_numpy(vectors[2:]).T, dim=1).numpy()
    expected = -np.log(shares[np.arange(len(queries)), task.validation.targets.items - 2]).mean()
    assert item_loss(model, task.validation) == pytest.approx(float(expected), rel=1e-5)


def test_steps_are_those_of_the_first_look_that_was_as_low() -> None:
    seen = [(50, 3.0, 0.1), (100, 2.0, 0.2), (150, 2.5, 0.3), (200, 1.0, 0.2)]
    assert [steps_to(seen, loss) for loss in (3.5, 2.0, 1.9, 0.5)] == [50, 100, 200, None]
