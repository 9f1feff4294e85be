"""The training loop of every model that learns by gradient: seeds, precision, schedule, clipping, early stop, resuming.

A step's random numbers follow from the seed, the stage and the step's number. So a stage that was killed goes on from
what it saved last with the same losses, and the processes of `torchrun` draw the same batches.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from models.breakdown import keep_evidence
from models.device import DeviceName, Precision, choose_device, choose_precision
from models.parallel import from_first, num_processes, rank, sum_gradients, summed
from models.progress import Position, read_progress, save_progress
from models.recommender import ModelConfig
from models.rewiring import Rewirer
from models.sparsity import DENSE, Sparsity
from models.stages import BestEpochs, Run, StageReport, StepRecord

RECORD_STEPS = 50
SECONDS_BETWEEN_SAVES = 30.0
REWIRING = "rewiring"  # whose random numbers are the same in every process
BatchT_co = TypeVar("BatchT_co", covariant=True)
BatchT = TypeVar("BatchT")


class TrainingConfig(ModelConfig):
    """How a network is trained.

    schedule: the learning rate stays, or falls to 0 along half a cosine over `schedule_epochs` (0: num_epochs), after
    it has grown for `warmup_steps`. patience: epochs without a better validation NDCG@10 before it stops.
    max_validation_cases: of more than that, an evenly spaced selection is used, to bound what a look at the validation
    part costs. max_epoch_batches: an epoch ends after so many batches, drawn anew each time; 0: after all of them.
    device, precision: see `models.device`. compile: whether torch compiles the network; on a processor
    that was measured to cost half a minute and to gain nothing. sparsity: of its tables, see `models.sparsity`.
    """

    num_epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 0.001
    schedule: Literal["constant", "cosine"] = "constant"
    schedule_epochs: NonNegativeInt = 0
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0
    clip_norm: PositiveFloat = 5
    patience: PositiveInt = 3
    max_validation_cases: PositiveInt = 10_000
    max_epoch_batches: NonNegativeInt = 0
    device: DeviceName = "auto"
    precision: Precision = "auto"
    compile: bool = False
    sparsity: Sparsity = DENSE

    @model_validator(mode="after")
    def _compiles_what_it_can(self) -> Self:
        if self.compile and not self.sparsity.is_dense:
            raise ValueError("compile works with dense tables only: leave it out, or sparsity")
        return self

    def network_changes(self, other: Mapping[str, Any]) -> list[str]:
        """Return the settings that differ, but for those of how a network is trained."""
        changed = [name for name in super().network_changes(other) if name not in TrainingConfig.model_fields]
        before, now = DENSE.model_dump() | other.get("sparsity", {}), self.sparsity.model_dump()
        return changed + [f"sparsity.{name}" for name in ("density", "layers") if before[name] != now[name]]

    def stopped_at(self, best_epochs: BestEpochs) -> Self:
        """Return the configuration that ends after the best epoch, with the learning rates it had until then."""
        (best_epoch,) = best_epochs.values()
        is_planned = self.schedule == "cosine" or not self.sparsity.is_dense
        horizon = self.horizon if is_planned else 0
        return self.model_copy(update={"num_epochs": best_epoch, "schedule_epochs": horizon})

    @property
    def horizon(self) -> int:
        """Return the epochs over which a schedule goes."""
        return self.schedule_epochs or self.num_epochs

    def rate_at(self, step: int, epochs_done: float) -> float:
        """Return the learning rate of a step, counted from 1."""
        rate = self.learning_rate * min(1.0, step / max(1, self.warmup_steps))
        if self.schedule == "constant":
            return rate
        share = min(1.0, epochs_done / self.horizon)
        return rate * (1 + math.cos(math.pi * share)) / 2


class Epoch(Protocol[BatchT_co]):
    """The batches of one epoch: which samples are in each, and how a batch is made of some samples."""

    @property
    def batches(self) -> Sequence[NDArray[np.int64]]:
        """The samples of each batch."""

    def batch(self, samples: NDArray[np.int64]) -> BatchT_co:
        """Make a batch of them."""


class Training(Generic[BatchT]):
    """A stage that trains one network in place, and leaves it in evaluation mode with its best weights.

    epoch: draws the batches of an epoch, given its number, counted from 1. loss: the mean loss of a batch, and of how
    many terms it is the mean; it may draw. evaluate: the validation NDCG@10 of the network as it is, or None to train
    for all epochs.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        config: TrainingConfig,
        epoch: Callable[[np.random.Generator, int], Epoch[BatchT]],
        loss: Callable[[BatchT, np.random.Generator], tuple[Tensor, int]],
        evaluate: Callable[[], float] | None,
    ) -> None:
        self.name = name
        self._network, self._config = network, config
        self._epoch, self._loss, self._evaluate = epoch, loss, evaluate
        self._device = choose_device(config.device)
        self._precision = choose_precision(config.precision, self._device)
        network.to(self._device)
        self._optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=self._device.type != "mps",
        )
        self._rewirer = Rewirer(config.sparsity, network, self._optimiser)
        if not config.sparsity.is_dense and not self._rewirer.tables:
            raise ValueError(
                f"sparsity.density is {config.sparsity.density}, and this network has no table to thin out"
            )
        self._position = Position()
        self._best: dict[str, Tensor] = {}

    def run(self, run: Run) -> StageReport:
        """Train, from the start or from where this fit was interrupted.

        A record is made every RECORD_STEPS steps, and at the end of an epoch with the epoch's mean loss and the metric.
        Raises FloatingPointError when the loss, the gradient or a weight is not finite.
        """
        self._restore(run)
        position = self._position
        self._started = self._saved = time.perf_counter() - position.seconds
        with torch.random.fork_rng():
            while not position.is_done:
                self._train_epoch(run)
                self._end_epoch(run)
        self._rewirer.close()
        self._network.load_state_dict(self._best or self._network.state_dict())
        self._network.eval()
        return StageReport(tuple(position.records), position.best_epoch)

    def _train_epoch(self, run: Run) -> None:
        """Take the steps of an epoch that are left."""
        self._network.train()
        position = self._position
        epoch = self._epoch(run.generator(self.name, position.epoch), position.epoch)
        batches = epoch.batches[: self._config.max_epoch_batches or None]
        for samples in batches[len(position.losses) :]:
            if position.losses and len(position.losses) % RECORD_STEPS == 0:  # the last step has its own record
                self._record(run, position.losses[-RECORD_STEPS:], math.nan)
            position.step += 1
            epochs_done = position.epoch - 1 + len(position.losses) / len(batches)
            rate = self._config.rate_at(position.step, epochs_done)
            for group in self._optimiser.param_groups:
                group["lr"] = rate
            progress, size = epochs_done / self._config.horizon, 1 / len(batches) / self._config.horizon
            self._rewirer.before(progress, size)
            position.losses.append(self._take_step(run, epoch, samples))
            self._rewirer.after(progress, size, partial(run.generator, REWIRING, position.step))
            if time.perf_counter() - self._saved > SECONDS_BETWEEN_SAVES and not self._rewirer.is_collecting:
                self._save(run)

    def _take_step(self, run: Run, epoch: Epoch[BatchT], samples: NDArray[np.int64]) -> float:
        own = samples[rank() :: num_processes()]
        generator = run.generator(self.name, self._position.step, rank())
        torch.manual_seed(int(generator.integers(2**63)))
        self._optimiser.zero_grad()
        loss, num_terms = torch.zeros((), device=self._device), 0
        if len(own):
            with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
                loss, num_terms = self._loss(epoch.batch(own), generator)
        share = num_terms / max(1, summed(num_terms, self._device))
        value = summed(float(loss.detach()) * share, self._device)
        if len(own):
            (loss * share).backward()
        sum_gradients(self._network.parameters())
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip_norm)
        if not math.isfinite(value) or not math.isfinite(norm):
            kept = self._keep_evidence(run, epoch, own)
            raise FloatingPointError(f"loss is {value} and the gradient's norm {float(norm)} at {self._advice()}{kept}")
        self._optimiser.step()
        return value

    def _end_epoch(self, run: Run) -> None:
        """Look at the validation part, keep the best weights, and decide whether to go on."""
        position, config = self._position, self._config
        if not all(weight.isfinite().all() for weight in self._network.parameters()):
            raise FloatingPointError(f"weights are not finite after {self._advice()}")
        self._network.eval()
        metric = math.nan
        if self._evaluate:
            metric = from_first(self._validate(self._evaluate) if rank() == 0 else 0.0, self._device)
        self._record(run, position.losses, metric)
        if not self._evaluate:
            position.best_epoch = position.epoch
        elif metric > position.best_metric:
            position.best_metric, position.best_epoch = metric, position.epoch
            self._best = copy.deepcopy(self._network.state_dict())
        waited = position.epoch - position.best_epoch
        position.is_done = position.epoch == config.num_epochs or waited >= config.patience
        position.epoch, position.losses = position.epoch + 1, []
        if position.is_done:
            self._save(run)

    def _validate(self, evaluate: Callable[[], float]) -> float:
        try:
            return evaluate()
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; after {self._advice()}") from error

    def _record(self, run: Run, losses: list[float], metric: float) -> None:
        position = self._position
        position.seconds = time.perf_counter() - self._started
        mean = math.fsum(losses) / len(losses)
        record = StepRecord(self.name, position.step, position.epoch, mean, metric, position.seconds)
        position.records.append(record)
        if rank() == 0:
            run.on_step(record)

    def _path(self, run: Run) -> Path | None:
        return run.folder / f"{self.name}.progress" if run.folder else None

    def _save(self, run: Run) -> None:
        path = self._path(run)
        self._saved = time.perf_counter()
        if not path or rank() != 0:
            return
        self._position.seconds = self._saved - self._started
        moments = {
            f"optimiser/{number}/{name}": value
            for number, values in self._optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
        weights = {f"network/{name}": weight for name, weight in self._network.state_dict().items()}
        best = {f"best/{name}": weight for name, weight in self._best.items()}
        save_progress(path, run.key, self._position, moments | weights | best)

    def _restore(self, run: Run) -> None:
        path = self._path(run)
        found = read_progress(path, run.key) if path else None
        if found is None:
            return
        self._position, tensors = found
        groups = self._optimiser.state_dict()["param_groups"]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimiser/", tensors).items():
            number, _, moment = name.partition("/")
            moments.setdefault(int(number), {})[moment] = tensor
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self._network.load_state_dict(_under("network/", tensors))
        self._best = _under("best/", tensors)

    def _advice(self) -> str:
        """Say where the training broke down and what may help."""
        position, config = self._position, self._config
        return (
            f"step {position.step}, epoch {position.epoch} of stage {self.name!r}: "
            f"lower learning_rate (now {config.learning_rate}) or clip_norm (now {config.clip_norm})"
        )

    def _keep_evidence(self, run: Run, epoch: Epoch[BatchT], own: NDArray[np.int64]) -> str:
        """Keep the batch of a broken step, and its gradients; return where."""
        if run.folder is None or not len(own):
            return ""
        path = run.folder / f"{self.name}-broken-at-{self._position.step}.safetensors"
        files = keep_evidence(path, self._network, {"samples": torch.from_numpy(own), **_named(epoch.batch(own))})
        return f"; the batch and the largest gradients are in {files}"


def _named(batch: Any) -> dict[str, Tensor]:
    """Return the tensors of a batch, which is one or a named tuple of several."""
    return batch._asdict() if hasattr(batch, "_asdict") else {"batch": torch.as_tensor(batch)}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def seeded(run: Run) -> Iterator[None]:
    """Run a block with torch's random numbers started from the seed, and put the caller's back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        yield
