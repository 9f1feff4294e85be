"""What sasrec, gru4rec and m2trec share: a network that reads a history and is trained to tell each next item.

Changed from both papers: every event of a long history is a training target, not only those of its last window, so no
data is left unused; and the default loss is softmax cross-entropy over all items, which ranks better than one sampled
negative (Klenitskiy & Vasilev 2023, arXiv 2309.07602).
Padding stands on the right, after everything that a causal network may look at, so it cannot change a score.

Shapes: B histories, L positions, D features, T tokens (the real events of a batch).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from models.batches import Indices, Windows, batches_by_length, training_windows
from models.known_weights import begin_with, take_over
from models.losses import (
    binary_cross_entropy,
    full_softmax,
    generalised_binary_cross_entropy,
    sampled_softmax,
)
from models.negatives import Drawing, Negatives, NegativeSampler
from models.recommender import NothingToLearn, Validation
from models.sequences import FIRST_ITEM, PADDING, Sequences
from models.sparsity import Table, spread_by_degree, thin_out_layers
from models.stages import Run, Stage
from models.threads import one_thread_a_block
from models.training import Epoch, Training, TrainingConfig, seeded
from models.validation import validation_ndcg
from models.vector_recommender import VectorRecommender

BLOCK_SUBJECTS = 64  # histories encoded together: always as many, at widths of which each is a multiple of WIDTH,
WIDTH = 8  # for matrix products of few rows are rounded otherwise than those of many


class NextItemConfig(TrainingConfig):
    """Size of the network, its loss, and how it is trained.

    dim: features. length: last events of a history that it reads. loss: over all items (softmax) or over
    num_negatives drawn items, which all tokens of a batch share; see `models.losses` and `models.negatives`.
    calibration: of gbce, between 0 and 1.
    """

    dim: int = Field(default=64, ge=1, le=4096)
    length: int = Field(default=50, ge=1, le=4096)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] = "softmax"
    num_negatives: int = Field(default=256, ge=1, le=100_000)
    negatives: Drawing = "uniform"
    calibration: float = Field(default=0.75, ge=0, le=1)


class Encoder(nn.Module, ABC):
    """Item numbers to hidden states, and to the vectors whose product with them is an item's score."""

    items: Table  # where there is a vector for each item, it is input and output

    @property
    def growing(self) -> frozenset[str]:
        """Names of the weights with a row for each item or value, of which later nights have more."""
        return frozenset({"items.weight"})

    def item_vectors(self) -> Tensor:
        """Return the vector with which a state is compared, of every item number."""
        return self.items.weight

    def degrees(self, counts: NDArray[np.int64]) -> Iterator[tuple[Table, NDArray[np.int64]]]:
        """Give the tables, and how often each of their rows is met, given how often each item is."""
        yield self.items, counts

    def table(self) -> Tensor:
        """Return that of every real item, float[V, D]."""
        return self.item_vectors()[FIRST_ITEM:]

    def sample(self, targets_T: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor, Negatives]:
        """Return a table that has the vectors of some real items, and those items as its rows."""
        return self.table(), targets_T, negatives

    @abstractmethod
    def forward(self, items_BL: Tensor) -> Tensor:
        """Return the hidden state after each event, float[B, L, D], which depends on no later event."""

    def at(self, items_BL: Tensor, last_B: Tensor) -> Tensor:
        """Return the hidden state after one event of each history, float[B, D]."""
        return self(items_BL)[torch.arange(len(last_B), device=last_B.device), last_B]


@dataclass(frozen=True)
class WindowEpoch:
    """Batches of windows of similar length."""

    windows: Windows
    batches: list[Indices]

    def batch(self, samples: Indices) -> Tensor:
        """Return the items of some windows, int64[B, L + 1]."""
        return torch.from_numpy(self.windows.items(samples)).long()


NextItemConfigT = TypeVar("NextItemConfigT", bound=NextItemConfig)


class NextItem(VectorRecommender[NextItemConfigT], Generic[NextItemConfigT]):
    """A model that implements `build_encoder`; an empty history scores every item 0.

    Memory, with a vector for each item: its weights, gradient and moments, 16 bytes * num_items * dim, and bounded
    blocks beside.
    """

    beside: ClassVar[frozenset[str]] = frozenset()  # names in the state of what is no weight

    @abstractmethod
    def build_encoder(self) -> Encoder:
        """Make the network with random weights."""

    def _build(self) -> Encoder:
        encoder = self.build_encoder()
        thin_out_layers(encoder, self.config.sparsity)
        return encoder

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Train a network; equal seeds give equal weights on the same machine and number of threads."""
        known = train.without_unknown()
        if known.lengths.max() < 2:
            raise NothingToLearn(f"{self.name}: no training history has two known items, so there is no next item")
        with seeded(run):
            self._encoder = self._build()
            if self.config.sparsity.start == "degree":
                self._spread_by_degree(known)
            if start:
                begin_with(self._encoder, self._weights(start), self._encoder.growing)
        self._forward = torch.compile(self._encoder, dynamic=True) if self.config.compile else self._encoder
        max_cases = self.config.max_validation_cases
        yield Training(
            "fit",
            self._encoder,
            self.config,
            epoch=partial(self._epoch, known),
            loss=partial(self._loss, self._sampler(known)),
            evaluate=partial(validation_ndcg, self, validation, max_cases) if validation else None,
        )

    def _spread_by_degree(self, known: Sequences) -> None:
        counts = np.bincount(known.items, minlength=self.num_items)
        for table, degrees in self._encoder.degrees(counts):
            spread_by_degree(table, degrees, self.config.sparsity)

    def _epoch(self, known: Sequences, generator: np.random.Generator, number: int) -> Epoch[Any]:
        windows = training_windows(known, self.config.length, generator)
        return WindowEpoch(windows, batches_by_length(windows.lengths, self.config.batch_size, generator))

    def _sampler(self, known: Sequences) -> NegativeSampler:
        targets = known.items[known.positions > 0]
        counts = np.bincount(targets - FIRST_ITEM, minlength=self.num_items - FIRST_ITEM)
        return NegativeSampler(counts, self.config.negatives, self.config.num_negatives)

    def _loss(self, sampler: NegativeSampler, batch: Any, generator: np.random.Generator) -> tuple[Tensor, int]:
        """Predict each next item of the batch, among all real items."""
        hidden_TD, targets_T = self.predictions(batch.to(self._device))
        return self.token_loss(hidden_TD, targets_T, partial(sampler.draw, generator=generator)), len(targets_T)

    def predictions(self, items_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each target of a batch is to be told from, float[T, D], and the targets, int64[T] real items."""
        targets_BL = items_BL[:, 1:]
        real_BL = targets_BL != PADDING
        return self._forward(items_BL[:, :-1])[real_BL], targets_BL[real_BL] - FIRST_ITEM

    def token_loss(self, hidden_TD: Tensor, targets_T: Tensor, draw: Callable[[Tensor], Negatives]) -> Tensor:
        """Return the mean loss of the targets; `draw` gives the negatives for some targets."""
        if self.config.loss == "softmax":
            return full_softmax(hidden_TD, self._encoder.table(), targets_T)
        losses: dict[str, Callable[..., Tensor]] = {
            "sampled_softmax": sampled_softmax,
            "bce": binary_cross_entropy,
            "gbce": partial(
                generalised_binary_cross_entropy,
                calibration=self.config.calibration,
                num_items=self.num_items - FIRST_ITEM,
            ),
        }
        return losses[self.config.loss](hidden_TD, *self._encoder.sample(targets_T, draw(targets_T)))

    @property
    def _device(self) -> torch.device:
        return next(self._encoder.parameters()).device

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Encode the last events of every history, histories of similar length together."""
        recent = histories.without_unknown().tail(self.config.length)
        hidden_BD = np.zeros((len(recent), self.config.dim), np.float32)
        widths = np.minimum(-(-recent.lengths // WIDTH) * WIDTH, self.config.length)
        windows = Windows(recent, recent.offsets[:-1], recent.lengths)
        blocks = [
            (alike[start : start + BLOCK_SUBJECTS], int(width))
            for width in np.unique(widths[widths > 0])
            for alike in [np.flatnonzero(widths == width)]
            for start in range(0, len(alike), BLOCK_SUBJECTS)
        ]

        def encode(block: tuple[Indices, int]) -> None:
            hidden_BD[block[0]] = self._encode(windows, *block)

        with one_thread_a_block() as pool:
            list(pool.map(encode, blocks))
        return hidden_BD

    def _encode(self, windows: Windows, chosen: Indices, width: int) -> NDArray[np.float32]:
        """Encode up to BLOCK_SUBJECTS histories, as if there were so many and all of this width."""
        read = self.inputs(windows, chosen)
        padded = np.zeros((BLOCK_SUBJECTS, width, *read.shape[2:]), np.int64)
        padded[: len(read), : read.shape[1]] = read
        last = np.zeros(BLOCK_SUBJECTS, np.int64)
        last[: len(read)] = windows.lengths[chosen] - 1
        to_device = partial(torch.Tensor.to, device=self._device)
        with torch.inference_mode():
            hidden_BD = self._encoder.at(to_device(torch.from_numpy(padded)), to_device(torch.from_numpy(last)))
        encoded: NDArray[np.float32] = hidden_BD[: len(read)].float().numpy(force=True)
        return encoded

    def inputs(self, windows: Windows, chosen: Indices) -> NDArray[Any]:
        """Return what the network reads of some windows, whole numbers [B, L, ...], 0 in the padding."""
        return windows.items(chosen)

    def item_blocks(self) -> Iterator[NDArray[np.float32]]:
        """Return the vectors of the items at once."""
        with torch.inference_mode():
            yield self._encoder.item_vectors().numpy(force=True)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights."""
        return {name: weight.numpy(force=True) for name, weight in self._encoder.state_dict().items()}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over the weights, without drawing random numbers."""
        with torch.device("meta"):
            encoder = self._build()
        take_over(encoder, self._weights(state), self.name)
        self._encoder = encoder.eval()

    def _weights(self, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: array for name, array in state.items() if name not in self.beside}
