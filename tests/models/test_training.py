import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import training
from models.recommender import StepRecord, Validation
from models.sequences import Sequences
from models.training import Trainer, TrainingConfig, seeded, validation_ndcg

Make = Callable[..., Sequences]


def settings(num_epochs: int, patience: int = 3, clip_norm: float = 5) -> TrainingConfig:
    return TrainingConfig(num_epochs=num_epochs, patience=patience, clip_norm=clip_norm, learning_rate=0.1)


def trainer_of(
    network: nn.Linear,
    config: TrainingConfig,
    metrics: list[float] | None = None,
    num_batches: int = 1,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> Trainer[Tensor]:
    """Make a trainer that moves one weight towards +infinity, whose metric in each epoch is given."""
    waiting = iter(metrics or [])
    return Trainer(
        network,
        config,
        batches=lambda epoch: [torch.ones(1, 1)] * num_batches,
        loss=lambda batch: -network(batch).mean(),
        evaluate=(lambda: next(waiting)) if metrics else None,
        on_step=on_step,
    )


def one_weight() -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return network


def test_it_stops_when_patience_ends_and_keeps_the_best_weights() -> None:
    network, weights = one_weight(), []
    trainer = trainer_of(
        network,
        settings(num_epochs=9, patience=2),
        metrics=[0.1, 0.3, 0.2, 0.3, 0.9],
        on_step=lambda record: weights.append(network.weight.item()),
    )
    report = trainer.run()
    assert [record.metric for record in report.records] == [0.1, 0.3, 0.2, 0.3]
    assert report.chosen == settings(num_epochs=2, patience=2)
    assert network.weight.item() == weights[1] < weights[3]
    assert not network.training


def test_without_validation_all_epochs_run_and_the_last_weights_stay() -> None:
    network, weights = one_weight(), []
    report = trainer_of(
        network, settings(num_epochs=3), on_step=lambda record: weights.append(network.weight.item())
    ).run()
    assert [record.epoch for record in report.records] == [1, 2, 3]
    assert all(math.isnan(record.metric) for record in report.records)
    assert network.weight.item() == weights[-1] == max(weights)
    assert report.chosen == settings(num_epochs=3)


def test_records_carry_recent_losses_and_at_the_end_those_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "RECORD_STEPS", 2)
    seen: list[StepRecord] = []
    report = trainer_of(one_weight(), settings(1), metrics=[0.5], num_batches=6, on_step=seen.append).run()
    assert report.records == tuple(seen)
    assert [record.step for record in seen] == [2, 4, 6]
    # Adam moves the weight by the learning rate, .1, at every step, and the loss is minus the weight.
    assert [record.loss for record in seen] == pytest.approx([-0.05, -0.25, -0.25], abs=1e-5)
    assert [math.isnan(record.metric) for record in seen] == [True, True, False]


def test_a_loss_that_is_not_finite_says_where() -> None:
    network = one_weight()
    trainer = trainer_of(network, settings(num_epochs=5), num_batches=2)
    losses = iter([1.0, 1.0, 1.0, math.nan])
    trainer._loss = lambda batch: network(batch).mean() * 0 + next(losses)
    with pytest.raises(FloatingPointError, match="loss is nan at step 4, epoch 2 of stage 'fit'"):
        trainer.run()


def test_an_epoch_ends_after_the_batches_that_it_may_have() -> None:
    for limit, steps in ((0, 6), (2, 4), (9, 6)):
        config = settings(num_epochs=2).model_copy(update={"max_epoch_batches": limit})
        report = trainer_of(one_weight(), config, num_batches=3).run()
        assert report.records[-1].step == steps


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    network = one_weight()
    norms: list[float] = []

    def step() -> None:
        assert network.weight.grad is not None
        norms.append(network.weight.grad.norm().item())

    trainer = trainer_of(network, settings(num_epochs=2, clip_norm=0.25))
    monkeypatch.setattr(trainer._optimiser, "step", step)
    trainer.run()
    assert norms == pytest.approx([0.25, 0.25])


def test_seeded_blocks_repeat_and_leave_the_callers_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draws = []
    for _ in range(2):
        with seeded(1):
            draws.append(torch.rand(2))
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(torch.rand(3), expected)


def test_validation_takes_the_mean_over_an_even_selection(sequences: Make) -> None:
    class Fixed:
        """Always answers 2, 3, 4."""

        num_items = 6
        config = TrainingConfig(max_validation_cases=2)
        asked = 0

        def rank(self, histories: Sequences, k: int, allowed: np.ndarray, *, exclude_seen: bool) -> tuple:
            assert exclude_seen
            self.asked = len(histories)
            return np.tile(np.array([2, 3, 4], np.int32), (len(histories), 1)), None

    model = Fixed()
    validation = Validation(sequences([5], [5], [5]), sequences([2], [4], [3]), exclude_seen=True)
    assert validation_ndcg(model, validation) == pytest.approx((1 + 1 / math.log2(3)) / 2)  # type: ignore[arg-type]
    assert model.asked == 2
