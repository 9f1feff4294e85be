import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from models import training
from models.stages import Run, StepRecord
from models.training import Training, TrainingConfig, seeded


@dataclass(frozen=True)
class Ones:
    """An epoch of batches of a sample each, all of them 1."""

    num_batches: int

    @property
    def batches(self) -> list[NDArray[np.int64]]:
        return [np.array([number]) for number in range(self.num_batches)]

    def batch(self, samples: NDArray[np.int64]) -> Tensor:
        return torch.ones(len(samples), 1)


def settings(num_epochs: int, **others: object) -> TrainingConfig:
    common = {"num_epochs": num_epochs, "learning_rate": 0.1, "precision": "float32"}
    return TrainingConfig.model_validate(common | others)


def one_weight() -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return network


def training_of(
    network: nn.Linear, config: TrainingConfig, metrics: Iterable[float] = (), num_batches: int = 1
) -> Training[Tensor]:
    """Make a stage that moves one weight towards +infinity, whose metric in each epoch is given."""
    waiting = iter(metrics)
    return Training(
        "fit",
        network,
        config,
        epoch=lambda generator, number: Ones(num_batches),
        loss=lambda batch, generator: (-network(batch).mean(), len(batch)),
        evaluate=(lambda: next(waiting)) if metrics else None,
    )


def run_of(on_step: Callable[[StepRecord], None] = lambda record: None, folder: Path | None = None) -> Run:
    return Run(0, "key", on_step, folder)


def test_it_stops_when_patience_ends_and_keeps_the_best_weights() -> None:
    network, weights = one_weight(), []
    stage = training_of(network, settings(9, patience=2), metrics=[0.1, 0.3, 0.2, 0.3, 0.9])
    report = stage.run(run_of(lambda record: weights.append(network.weight.item())))
    assert [record.metric for record in report.records] == [0.1, 0.3, 0.2, 0.3]
    assert report.best_epoch == 2
    assert network.weight.item() == weights[1] < weights[3]
    assert not network.training


def test_without_validation_all_epochs_run_and_the_last_weights_stay() -> None:
    network, weights = one_weight(), []
    report = training_of(network, settings(3)).run(run_of(lambda record: weights.append(network.weight.item())))
    assert [record.epoch for record in report.records] == [1, 2, 3]
    assert all(math.isnan(record.metric) for record in report.records)
    assert network.weight.item() == weights[-1] == max(weights)
    assert report.best_epoch == 3


def test_records_carry_recent_losses_and_at_the_end_those_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "RECORD_STEPS", 2)
    seen: list[StepRecord] = []
    report = training_of(one_weight(), settings(1), metrics=[0.5], num_batches=6).run(run_of(seen.append))
    assert report.records == tuple(seen)
    assert [record.step for record in seen] == [2, 4, 6]
    # Adam moves the weight by the learning rate, .1, at every step, and the loss is minus the weight.
    assert [record.loss for record in seen] == pytest.approx([-0.05, -0.25, -0.25], abs=1e-5)
    assert [math.isnan(record.metric) for record in seen] == [True, True, False]


def test_a_loss_that_is_not_finite_says_where_and_keeps_the_batch_and_the_gradients(tmp_path: Path) -> None:
    network = one_weight()
    stage = training_of(network, settings(5), num_batches=2)
    factors = iter([1.0, 1.0, 1.0, math.nan])
    stage._loss = lambda batch, generator: (network(batch).mean() * next(factors), 1)
    with pytest.raises(
        FloatingPointError, match="loss is nan and the gradient's norm nan at step 4, epoch 2 of stage 'fit'"
    ) as caught:
        stage.run(run_of(folder=tmp_path))
    kept = tmp_path / "fit-broken-at-4.safetensors"
    assert str(kept) in str(caught.value)
    assert {name: tensor.tolist() for name, tensor in load_file(kept).items()} == {"samples": [1], "batch": [[1.0]]}
    about = json.loads(kept.with_suffix(".json").read_text())
    assert about["weight"]["largest_weight"] == pytest.approx(0.3, abs=0.01)
    assert math.isnan(about["weight"]["largest_gradient"])
    assert not list(tmp_path.glob("*.progress"))


def test_an_epoch_ends_after_the_batches_that_it_may_have() -> None:
    for limit, steps in ((0, 6), (2, 4), (9, 6)):
        stage = training_of(one_weight(), settings(2, max_epoch_batches=limit), num_batches=3)
        assert stage.run(run_of()).records[-1].step == steps


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    network = one_weight()
    norms: list[float] = []

    def step() -> None:
        assert network.weight.grad is not None
        norms.append(network.weight.grad.norm().item())

    stage = training_of(network, settings(2, clip_norm=0.25))
    monkeypatch.setattr(stage._optimiser, "step", step)
    stage.run(run_of())
    assert norms == pytest.approx([0.25, 0.25])


def test_the_learning_rate_grows_then_falls_along_a_cosine() -> None:
    config = settings(4, schedule="cosine", warmup_steps=4)
    assert config.rate_at(1, 0) == pytest.approx(0.1 / 4)
    assert [config.rate_at(9, done) for done in (0, 1, 2, 4, 5)] == pytest.approx([0.1, 0.08535534, 0.05, 0, 0])
    assert settings(4).rate_at(99, 3) == 0.1


def test_the_choice_keeps_the_learning_rates_of_the_epochs_that_it_keeps() -> None:
    config = settings(10, schedule="cosine")
    chosen = config.stopped_at({"fit": 4})
    assert (chosen.num_epochs, chosen.schedule_epochs) == (4, 10)
    assert chosen.stopped_at({"fit": 3}).schedule_epochs == 10
    assert [chosen.rate_at(1, done) for done in range(4)] == [config.rate_at(1, done) for done in range(4)]


def test_an_interrupted_stage_goes_on_where_it_saved_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", -1)
    config, metrics = settings(4, patience=2), [0.4, 0.3, 0.2]
    whole = training_of(one_weight(), config, metrics, num_batches=3).run(run_of()).records

    def fail_at(step: int) -> Callable[[StepRecord], None]:
        def on_step(record: StepRecord) -> None:
            if record.step == step:
                raise KeyboardInterrupt

        return on_step

    first = training_of(one_weight(), config, metrics, num_batches=3)
    with pytest.raises(KeyboardInterrupt):
        first.run(run_of(fail_at(6), tmp_path))
    network = one_weight()
    report = training_of(network, config, metrics[1:], num_batches=3).run(run_of(folder=tmp_path))
    assert [(r.step, r.epoch, r.loss, r.metric) for r in report.records] == [
        (r.step, r.epoch, r.loss, r.metric) for r in whole
    ]
    assert report.best_epoch == 1
    assert network.weight.item() == pytest.approx(0.3, abs=1e-5)  # the best weights were saved too
    again = training_of(one_weight(), config, [], num_batches=3).run(run_of(folder=tmp_path))
    assert again.records == report.records  # a stage that is done is not done again


def test_a_fit_of_another_key_starts_anew(tmp_path: Path) -> None:
    training_of(one_weight(), settings(2)).run(run_of(folder=tmp_path))
    seen: list[StepRecord] = []
    training_of(one_weight(), settings(2)).run(Run(0, "other", seen.append, tmp_path))
    assert [record.step for record in seen] == [1, 2]


KILLED_FIT = """
import os, signal, sys
from pathlib import Path
import torch
from models import training
from models.registry import build
from tests.models.conftest import make_shop

torch.set_num_threads(1)
training.RECORD_STEPS, training.SECONDS_BETWEEN_SAVES = 2, -1
kill_at, folder, shop = int(sys.argv[1]), Path(sys.argv[2]), make_shop()

def on_step(record):
    if record.step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

model = build("sasrec", "tiny", shop.catalogue)
report = model.fit(shop.train, seed=3, on_step=on_step, folder=folder)
print([record.loss for record in report.records])
"""


def test_a_killed_process_is_resumed_with_the_same_loss_curve(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]

    def run(kill_at: int, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED_FIT, str(kill_at), str(folder)]
        environment = os.environ | {"PYTHONPATH": str(root)}
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)

    assert run(8, tmp_path / "killed").returncode == -signal.SIGKILL  # in the middle of the third epoch
    assert list((tmp_path / "killed").glob("*.progress"))
    resumed, whole = run(0, tmp_path / "killed"), run(0, tmp_path / "whole")
    assert resumed.returncode == whole.returncode == 0, resumed.stderr + whole.stderr
    assert len(json.loads(whole.stdout)) > 5
    assert resumed.stdout == whole.stdout


def test_seeded_blocks_repeat_and_leave_the_callers_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draws = []
    for _ in range(2):
        with seeded(run_of()):
            draws.append(torch.rand(2))
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(torch.rand(3), expected)
