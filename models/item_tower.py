"""What items are known by: a vector for each value of their fields, none for an item.

Concatenated field vectors, as in M2TRec (arXiv 2209.11824, figure 1). An item without a value in a field has the
field's "unknown" vector there, and so has a value that came after the model was fitted. It is learnt: while training, a
share of the items lose a field's values at random.

Shapes: N items, E features of a field, C of all fields together, D of an item, P values of some items.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.catalogue import FIRST_VALUE, Values
from models.sequences import UNKNOWN
from models.sparsity import DENSE, Sparsity, draw, make_table, normal

BUCKETS_AN_OCTAVE = 8  # of popularity: counts up to 11 are told apart
MOST_POPULAR = 250  # bucket; it is that of 2.5 billion events
BUCKET_EVENTS = 500  # that the items of a bucket have together at least, for its vector to be learnt
# Odd 64-bit factors of which the high bits of a product are well mixed: the golden ratio's, and one of splitmix64.
HASH_FACTORS = (-7046029254386353131, -4658895280553007687)


class Part(nn.Module, ABC):
    """One thing that items are known by; drop_rate: how often an item is taken for one without, in training."""

    def __init__(self, dim: int, drop_rate: float) -> None:
        super().__init__()
        self.dim, self.drop_rate = dim, drop_rate

    @abstractmethod
    def forward(self, items_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors, float[N, E], and which items have none, bool[N]."""

    @abstractmethod
    def unknown(self) -> Tensor:
        """Return the vector of an item without, float[E]."""


class FieldTable(Part):
    """The vectors of one field's values: an item has the mean of its values' vectors."""

    numbers: Tensor
    offsets: Tensor

    def __init__(self, values: Values, num_rows: int, dim: int, drop_rate: float, sparsity: Sparsity = DENSE) -> None:
        super().__init__(dim, drop_rate)
        self.table = make_table(num_rows, dim, sparsity)
        draw(self.table, normal)
        self.register_buffer("numbers", _tensor(values.numbers), persistent=False)
        self.register_buffer("offsets", _tensor(values.offsets), persistent=False)

    def forward(self, items_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors, float[N, E], and which items have none, bool[N]."""
        starts_N = self.offsets[items_N]
        lengths_N = self.offsets[items_N + 1] - starts_N
        bags_N = lengths_N.cumsum(0) - lengths_N
        places_P = torch.arange(int(lengths_N.sum()), device=items_N.device)
        rows_P = self.numbers[places_P + (starts_N - bags_N).repeat_interleave(lengths_N)].long()
        rows_P = rows_P.where(rows_P < self.table.num_embeddings, UNKNOWN)
        if isinstance(self.table, nn.Embedding):
            return F.embedding_bag(rows_P, self.table.weight, bags_N, mode="mean"), lengths_N == 0
        read, rows_P = rows_P.unique(return_inverse=True)
        return F.embedding_bag(rows_P, self.table(read), bags_N, mode="mean"), lengths_N == 0

    def unknown(self) -> Tensor:
        """Return the vector of an item without a value, float[E]."""
        return self.table(torch.tensor(UNKNOWN, device=self.offsets.device))

    def degrees(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how often each value is met, int64[num_rows], given how often each item is."""
        events = np.repeat(counts, np.diff(self.offsets.numpy(force=True)))
        rows, num_rows = self.numbers.numpy(force=True), self.table.num_embeddings
        found = np.bincount(np.where(rows < num_rows, rows, UNKNOWN), weights=events, minlength=num_rows)
        return found.astype(np.int64)


def popularity_buckets(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the bucket of each item's number of events, uint8[num_items], 0 of none and MOST_POPULAR at most.

    Neighbouring buckets with few events are one, the highest of them.

    >>> popularity_buckets(np.array([0, 1, 2, 400, 1000, 1010, 2000, 2200]))
    array([ 0, 69, 69, 69, 80, 80, 88, 89], dtype=uint8)
    """
    buckets = np.minimum(np.round(BUCKETS_AN_OCTAVE * np.log2(1.0 + counts)), MOST_POPULAR).astype(np.int64)
    events = np.bincount(buckets, weights=counts, minlength=MOST_POPULAR + 1).astype(np.float64)
    return _joined(events)[buckets]


def _joined(events: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return for each bucket the one that stands for it, so that each has BUCKET_EVENTS events or more."""
    joined, first, waiting = np.arange(len(events), dtype=np.uint8), 1, 0.0
    for bucket in range(1, len(events)):
        waiting += events[bucket]
        if waiting >= BUCKET_EVENTS:
            joined[first : bucket + 1] = bucket
            first, waiting = bucket + 1, 0.0
    joined[first:] = max(first - 1, 1)
    return joined


def popularity_table(buckets: NDArray[np.uint8], dim: int, drop_rate: float, sparsity: Sparsity = DENSE) -> FieldTable:
    """Make popularity a field like any other: items without events have no value."""
    numbers = FIRST_VALUE + buckets[buckets > 0].astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(buckets > 0)]).astype(np.int64)
    num_rows = FIRST_VALUE + MOST_POPULAR + 1
    return FieldTable(Values(numbers, offsets, num_rows), num_rows, dim, drop_rate, sparsity)


class HashedIds(Part):
    """A vector of the item itself, as the sum of two that other items share: these tables do not grow with the items.

    An item that is not among the seen, bool[num_items], has none: its rows have learnt of others alone.
    """

    seen: Tensor

    def __init__(
        self, seen: NDArray[np.bool_], num_rows: int, dim: int, drop_rate: float, sparsity: Sparsity = DENSE
    ) -> None:
        super().__init__(dim, drop_rate)
        tables = [make_table(FIRST_VALUE + num_rows, dim, sparsity) for _ in HASH_FACTORS]
        self.tables = nn.ModuleList(tables)
        for table in tables:
            draw(table, normal)
        self.num_rows = num_rows
        self.register_buffer("seen", _tensor(seen), persistent=False)

    def forward(self, items_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors, float[N, E], and which items have none, bool[N]."""
        rows = [FIRST_VALUE + ((items_N * factor) >> 32) % self.num_rows for factor in HASH_FACTORS]
        sum_NE = torch.stack([table(row) for row, table in zip(rows, self.tables, strict=True)]).sum(dim=0)
        return sum_NE, ~self.seen[items_N]

    def unknown(self) -> Tensor:
        """Return the vector of an item that was not seen, float[E]."""
        return self.tables[0](torch.tensor(UNKNOWN, device=self.seen.device))


class ItemTower(nn.Module):
    """Every part's vector of an item, side by side, and a projection of them."""

    def __init__(self, parts: Sequence[Part], dim: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        width = sum(part.dim for part in parts)
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim), nn.LayerNorm(dim))

    def forward(self, items_N: Tensor, without: int = -1) -> Tensor:
        """Return float[N, D]; `without`: the number of a part in which no item has a value."""
        out: Tensor = self.project(self.side_by_side(items_N, without))
        return out

    def side_by_side(self, items_N: Tensor, without: int = -1) -> Tensor:
        """Return the vectors of the parts, float[N, C]."""
        vectors = []
        for number, part in enumerate(self.parts):
            assert isinstance(part, Part)
            vectors_NE, missing_N = part(items_N)
            if self.training and part.drop_rate:
                missing_N = missing_N | (torch.rand(len(missing_N), device=missing_N.device) < part.drop_rate)
            if number == without:
                missing_N = torch.ones_like(missing_N)
            vectors.append(torch.where(missing_N[:, None], part.unknown(), vectors_NE))
        return torch.cat(vectors, dim=1)


def _tensor(array: NDArray) -> Tensor:
    """Share an array's memory; one that is read-only is copied, for torch cannot promise not to write."""
    return torch.from_numpy(np.require(array, requirements="W"))
