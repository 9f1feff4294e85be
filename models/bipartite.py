"""The graph of subjects and the items that they met, along whose edges vectors spread (LightGCN, arXiv 2002.02126).

An edge between a subject of degree d and an item of degree e weighs 1 / sqrt(d * e), however often they met. What
spreads in a step from the items to the subjects, and from the subjects to the items, is linear and its own transpose:
so a gradient spreads as the vectors did, and no step on the way is kept.

Shapes: U subjects, V items, E edges, D features.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from models.sequences import Sequences
from models.threads import one_thread_a_block

BLOCK_NUMBERS: Final = 2**23  # of what edges bring together, from which on another thread pays


@dataclass(frozen=True, eq=False)
class Graph:
    """Subject u met the items items[offsets[u]:offsets[u + 1]], int32[E], in ascending order and each once."""

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    num_items: int

    @classmethod
    def of(cls, met: Sequences, owners: NDArray[np.int64], num_subjects: int, num_items: int) -> Self:
        """Make the graph of what sequences hold; owners int64[S]: whose each of them is."""
        pairs = np.unique(owners[met.rows] * num_items + met.items)
        offsets = np.searchsorted(pairs, np.arange(num_subjects + 1) * num_items).astype(np.int64)
        return cls((pairs % num_items).astype(np.int32), offsets, num_items)

    @property
    def num_subjects(self) -> int:
        """Subjects, also those without an edge."""
        return len(self.offsets) - 1

    @cached_property
    def subjects(self) -> NDArray[np.int64]:
        """The subject of each edge, int64[E]."""
        return np.repeat(np.arange(self.num_subjects), np.diff(self.offsets))

    @cached_property
    def item_degrees(self) -> NDArray[np.int64]:
        """How many subjects met each item, int64[V]."""
        return np.bincount(self.items, minlength=self.num_items)

    @cached_property
    def item_weights(self) -> NDArray[np.float32]:
        """The root of 1 / degree of each item, float32[V], 0 for one that nobody met."""
        return inverse_root(self.item_degrees)

    @cached_property
    def subject_weights(self) -> NDArray[np.float32]:
        """The root of 1 / degree of each subject, float32[U], 0 for one who met none."""
        return inverse_root(np.diff(self.offsets))

    def adjacency(self, device: torch.device) -> "Adjacency":
        """Return the weighed edges on a device."""
        weights = self.subject_weights[self.subjects] * self.item_weights[self.items]
        by_item = np.argsort(self.items, kind="stable")
        item_offsets = np.concatenate([[0], np.cumsum(self.item_degrees)])
        to_subjects = Edges.of(self.offsets, self.items, weights, device)
        return Adjacency(to_subjects, Edges.of(item_offsets, self.subjects[by_item], weights[by_item], device))


def inverse_root(degrees: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return 1 / sqrt(degree), and 0 where that is 0.

    >>> inverse_root(np.array([0, 1, 4]))
    array([0. , 1. , 0.5], dtype=float32)
    """
    return np.where(degrees > 0, 1 / np.sqrt(np.maximum(degrees, 1)), 0).astype(np.float32)


@dataclass(frozen=True)
class Edges:
    """A sparse matrix by rows: row n has the columns and weights offsets[n] to offsets[n + 1], int32 and float32."""

    offsets: Tensor
    columns: Tensor
    weights: Tensor

    @classmethod
    def of(
        cls, offsets: NDArray[np.int64], columns: NDArray[Any], weights: NDArray[np.float32], device: torch.device
    ) -> Self:
        """Put arrays on a device."""
        arrays = offsets.astype(np.int32), columns.astype(np.int32), weights
        return cls(*[torch.from_numpy(array).to(device) for array in arrays])

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return what the edges bring to every row, float32[N, D]; the same for any number of threads.

        On a processor this takes half as long as torch's product with a sparse matrix.
        """
        num_rows = len(self.offsets) - 1
        if vectors.device.type != "cpu":
            with warnings.catch_warnings():  # torch calls them a beta
                warnings.filterwarnings("ignore", "Sparse CSR tensor support")
                shape = num_rows, len(vectors)
                matrix = torch.sparse_csr_tensor(
                    self.offsets, self.columns, self.weights, shape, check_invariants=False
                )
            return matrix @ vectors
        out = vectors.new_empty(num_rows, vectors.shape[1])
        offsets, columns, weights = self.offsets.numpy(), self.columns.numpy(), self.weights.numpy()
        given, made = vectors.contiguous().numpy(), out.numpy()

        def work(start: int, end: int) -> None:
            _add_up(offsets, columns, weights, given, made, start, end)

        num_blocks = min(torch.get_num_threads(), 1 + len(columns) * vectors.shape[1] // BLOCK_NUMBERS)
        if num_blocks == 1:
            work(0, num_rows)
            return out
        ends = np.linspace(0, len(columns), num_blocks + 1)[1:-1]  # blocks of equally many edges
        rows = [0, *np.searchsorted(offsets, ends).tolist(), num_rows]
        with one_thread_a_block() as pool:
            list(pool.map(work, rows[:-1], rows[1:]))
        return out


@njit(cache=True, nogil=True)
def _add_up(
    offsets: NDArray[np.int32],
    columns: NDArray[np.int32],
    weights: NDArray[np.float32],
    vectors: NDArray[np.float32],
    out: NDArray[np.float32],
    start: int,
    end: int,
) -> None:
    for row in range(start, end):
        sums = out[row]
        sums[:] = 0
        for edge in range(offsets[row], offsets[row + 1]):
            weight, vector = weights[edge], vectors[columns[edge]]
            for feature in range(len(sums)):
                sums[feature] += weight * vector[feature]


@dataclass(frozen=True)
class Adjacency:
    """What goes to subjects from items, [U, V], and the transpose of it, [V, U]."""

    to_subjects: Edges
    to_items: Edges


def spread(subjects_UD: Tensor, items_VD: Tensor, adjacency: Adjacency, steps: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the vectors and of what they are after each of some steps; differentiable in both.

    Products are done in float32, also in an autocast region. Memory: three times the vectors.
    """
    with torch.autocast(subjects_UD.device.type, enabled=False):
        out: tuple[Tensor, Tensor] = _Spread.apply(subjects_UD.float(), items_VD.float(), adjacency, steps)
        return out


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, subjects_UD: Tensor, items_VD: Tensor, adjacency: Adjacency, steps: int
    ) -> tuple[Tensor, Tensor]:
        ctx.adjacency, ctx.steps = adjacency, steps
        return _mean_of_steps(subjects_UD, items_VD, adjacency, steps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_mean_of_steps(grads[0], grads[1], ctx.adjacency, ctx.steps), None, None


def walk(subjects_UD: Tensor, items_VD: Tensor, adjacency: Adjacency, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give what the vectors are after each of some steps."""
    for _ in range(steps):
        subjects_UD, items_VD = adjacency.to_subjects @ items_VD, adjacency.to_items @ subjects_UD
        yield subjects_UD, items_VD


def _mean_of_steps(subjects_UD: Tensor, items_VD: Tensor, adjacency: Adjacency, steps: int) -> tuple[Tensor, Tensor]:
    sums = subjects_UD.clone(), items_VD.clone()
    for after in walk(subjects_UD, items_VD, adjacency, steps):
        sums[0].add_(after[0])
        sums[1].add_(after[1])
    return sums[0].div_(steps + 1), sums[1].div_(steps + 1)
