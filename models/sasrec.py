"""SASRec: a causal transformer over the last items of a history (Kang & McAuley 2018, arXiv 1808.09781).

Changed from the paper:
* softmax cross-entropy over all items instead of one sampled negative, which ranks better (Klenitskiy & Vasilev 2023,
  arXiv 2309.07602);
* every event of a long history is a training target, not only those of its last window: no data is left unused;
* blocks normalise their input ("pre-norm", steadier) and the feed-forward layer is 4 times as wide, with GELU;
* no dropout of attention weights, which would rule out the fused attention kernels;
* padding stands on the right, after everything that a causal model may look at, so it cannot change a score.

Shapes: B sequences, L positions, D features, H heads, T tokens (the real events of a batch).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.cross_entropy import full_cross_entropy
from models.recommender import (
    Capabilities,
    FitReport,
    ModelConfig,
    NothingToLearn,
    Recommender,
    StepRecord,
    Validation,
)
from models.sequences import FIRST_ITEM, PADDING, Sequences
from models.training import Trainer, TrainingConfig, seeded, validation_ndcg


class SasRecConfig(TrainingConfig):
    """Size of the network: features, events looked at, blocks, heads; dropout. The rest is about training."""

    dim: PositiveInt = 64
    length: PositiveInt = 50
    num_blocks: PositiveInt = 2
    num_heads: PositiveInt = 1
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "SasRecConfig":
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        return self


class Block(nn.Module):
    """Causal self-attention, then a feed-forward layer, each added to its input."""

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        dim = config.dim
        self.num_heads = config.num_heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_qkv, self.from_heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return float[B, L, D]; position l depends on positions up to l only."""
        x_BLD = x_BLD + self.dropout(self._attend(self.attention_norm(x_BLD)))
        return x_BLD + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x_BLD)))))

    def _attend(self, x_BLD: Tensor) -> Tensor:
        qkv_BLHD = self.to_qkv(x_BLD).unflatten(-1, (3 * self.num_heads, -1))
        query, key, value = qkv_BLHD.transpose(1, 2).chunk(3, dim=1)
        heads_BHLD = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.from_heads(heads_BHLD.transpose(1, 2).flatten(2))
        return out


class Network(nn.Module):
    """Item numbers to hidden states; the item table is also the output layer."""

    def __init__(self, config: SasRecConfig, num_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items, config.dim)
        self.positions = nn.Embedding(config.length, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, items_BL: Tensor) -> Tensor:
        """Return the hidden state after each event, float[B, L, D]."""
        x_BLD = self.items(items_BL) * self.items.embedding_dim**0.5 + self.positions.weight[: items_BL.shape[1]]
        x_BLD = self.dropout(x_BLD)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        hidden: Tensor = self.norm(x_BLD)
        return hidden


class SasRec(Recommender[SasRecConfig]):
    """Ranks by the product of the last hidden state with each item's embedding; an empty history scores all 0.

    Memory: the weights, their gradient and two moments, 16 bytes * num_items * dim, and bounded blocks beside.
    """

    name = "sasrec"
    label = "SASRec"
    reason = "expected next by the sequence model"
    capabilities = Capabilities()
    Config = SasRecConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": SasRecConfig(
            dim=32, length=30, num_blocks=1, num_epochs=5, learning_rate=0.005, max_epoch_batches=50, patience=2
        ),
        "small": SasRecConfig(),
        "paper": SasRecConfig(length=200, num_epochs=200, patience=10),
    }
    max_chunk_subjects = 256

    def learn(
        self, train: Sequences, validation: Validation | None, *, seed: int, on_step: Callable[[StepRecord], None]
    ) -> FitReport:
        """Train a new network; equal seeds give equal weights on the same machine and number of threads."""
        known = train.without_unknown()
        if known.lengths.max() < 2:
            raise NothingToLearn("sasrec: no training history has two known items; there is no next item to learn")
        generator = np.random.default_rng(seed)
        with seeded(seed):
            self._network = network = Network(self.config, self.num_items)
            trainer = Trainer(
                network,
                self.config,
                batches=lambda epoch: self._batches(known, generator),
                loss=self._loss,
                evaluate=partial(validation_ndcg, self, validation) if validation else None,
                on_step=on_step,
            )
            report = trainer.run()
        self._network = network.double()
        return report

    def _batches(self, known: Sequences, generator: np.random.Generator) -> Iterator[Tensor]:
        """Give the windows of an epoch, similar lengths together: int64[B, L + 1], L the longest of the batch."""
        windows = training_windows(known, self.config.length, generator)
        by_length = np.lexsort((generator.random(len(windows)), windows.lengths))
        cuts = np.arange(self.config.batch_size, len(windows), self.config.batch_size)
        batches = np.split(by_length, cuts)
        for number in generator.permutation(len(batches)):
            batch = windows.take(batches[number])
            yield torch.from_numpy(batch.right_padded(int(batch.lengths.max()))).long()

    def _loss(self, items_BL: Tensor) -> Tensor:
        """Predict each next item of the batch, among all real items."""
        inputs_BL, targets_BL = items_BL[:, :-1], items_BL[:, 1:]
        real_BL = targets_BL != PADDING
        hidden_TD = self._network(inputs_BL)[real_BL]
        return full_cross_entropy(hidden_TD, self._network.items.weight[FIRST_ITEM:], targets_BL[real_BL] - FIRST_ITEM)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """Score with float64 arithmetic, rounded: sums then do not depend on how a batch is cut, so nor do lists."""
        recent = histories.without_unknown().tail(self.config.length)
        last = recent.lengths - 1
        items_BL = torch.from_numpy(recent.right_padded(max(1, int(last.max(initial=0)) + 1))).long()
        with torch.inference_mode():
            hidden_BD = self._network(items_BL)[torch.arange(len(last)), torch.from_numpy(last)]
            hidden_BD[torch.from_numpy(last < 0)] = 0
            scores: NDArray[np.float32] = (hidden_BD @ self._network.items.weight.T).float().numpy()
        return scores

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights as float32, in which they were learnt."""
        return {name: weight.float().numpy() for name, weight in self._network.state_dict().items()}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over the weights, without drawing random numbers."""
        with torch.device("meta"):
            network = Network(self.config, self.num_items)
        network.load_state_dict({name: torch.tensor(weight) for name, weight in state.items()}, assign=True)
        self._network = network.double().eval()


def training_windows(histories: Sequences, length: int, generator: np.random.Generator) -> Sequences:
    """Cut histories into windows of up to `length` inputs and the item after the last of them.

    Every event but the first of a history is a target exactly once. Where a long history is cut is drawn anew at every
    call, so that no event always stands just after a cut, with nothing to be predicted from.
    """
    num_inputs = histories.lengths - 1
    first = np.where(num_inputs > length, generator.integers(1, length + 1, len(histories)), num_inputs)
    num_windows = np.where(num_inputs > 0, 1 - (first - num_inputs) // length, 0)
    owner = np.repeat(np.arange(len(histories)), num_windows)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(num_windows) - num_windows, num_windows)
    start = np.where(number > 0, first[owner] + (number - 1) * length, 0)
    stop = np.minimum(first[owner] + number * length, num_inputs[owner])
    return histories.cut(histories.offsets[owner] + start, stop - start + 1)
