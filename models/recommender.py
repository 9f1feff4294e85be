"""The interface that every model fulfils, so that the pipeline, the report and the tests need not know which it is."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from models.catalogue import Catalogue
from models.sequences import FIRST_ITEM, Sequences
from models.stages import BestEpochs, Run, Stage, StepRecord, ignore
from models.statistics import Statistics
from models.suggestion import suggestion


class ModelConfig(BaseModel):
    """Hyper-parameters of a model: frozen, and a key that does not exist is refused with the nearest that does."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _suggest_nearest_setting(cls, data: Any) -> Any:
        unknown = sorted(set(data) - set(cls.model_fields)) if isinstance(data, Mapping) else []
        if unknown:
            raise ValueError(f"no setting {unknown[0]!r}: {suggestion(unknown[0], cls.model_fields)}")
        return data

    def network_changes(self, other: Mapping[str, Any]) -> list[str]:
        """Return the settings in which another configuration, as it is kept, is one of another network."""
        own = self.model_dump(mode="json")
        return sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))

    def stopped_at(self, best_epochs: BestEpochs) -> Self:
        """Return the configuration that ends each stage after its best epoch; without epochs, this one."""
        return self


@dataclass(frozen=True)
class Capabilities:
    """What a model can do or needs.

    goes_on: from the state of the night before it comes to the same state as without, in less time.
    uses_statistics: it learns from what is known of the items and subjects of its training part as a whole.
    """

    trains_without_gradient: bool = False
    goes_on: bool = False
    uses_metadata: bool = False
    uses_statistics: bool = False


@dataclass(frozen=True)
class FitReport:
    """How a fit went. `chosen` repeats it where there is no validation part: the epochs that were best are in it."""

    records: tuple[StepRecord, ...]
    chosen: ModelConfig


@dataclass(frozen=True)
class Validation:
    """Cases on which a fit may stop early: the targets (distinct items) that follow each history.

    exclude_seen: whether the protocol removes the history's own items from the lists. Raises ValueError without a case.
    """

    histories: Sequences
    targets: Sequences
    exclude_seen: bool = False

    def __post_init__(self) -> None:
        assert len(self.histories) == len(self.targets), "histories and targets are aligned by case"
        if not len(self.targets):
            raise ValueError("a validation part needs at least one case; pass no validation part instead")


class NothingToLearn(ValueError):
    """The training part is sound, but a model of this kind can learn nothing from it."""


class UnfitCatalogue(ValueError):
    """A model of this kind cannot tell the items of the catalogue apart."""


class UnfitStart(ValueError):
    """The weights to start from belong to another network."""


class MissingDevice(ValueError):
    """A model is to be trained on a device that this machine lacks."""


ConfigT = TypeVar("ConfigT", bound=ModelConfig)


class Recommender(ABC, Generic[ConfigT]):
    """Learns from sequences of item numbers and ranks the items that may follow a history.

    A model implements `stages`, `rank`, `state` and `adopt`; callers use `fit`, `topk`, `state` and `restore`.
    catalogue: the items that there are; num_items of it counts the two special numbers.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    reason: ClassVar[str]  # why an item stands in a list, for the person who reads the list
    capabilities: ClassVar[Capabilities]
    Config: ClassVar[type[ModelConfig]]
    presets: ClassVar[Mapping[str, ModelConfig]]

    def __init__(self, config: ConfigT, catalogue: Catalogue) -> None:
        if not isinstance(config, self.Config):
            raise ValueError(f"{self.name} takes a {self.Config.__name__}, not a {type(config).__name__}")
        self.config = config
        self.catalogue, self.num_items = catalogue, catalogue.num_items
        self._is_fitted = False
        self._statistics: Statistics | None = None

    def fit(
        self,
        train: Sequences,
        validation: Validation | None = None,
        *,
        seed: int,
        on_step: Callable[[StepRecord], None] = ignore,
        folder: Path | None = None,
        start: Mapping[str, NDArray[Any]] | None = None,
        statistics: Statistics | None = None,
    ) -> FitReport:
        """Learn from `train`, forgetting what was learnt before; the same seed gives the same model.

        A model with epochs stops early on `validation`, others choose a weight on it or do not look. Unknown items are
        skipped.
        folder: what an interrupted fit needs to go on is kept there, and the same fit called again does so.
        start: the `state` of the same model after an earlier night, with which training begins instead of with random
        weights; it may know fewer items. A model that `goes_on` takes over what is still so; others without epochs have
        no use for it.
        statistics: those of `train`, which a model that `uses_statistics` cannot do without.
        Raises NothingToLearn when the training part holds no known item, or less than the model needs, UnfitCatalogue
        for a catalogue without what it needs, UnfitStart for a `start` of another network, and ValueError for a number
        outside the vocabulary.
        """
        self._check_numbers(train)
        self._take_statistics(statistics, len(train))
        if not (train.items >= FIRST_ITEM).any():
            raise NothingToLearn(f"{self.name}: no known item among {len(train.items)} training events")
        key = self._key(train, validation, seed, start or {}) if folder else ""
        run = Run(seed, key, on_step, folder)
        records: list[StepRecord] = []
        best_epochs: dict[str, int] = {}
        for stage in self.stages(train, validation, run, start):
            report = stage.run(run)
            records += report.records
            best_epochs[stage.name] = report.best_epoch
        self._is_fitted = True
        return FitReport(tuple(records), self.chosen(best_epochs))

    def chosen(self, best_epochs: BestEpochs) -> ModelConfig:
        """Return the configuration that repeats the last fit without a validation part."""
        return self.config.stopped_at(best_epochs)

    def topk(
        self, histories: Sequences, k: int, allowed: NDArray[np.bool_], *, exclude_seen: bool = False
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rank the allowed items for every history, exactly.

        allowed: bool[num_items]; padding and unknown never pass. exclude_seen also bars the items of the own history.
        Returns items int32[B, k] and scores float32[B, k], best first; equal scores stand in the model's tie order
        (item number, unless the model says otherwise). Lists are full: only where fewer than k items may be shown do
        they end in item 0 with score -inf. A list does not depend on the other histories, nor on their number.
        """
        self._check_request(histories, k, allowed)
        return self.rank(histories, k, allowed, exclude_seen=exclude_seen)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what another instance of the same configuration gave as `state`."""
        self.adopt(state)
        self._is_fitted = True

    def reached(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which listed items the model has a ground for, bool like ``scores``; the others only fill the list."""
        return np.isfinite(scores)

    def reasons(self, histories: Sequences, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], Sequence[str]]:
        """Say why each of the items int32[B, K] that `topk` listed stands in its list: places in a list of reasons."""
        return np.zeros(items.shape, np.int32), (self.reason,)

    def familiarity(self, histories: Sequences) -> NDArray[np.float32] | None:
        """Return how familiar each history is, float32[B] from 0 to 1; None of a model that does not tell.

        1 is a history whose items the model has met together, 0 one as if by chance, NaN one of which it cannot tell.
        """
        self._check_histories(histories)
        return None

    def tie_order(self) -> NDArray[np.int32]:
        """Return all item numbers, int32[num_items], those first that go first among equal scores."""
        return np.arange(self.num_items, dtype=np.int32)

    @abstractmethod
    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterable[Stage]:
        """Give the stages of `fit`, on checked input; what a generator does after a yield follows that stage."""

    @abstractmethod
    def rank(
        self, histories: Sequences, k: int, allowed: NDArray[np.bool_], *, exclude_seen: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Do the work of `topk`, on checked input; a model may look at its own lists here before its fit is over."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that was learnt, as named arrays."""

    @abstractmethod
    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do the work of `restore`; the arrays may be read-only."""

    def _take_statistics(self, statistics: Statistics | None, num_subjects: int) -> None:
        if not self.capabilities.uses_statistics:
            return
        if statistics is None:
            raise ValueError(f"{self.name} learns from the statistics of its training part: pass them to fit")
        statistics.check(self.num_items, num_subjects)
        self._statistics = statistics

    def _check_request(self, histories: Sequences, k: int, allowed: NDArray[np.bool_]) -> None:
        self._check_histories(histories)
        if k < 1:
            raise ValueError(f"k is {k}; a list has at least 1 item")
        if allowed.shape != (self.num_items,) or allowed.dtype != np.bool_:
            raise ValueError(f"allowed is {allowed.dtype}{allowed.shape}; {self.name} needs bool({self.num_items},)")

    def _check_histories(self, histories: Sequences) -> None:
        if not self._is_fitted:
            raise ValueError(f"{self.name} has learnt nothing yet: call fit or restore before topk")
        self._check_numbers(histories)

    def _check_numbers(self, sequences: Sequences) -> None:
        highest = sequences.items.max(initial=0)
        if highest >= self.num_items:
            raise ValueError(
                f"item number {highest} is outside the {self.num_items} items of this {self.name}: "
                "number events with the vocabulary that the model was made for"
            )

    def _key(
        self, train: Sequences, validation: Validation | None, seed: int, start: Mapping[str, NDArray[Any]]
    ) -> str:
        """Sha256 of all that decides what a fit learns."""
        digest = hashlib.sha256(f"{self.name} {self.config!r} {self.num_items} {seed}".encode())
        parts = [train, *([validation.histories, validation.targets] if validation else [])]
        for array in [array for part in parts for array in (part.items, part.times, part.offsets, part.subjects)]:
            digest.update(np.ascontiguousarray(array).data)
        if self.capabilities.uses_metadata:
            self.catalogue.add_to(digest)
        if self._statistics:
            self._statistics.add_to(digest)
        for name in sorted(start):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(start[name]).data)
        return digest.hexdigest()
