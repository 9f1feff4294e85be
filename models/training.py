"""The one training loop: epochs, gradient clipping, early stopping with the best weights, progress records.

A model brings its network, its batches and its loss; the settings that the loop needs are in `TrainingConfig`, from
which the model's own configuration inherits.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.metrics import ndcg_at, relevance
from models.recommender import FitReport, ModelConfig, Recommender, StepRecord, Validation

RECORD_STEPS = 50


class TrainingConfig(ModelConfig):
    """How a network is trained.

    patience: epochs without a better validation NDCG@10 before it stops. max_validation_cases: of more than that, an
    evenly spaced selection is used, to bound what a look at the validation part costs. max_epoch_batches: an epoch ends
    after so many batches, drawn anew each time; 0: after all of them.
    """

    num_epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 0.001
    weight_decay: NonNegativeFloat = 0
    clip_norm: PositiveFloat = 5
    patience: PositiveInt = 3
    max_validation_cases: PositiveInt = 10_000
    max_epoch_batches: NonNegativeInt = 0


BatchT = TypeVar("BatchT")


class Trainer(Generic[BatchT]):
    """Trains one network in place; `run` once.

    batches: gives the batches of an epoch (counted from 1), shuffled as it sees fit. loss: the mean loss of a batch.
    evaluate: the validation NDCG@10 of the network as it is, or None to train for all epochs.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainingConfig,
        batches: Callable[[int], Iterable[BatchT]],
        loss: Callable[[BatchT], Tensor],
        evaluate: Callable[[], float] | None,
        on_step: Callable[[StepRecord], None],
        stage: str = "fit",
    ) -> None:
        self._network, self._config, self._stage = network, config, stage
        self._batches, self._loss, self._evaluate, self._on_step = batches, loss, evaluate, on_step
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._records: list[StepRecord] = []
        self._step = 0
        self._started = time.perf_counter()

    def run(self) -> FitReport:
        """Train, and leave the network in evaluation mode with its best weights (the last ones without validation).

        A record is made every RECORD_STEPS steps, and at the end of an epoch with the epoch's mean loss and the metric.
        Raises FloatingPointError when the loss is not finite.
        """
        best_metric, best_epoch, best_weights = -math.inf, self._config.num_epochs, self._network.state_dict()
        for epoch in range(1, self._config.num_epochs + 1):
            losses = self._train_epoch(epoch)
            self._network.eval()
            metric = self._evaluate() if self._evaluate else math.nan
            self._record(epoch, losses, metric)
            if metric > best_metric:
                best_metric, best_epoch = metric, epoch
                best_weights = copy.deepcopy(self._network.state_dict())
            elif self._evaluate and epoch - best_epoch >= self._config.patience:
                break
        self._network.load_state_dict(best_weights)
        return FitReport(tuple(self._records), self._config.model_copy(update={"num_epochs": best_epoch}))

    def _train_epoch(self, epoch: int) -> list[float]:
        """Take the steps of an epoch; return the loss of each."""
        self._network.train()
        losses: list[float] = []
        for batch in islice(self._batches(epoch), self._config.max_epoch_batches or None):
            if losses and len(losses) % RECORD_STEPS == 0:  # not after the last step, which has its own record
                self._record(epoch, losses[-RECORD_STEPS:], math.nan)
            losses.append(self._take_step(batch, epoch))
        return losses

    def _take_step(self, batch: BatchT, epoch: int) -> float:
        self._step += 1
        self._optimiser.zero_grad()
        loss = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"loss is {value} at step {self._step}, epoch {epoch} of stage {self._stage!r}: lower learning_rate "
                f"(now {self._config.learning_rate}) or clip_norm (now {self._config.clip_norm})"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip_norm)
        self._optimiser.step()
        return value

    def _record(self, epoch: int, losses: list[float], metric: float) -> None:
        seconds = time.perf_counter() - self._started
        record = StepRecord(self._stage, self._step, epoch, math.fsum(losses) / len(losses), metric, seconds)
        self._records.append(record)
        self._on_step(record)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's random numbers started from `seed`, and put the caller's back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def validation_ndcg(model: Recommender[Any], validation: Validation) -> float:
    """Return the mean NDCG@10 over (a selection of) the validation cases, every item of the vocabulary allowed."""
    num_cases = min(len(validation.targets), model.config.max_validation_cases)
    cases = np.linspace(0, len(validation.targets) - 1, num_cases).astype(np.int64)
    histories, targets = validation.histories.take(cases), validation.targets.take(cases)
    allowed = np.ones(model.num_items, np.bool_)
    items, _ = model.rank(histories, 10, allowed, exclude_seen=validation.exclude_seen)
    return float(ndcg_at(relevance(items, targets), targets.lengths, 10).mean())
