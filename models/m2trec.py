"""M2TRec: a transformer that knows items by their metadata alone (Shalaby et al. 2022, arXiv 2209.11824).

An item is the concatenation of the vectors of its fields' values, so a new item is ranked like any other, and the model
does not grow with the catalogue. A session is the mean of the transformer's states, and three kinds of head share it:
the next item, its first category and each further level of its category path.

The paper leaves open, and here is: the item head is tied, an item's vector is what the transformer reads, so that what
is seen is near to what is like it from the start; both sides have length 1 (as in NISER, arXiv 1909.04276), times a
learnt scale; a field may be unknown, and is so at random while training. `attention = "bidirectional"` is the paper's
form, one example a prefix; "causal", the default, learns from all prefixes of a session in one pass, the mean running
along; `pooling = "last"` takes the last state instead of the mean. `hashed_ids` gives items a vector of their own after
all, in tables of fixed size: for a catalogue whose fields do not tell its items apart.

Shapes: B sessions, L positions, T targets, N items, D features.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batches import Windows, batches_by_length
from models.field_plan import (
    ATTRIBUTE,
    CATEGORY,
    FIRST_SEEN,
    Fields,
    adopt_fields,
    plan_fields,
    read_fields,
    write_fields,
)
from models.item_tower import FieldTable, HashedIds, Part, popularity_buckets, popularity_table
from models.m2trec_network import M2TRecConfig, Network
from models.negatives import Negatives
from models.next_item import NextItem, WindowEpoch
from models.recommender import Capabilities, ModelConfig, UnfitCatalogue, Validation
from models.sequences import FIRST_ITEM, PADDING, Sequences
from models.stages import Run, Stage
from models.threads import one_thread_a_block
from models.training import Epoch

HASHED_DROP_RATE = 0.1  # of the vector of the item itself, on which the model must not come to rely alone
BLOCK_ITEMS = 4096  # whose vectors are computed together: always as many, so that they are rounded alike
STREAM_ITEMS = 65_536  # whose vectors are in memory together
CHUNK_REASONS = 1024  # lists that are explained together
SHARE_OF_BEST = 0.5  # of what losing one field costs a score: what losing another must cost to be named beside it
FIELDS, POPULARITY = "fields", "popularity"  # what lies beside the weights

_log = logging.getLogger("nightly.m2trec")


class M2TRec(NextItem[M2TRecConfig]):
    """Ranks by the product of the session's vector with each item's, both made of metadata.

    Memory: the tables of values, which do not grow with the items, and the catalogue's numbers, 4 bytes a value and 8
    an item and field, which may be on disk. Vectors of items are computed when ranking, STREAM_ITEMS at a time. While
    training, loss = "softmax" computes all of them in every step, some KB an item; beyond some 100,000 items choose
    "sampled_softmax", which computes those that were drawn.
    """

    name = "m2trec"
    label = "M2TRec"
    reason = "expected next by its metadata"
    capabilities = Capabilities(uses_metadata=True)
    Config = M2TRecConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": M2TRecConfig(
            dim=32,
            field_dim=16,
            length=20,
            num_blocks=1,
            num_heads=2,
            num_epochs=5,
            learning_rate=0.005,
            max_epoch_batches=50,
            patience=2,
        ),
        "small": M2TRecConfig(dim=128, length=20, batch_size=512, num_heads=4, warmup_steps=100, learning_rate=0.002),
        "paper": M2TRecConfig(dim=128, length=20, batch_size=512, attention="bidirectional", warmup_steps=500),
    }
    beside = frozenset({FIELDS, POPULARITY})
    _fields: Fields
    _popularity: NDArray[np.uint8]  # a bucket for each item, 0 without an event
    _labels: NDArray[np.int32]  # [K, num_items], of each category level with a head; while training

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Choose the fields, then train; what the fields lack is said in the log."""
        counts = np.bincount(train.items, minlength=self.num_items)
        self._popularity, seen = popularity_buckets(counts), counts > 0
        self._fields, notes = plan_fields(self.catalogue, seen) if self.config.metadata else ((), [])
        if start:
            self._fields = adopt_fields(read_fields(start[FIELDS]), self._fields, self.catalogue)
        for note in [*notes, *self._levels_without_head()]:
            _log.warning("%s: %s", self.name, note)
        if all(field.name == FIRST_SEEN for field in self._fields) and not self.config.hashed_ids:
            raise UnfitCatalogue(f"{self.name} knows items by their metadata, and no field of it tells them apart")
        labels = [field.values(self.catalogue).first() for field in self._levels()]
        self._labels = np.stack(labels) if labels else np.empty((0, self.num_items), np.int32)
        yield from super().stages(train, validation, run, start)

    def _levels_without_head(self) -> list[str]:
        deeper = [field.name for field in self._fields if field.level > self.config.category_levels > 0]
        if not deeper:
            return []
        return [
            f"the category path is deeper than category_levels = {self.config.category_levels}: "
            f"{', '.join(deeper)} tells items apart, but is not predicted"
        ]

    def build_encoder(self) -> Network:
        """Make the network on the chosen fields of the catalogue."""
        config = self.config
        parts: list[Part] = [
            FieldTable(
                field.values(self.catalogue), field.num_rows, config.field_dim, config.drop_rate, config.sparsity
            )
            for field in self._fields
        ]
        if config.popularity:
            parts.append(popularity_table(self._popularity, config.field_dim, config.drop_rate, config.sparsity))
        if config.hashed_ids:
            seen = self._popularity > 0
            parts.append(HashedIds(seen, config.hashed_rows, config.dim, HASHED_DROP_RATE, config.sparsity))
        return Network(config, self.num_items, parts, [field.num_rows for field in self._levels()])

    def _levels(self) -> Fields:
        """Return the levels of the category path that have a head."""
        return tuple(field for field in self._fields if 0 < field.level <= self.config.category_levels)

    @property
    def _network(self) -> Network:
        assert isinstance(self._encoder, Network)
        return self._encoder

    def _epoch(self, known: Sequences, generator: np.random.Generator, number: int) -> Epoch[Any]:
        """In both directions, every prefix is a window of its own."""
        if self.config.attention == "causal":
            return super()._epoch(known, generator, number)
        targets = np.flatnonzero(known.positions > 0)
        lengths = np.minimum(known.positions[targets], self.config.length) + 1
        windows = Windows(known, targets + 1 - lengths, lengths)
        return WindowEpoch(windows, batches_by_length(lengths, self.config.batch_size, generator))

    def predictions(self, items_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the queries and what follows: every event of a window, or in both directions the last."""
        if self.config.attention == "causal":
            return super().predictions(items_BL)
        last_B = (items_BL != PADDING).sum(dim=1) - 2
        targets_B = items_BL[torch.arange(len(last_B)), last_B + 1]
        return self._encoder.at(items_BL[:, :-1], last_B), targets_B - FIRST_ITEM

    def token_loss(self, hidden_TD: Tensor, targets_T: Tensor, draw: Callable[[Tensor], Negatives]) -> Tensor:
        """Return the loss of the item head and, by their weight, of the category heads."""
        labels_KT = torch.from_numpy(self._labels[:, targets_T.numpy(force=True) + FIRST_ITEM]).long().to(self._device)
        category_loss = sum(self._network.category_losses(hidden_TD, labels_KT))
        return super().token_loss(hidden_TD, targets_T, draw) + self.config.category_weight * category_loss

    def item_blocks(self) -> Iterator[NDArray[np.float32]]:
        """Compute the vectors of all items, STREAM_ITEMS at a time."""
        for start in range(0, self.num_items, STREAM_ITEMS):
            yield self._vectors(np.arange(start, min(start + STREAM_ITEMS, self.num_items)))

    def _vectors(self, items: NDArray[np.int64], without: int = -1) -> NDArray[np.float32]:
        """Compute the vectors of some items, float32[N, D], in blocks of always as many."""
        padded = np.pad(items, (0, -len(items) % BLOCK_ITEMS))
        vectors = np.empty((len(padded), self.config.dim), np.float32)

        def compute(start: int) -> None:
            block = torch.from_numpy(padded[start : start + BLOCK_ITEMS]).to(self._device)
            with torch.inference_mode():
                vectors[start : start + BLOCK_ITEMS] = self._network.vectors(block, without).numpy(force=True)

        with one_thread_a_block() as pool:
            list(pool.map(compute, range(0, len(padded), BLOCK_ITEMS)))
        return vectors[: len(items)]

    def reasons(self, histories: Sequences, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], Sequence[str]]:
        """Name what each item was matched on: the field without which its score would fall most.

        The one after it is named too, if it costs at least SHARE_OF_BEST of that. No field is, where none costs any.
        Popularity is not among them: it says nothing of what the history and the item have in common.
        Memory: two vectors of every item listed. The time is that of ranking once more.
        """
        names = [_shown_name(field.name) for field in self._fields]  # a field and an attribute may be called alike
        parts = list(range(len(self._fields)))
        if self.config.hashed_ids:
            names.append("the item itself")
            parts.append(len(self._fields) + self.config.popularity)
        by_metadata = self._fields and self.config.item_head == "tied"
        texts = [self.reason if by_metadata else "expected next", *(f"matched on {name}" for name in names)]
        texts += [f"matched on {' and '.join(dict.fromkeys((first, second)))}" for first in names for second in names]
        if self.config.item_head == "free":
            return np.zeros(items.shape, np.int32), texts
        listed, places = np.unique(items, return_inverse=True)
        numbers, places = listed.astype(np.int64), places.reshape(items.shape)
        vectors, queries = self._vectors(numbers), self.queries(histories)
        costs_PBK = np.empty((len(parts), *items.shape), np.float32)
        for costs_BK, without in zip(costs_PBK, parts, strict=True):
            losses = vectors - self._vectors(numbers, without)
            for start in range(0, len(items), CHUNK_REASONS):
                chunk = slice(start, start + CHUNK_REASONS)
                costs_BK[chunk] = np.einsum("bkd,bd->bk", losses[places[chunk]], queries[chunk])
        return _most_costly(costs_PBK), texts

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights, the fields, and how popular the items were."""
        return super().state() | {FIELDS: write_fields(self._fields), POPULARITY: self._popularity}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what was learnt; the catalogue may have grown since. Raises ValueError where it shrank."""
        known = state[POPULARITY]
        if len(known) > self.num_items:
            raise ValueError(
                f"the catalogue has {self.num_items} items, and the model has learnt {len(known)}: a vocabulary only "
                "grows, so these numbers mean other items; fit the model anew"
            )
        self._popularity = np.pad(known, (0, self.num_items - len(known)))
        self._fields = read_fields(state[FIELDS])
        super().adopt(state)


def _most_costly(costs_PBK: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return 0 where no part costs any, 1 + p where part p does, 1 + P + p * P + q where q follows close behind."""
    num_parts = len(costs_PBK)
    by_cost = np.argsort(-costs_PBK, axis=0, kind="stable")
    best, second = by_cost[0], by_cost[min(1, num_parts - 1)]
    most, next_most = (np.take_along_axis(costs_PBK, part[None], axis=0)[0] for part in (best, second))
    is_close = (best != second) & (next_most >= SHARE_OF_BEST * most)
    codes = np.where(is_close, 1 + num_parts + best * num_parts + second, 1 + best)
    return np.where(most > 0, codes, 0).astype(np.int32)


def _shown_name(field: str) -> str:
    """Return a field's name as a reader of the lists knows it.

    >>> [_shown_name(name) for name in ("title", "category_2", "attribute:colour", "first_seen")]
    ['title', 'category level 2', 'colour', 'age']
    """
    if field == FIRST_SEEN:
        return "age"
    if field.startswith(CATEGORY):
        return f"category level {field.removeprefix(CATEGORY)}"
    return field.removeprefix(ATTRIBUTE)
