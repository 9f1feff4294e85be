import math
from pathlib import Path

import torch

from models.progress import Position, read_progress, save_progress
from models.stages import StepRecord

RECORD = StepRecord("fit", 3, 1, 0.1 + 0.2, math.nan, 1.5)


def test_what_was_saved_is_read_bit_for_bit(tmp_path: Path) -> None:
    position = Position(epoch=2, step=3, losses=[1 / 3, 0.1], records=[RECORD], best_epoch=1, seconds=9.25)
    tensors = {"network/weight": torch.randn(3, 4).T, "optimiser/0/step": torch.tensor(3.0)}
    save_progress(tmp_path / "new" / "fit.progress", "key", position, tensors)
    found = read_progress(tmp_path / "new" / "fit.progress", "key")
    assert found is not None
    assert (found[0].epoch, found[0].step, found[0].losses) == (2, 3, [1 / 3, 0.1])
    assert found[0].best_metric == -math.inf
    assert math.isnan(found[0].records[0].metric)
    assert found[0].records[0].loss == 0.1 + 0.2
    assert set(found[1]) == set(tensors)
    assert all(torch.equal(found[1][name], tensor) for name, tensor in tensors.items())


def test_what_is_not_there_or_of_another_fit_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fit.progress"
    assert read_progress(path, "key") is None
    save_progress(path, "key", Position(), {"a": torch.ones(1)})
    assert read_progress(path, "other") is None
    assert read_progress(path, "key") is not None


def test_a_new_state_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "fit.progress"
    for step in (1, 2):
        save_progress(path, "key", Position(step=step), {"a": torch.full((2,), float(step))})
    found = read_progress(path, "key")
    assert found is not None
    assert (found[0].step, found[1]["a"].tolist()) == (2, [2.0, 2.0])
    assert [child.name for child in tmp_path.iterdir()] == ["fit.progress"]
