"""UniRec: sequences of even pace teach uneven ones, frequent items teach rare ones (arXiv 2406.18470).

It extends the attention mixture of MOJITO (Tran et al. 2023, "Attention Mixtures for Time-Aware Sequential
Recommendation"). Which sequences are even, which items are frequent and which are neighbours is read from the
statistics of the training part.

The published code's defects are not repeated: no weight of one user enters another's, no statistic sees what is to be
predicted, the flag of even sequences means what it says, noise ends with training, a thinned sequence has moments of
its own. A user has no vector, so new ones are served alike; all events of a sequence make its taste, not twenty drawn.

Shapes: B windows, L positions, R windows that teach, N items, K neighbours, T targets, D features, F numbers of an
event.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batches import Indices, Windows, batches_by_length, training_windows
from models.calendar import calendar_fields
from models.enhancement import Curriculum, head_loss, neighbourhoods, sequence_loss, tail_loss
from models.moment_batches import Batch, MomentEpoch, Reader
from models.negatives import NegativeSampler
from models.next_item import NextItem
from models.recommender import Capabilities, ModelConfig, Validation
from models.sequences import FIRST_ITEM, PADDING, Sequences
from models.stages import Run, Stage
from models.unirec_network import Network, UniRecConfig

SAMPLED_NEIGHBOURS = 3
RARE, NEIGHBOURS, YEARS = "rare", "neighbours", "years"  # what lies beside the weights


class UniRec(NextItem[UniRecConfig]):
    """Ranks by the product of a query of items, moments and taste with each item's embedding."""

    name = "unirec"
    label = "UniRec"
    reason = "expected next by the sequence and its moments"
    capabilities = Capabilities(uses_statistics=True)
    Config = UniRecConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": UniRecConfig(
            dim=32,
            context_dim=8,
            length=30,
            num_blocks=1,
            dropout=0.5,
            num_epochs=5,
            learning_rate=0.003,
            max_epoch_batches=50,
            patience=2,
            ramp_epochs=3,
        ),
        "small": UniRecConfig(),
        "paper": UniRecConfig(
            context_dim=64,
            batch_size=512,
            dropout=0.3,
            num_epochs=200,
            patience=40,
            loss="bce",
            score="product",
            head_weight=0.3,
            tail_weight=0.1,
            teachers="uneven",
            curriculum="published",
            ramp_epochs=200,
        ),
    }
    beside = frozenset({RARE, NEIGHBOURS, YEARS})
    _reader: Reader
    _rare: NDArray[np.int64]
    _neighbours: NDArray[np.int32]
    _easiness: Tensor  # of items; this and the next, while training
    _teaches: NDArray[np.bool_]
    _is_frequent: NDArray[np.bool_]
    _curriculum: Curriculum

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Take from the statistics what the network reads with, then train it."""
        statistics, config = self._statistics, self.config
        assert statistics is not None, "fit has asked for them"
        self._reader = Reader(calendar_fields(np.array([train.times.min(), train.times.max()]))[:, 0])
        is_near = (statistics.neighbours != PADDING).any(axis=1)
        self._rare = np.flatnonzero(~statistics.is_frequent & is_near & (config.ie_mode == "inject"))
        self._neighbours = statistics.neighbours[self._rare]
        self._easiness = torch.from_numpy(self._easiness_of(train, statistics.gap_variance))
        ramp_epochs = 0 if start else config.ramp_epochs  # a start knows what is easy
        self._curriculum = Curriculum(config.curriculum, ramp_epochs)
        is_teacher = statistics.is_uniform if config.teachers == "uniform" else statistics.is_uneven
        self._teaches, self._is_frequent = is_teacher & (config.sequence_weight > 0), statistics.is_frequent
        yield from super().stages(train, validation, run, start)

    def _easiness_of(self, train: Sequences, gap_variance: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return how easy each item is, 0 to 1: by its events, or as published by how even its gaps are."""
        if self.config.curriculum == "published":
            variance = np.nan_to_num(gap_variance)
            return (1 - variance / max(1.0, variance.max())).astype(np.float32)
        counts = np.log1p(np.bincount(train.without_unknown().items, minlength=self.num_items))
        return (counts / counts.max()).astype(np.float32)

    def build_encoder(self) -> Network:
        """Make the network, with the neighbours that it reads rare items with."""
        return Network(self.config, self.num_items, self._rare, self._neighbours)

    def inputs(self, windows: Windows, chosen: Indices) -> NDArray[Any]:
        """Return the events of some windows, int64[B, L, F]."""
        return self._reader.events(windows.items(chosen), windows.times(chosen))

    def _epoch(self, known: Sequences, generator: np.random.Generator, number: int) -> MomentEpoch:
        windows = training_windows(known, self.config.length, generator)
        batches = batches_by_length(windows.lengths, self.config.batch_size, generator)
        return MomentEpoch(windows, batches, self._reader, self._teaches, self._is_frequent, number)

    def _loss(self, sampler: NegativeSampler, batch: Batch, generator: np.random.Generator) -> tuple[Tensor, int]:
        """Predict each next item of the batch, and add what the enhancements ask for."""
        config, network, epoch = self.config, self._network, int(batch.epoch)
        if config.ie_mode == "inject":
            network.share.fill_(config.inject_share * self._curriculum.of_rare(epoch))
        events = batch.events.to(self._device)
        query_BLD, targets_BL = self._forward(events[:, :-1]), events[:, 1:, 0]
        real_BL = targets_BL != PADDING
        targets_T = targets_BL[real_BL] - FIRST_ITEM
        loss = self.token_loss(query_BLD[real_BL], targets_T, partial(sampler.draw, generator=generator))
        if len(batch.teachers):
            loss = loss + config.sequence_weight * self._sequence_loss(batch, query_BLD)
        for part in self._item_losses(batch, generator):
            loss = loss + part
        return loss, len(targets_T)

    def _sequence_loss(self, batch: Batch, query_BLD: Tensor) -> Tensor:
        """Ask the thinned sequences for what the whole ones tell."""
        thinned, rows_R = batch.thinned.to(self._device), torch.arange(len(batch.teachers))
        num_kept_R = (batch.thinned[:, :, 0] != PADDING).sum(dim=1)
        num_events_R = (batch.events[batch.teachers, :, 0] != PADDING).sum(dim=1) - 1
        told_RD = self._network.match(self._network(thinned)[rows_R, num_kept_R - 1])
        weights_R = self._curriculum.of_sequences(int(batch.epoch), num_kept_R, num_events_R)
        return sequence_loss(told_RD, query_BLD[batch.teachers, num_events_R - 1], weights_R.to(self._device))

    def _item_losses(self, batch: Batch, generator: np.random.Generator) -> Iterator[Tensor]:
        """Compare the items of a batch, each once, with what a few of their neighbours make of them.

        Of several processes that train together each compares those of its own share of the batch.
        """
        config, network, epoch = self.config, self._network, int(batch.epoch)
        tail_weight = config.tail_weight if config.ie_mode == "loss" else 0.0  # else rare items are read as that
        if not config.head_weight and not tail_weight:
            return
        items_N, near_NK = self._sampled_neighbours(torch.unique(batch.events[:, :, 0]).numpy(), generator)
        table_VD = network.items.weight
        own_ND = table_VD[items_N.to(self._device)]
        near_ND = neighbourhoods(own_ND, near_NK.to(self._device), table_VD)
        frequent = torch.from_numpy(self._is_frequent)[items_N]
        if config.head_weight and frequent.any():
            weights = self._curriculum.of_frequent(epoch, self._easiness[items_N[frequent]]).to(self._device)
            yield config.head_weight * head_loss(network.enhance, near_ND[frequent], own_ND[frequent], weights)
        if tail_weight and not frequent.all():
            weight = tail_weight * self._curriculum.of_rare(epoch)
            yield weight * tail_loss(network.enhance, near_ND[~frequent], own_ND[~frequent])

    def _sampled_neighbours(self, numbers: NDArray[np.int64], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return those of some items that have neighbours, and a few of these drawn for each."""
        assert self._statistics is not None, "fit has asked for them"
        near = self._statistics.neighbours[numbers]
        order = np.argsort(np.where(near == PADDING, 2, generator.random(near.shape)), axis=1)[:, :SAMPLED_NEIGHBOURS]
        drawn = np.take_along_axis(near, order, axis=1)
        chosen = drawn[:, 0] != PADDING
        return torch.from_numpy(numbers[chosen]), torch.from_numpy(drawn[chosen])

    @property
    def _network(self) -> Network:
        assert isinstance(self._encoder, Network)
        return self._encoder

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights, the years that were seen, and the rare items with the neighbours they are read with."""
        return super().state() | {YEARS: self._reader.years, RARE: self._rare, NEIGHBOURS: self._neighbours}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what was learnt."""
        self._reader, self._rare, self._neighbours = Reader(state[YEARS]), state[RARE], state[NEIGHBOURS]
        super().adopt(state)
