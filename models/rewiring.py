"""Dynamic sparse learning: weights that turned out small make room for others that the loss asks for.

DSL (Wang et al., WSDM 2024, arXiv 2402.02855): every so often the share of live weights with the smallest magnitude is
dropped, and as many dead ones grow, those with the largest gradients. The share falls along a cosine to almost 0, and
how many are live never changes.

Changed from the published code, and why:
* gradients are summed over a window of batches, for a table that is looked up has none in rows of which a batch says
  nothing; rows that the window did not read keep what they have, and no weight is dropped for one without gradient;
* as many are dropped as are said, ties going by place; every row keeps its ``least`` largest;
* the moments of Adam belong to live weights alone; a weight that grows begins at 0 and with none;
* no more is rewired after ``explore`` of the training, as in RigL (Evci et al. 2020, arXiv 1911.11134).

Shapes: N rows, D features, W live weights.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from models.parallel import sum_over_processes
from models.recommender import ModelConfig
from models.sparse_table import SparseTable

LEAST_SHARE: Final = 0.005
Floats = NDArray[np.float32]


class Rewiring(ModelConfig):
    """When and how the live weights of sparse tables are chosen anew.

    num_updates: in a training of all its epochs; 0: the weights that are live at the start stay so. share: of live
    weights that the first update drops. explore: how far into the training there are updates. window: batches whose
    gradients say what grows. least: weights that a row keeps. growth: by gradient, or at random.
    """

    num_updates: NonNegativeInt = 100
    share: float = Field(default=0.5, ge=LEAST_SHARE, le=1)
    explore: float = Field(default=0.75, gt=0, le=1)
    window: PositiveInt = 8
    least: PositiveInt = 1
    growth: Literal["gradient", "random"] = "gradient"

    def share_at(self, progress: float) -> float:
        """Return the share of live weights to drop, when so much of the training is done, 0 to 1.

        >>> [round(Rewiring(explore=1).share_at(progress), 3) for progress in (0, 0.5, 1)]
        [0.5, 0.253, 0.005]
        """
        cosine = math.cos(math.pi * min(1.0, progress / self.explore))
        return LEAST_SHARE + (self.share - LEAST_SHARE) * (1 + cosine) / 2

    def updates_until(self, progress: float) -> int:
        """Return how many updates there have been, when so much of the training is done.

        >>> Rewiring(num_updates=10, explore=0.5).updates_until(0.31)
        3
        """
        return math.floor(min(progress, self.explore) * self.num_updates + 1e-9)


def rewire(
    table: SparseTable, gradient: Floats, share: float, least: int, moments: Sequence[Tensor]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Drop and grow; return the places, row * D + column, of what was dropped and of what grew, in ascending order.

    gradient: float32[N, D], which is used up; rows of 0 were not read. share: of the live weights of the rows that were
    read, rounded up. moments: float32[W] each, which follow the weights. As many are dropped as grow.
    """
    offsets, values = table.offsets.numpy(force=True), table.values.numpy(force=True)
    places = table.places().numpy(force=True)
    read: NDArray[np.bool_] = np.any(gradient, axis=1)
    magnitudes = np.abs(values)
    _protect(offsets, magnitudes, read, least)
    scores = np.abs(gradient, out=gradient).ravel()
    scores[places] = 0
    num_live = int(np.diff(offsets)[read].sum())
    wanted = min(math.ceil(share * num_live), int(np.isfinite(magnitudes).sum()), int(np.count_nonzero(scores)))
    dropped = _largest(~magnitudes.view(np.uint32), wanted)
    grown = _largest(scores.view(np.uint32), wanted)
    _replace(table, moments, dropped, np.concatenate([np.delete(places, dropped), grown]))
    return places[dropped], grown


@torch.no_grad()
def _replace(
    table: SparseTable, moments: Sequence[Tensor], dropped: NDArray[np.int64], places: NDArray[np.int64]
) -> None:
    """Put in order the places of what is kept and, after them, of what grew, row * D + column; these begin with 0."""
    order = np.argsort(places, kind="stable")
    rows, columns = np.divmod(places[order], table.embedding_dim)
    lengths = np.bincount(rows, minlength=table.num_embeddings)
    table.offsets[1:] = torch.from_numpy(np.cumsum(lengths))
    table.columns.copy_(torch.from_numpy(columns))
    index = torch.from_numpy(order).to(table.values.device)
    kept = torch.ones(len(places), dtype=torch.bool, device=table.values.device)
    kept[torch.from_numpy(dropped)] = False
    for tensor in (table.values, *moments):
        padded = torch.zeros_like(tensor)
        padded[: len(places) - len(dropped)] = tensor[kept]
        tensor.copy_(padded[index])


@njit(cache=True)
def _largest(keys: NDArray[np.uint32], count: int) -> NDArray[np.int64]:
    """Return the places of the ``count`` largest keys, ascending; of equal ones those that stand first.

    The bits of floats that are not negative are in the order of their values. The threshold is found by counting the
    upper halves of keys, then the lower halves of those that share the upper one: nothing is copied or sorted.
    """
    places = np.empty(count, np.int64)
    if count == 0:
        return places
    upper, above = _bucket(keys, count, np.uint32(0), True)
    lower, above_too = _bucket(keys, count - above, upper, False)
    threshold, num_ties = (upper << np.uint32(16)) | lower, count - above - above_too
    found = 0
    for place in range(len(keys)):
        if keys[place] > threshold or (keys[place] == threshold and num_ties > 0):
            num_ties -= keys[place] == threshold
            places[found] = place
            found += 1
    return places


@njit(cache=True)
def _bucket(keys: NDArray[np.uint32], count: int, upper: np.uint32, is_first: bool) -> tuple[np.uint32, int]:
    """Return the half-key of the ``count``-th largest, and how many are above: of all, or of those with an upper."""
    totals = np.zeros(2**16, np.int64)
    for key in keys:
        half = key >> np.uint32(16)
        if is_first:
            totals[half] += 1
        elif half == upper:
            totals[key & np.uint32(0xFFFF)] += 1
    above, bucket = 0, len(totals) - 1
    while above + totals[bucket] < count:
        above += totals[bucket]
        bucket -= 1
    return np.uint32(bucket), above


@njit(cache=True)
def _protect(offsets: NDArray[np.int32], magnitudes: Floats, read: NDArray[np.bool_], least: int) -> None:
    """Make infinite the magnitudes of what is not dropped: the largest of each row, and rows that were not read."""
    for row in range(len(read)):
        start, end = offsets[row], offsets[row + 1]
        if not read[row] or end - start <= least:
            magnitudes[start:end] = np.inf
            continue
        for _ in range(least):
            largest = start
            for place in range(start, end):
                if np.isinf(magnitudes[largest]) or (
                    not np.isinf(magnitudes[place]) and magnitudes[place] > magnitudes[largest]
                ):
                    largest = place
            magnitudes[largest] = np.inf


class Rewirer:
    """Rewires the sparse tables of a network while it is trained.

    A step is between two points of the training, 0 to 1: `before` opens the window of gradients when the next update is
    near, and `after` does the update, if one is due by then.
    """

    def __init__(self, settings: Rewiring, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._settings, self._optimiser = settings, optimiser
        self.tables = [module for module in network.modules() if isinstance(module, SparseTable)]

    @property
    def is_collecting(self) -> bool:
        """Whether a window is open; what it holds is not kept over an interruption."""
        return any(table.growth is not None for table in self.tables)

    def before(self, progress: float, step: float) -> None:
        """Open the window, before a step of this size at this point."""
        ahead = self._settings.updates_until(progress + step * self._settings.window)
        if ahead > self._settings.updates_until(progress):
            for table in self.tables:
                if table.growth is None:  # memory comes page by page, for the rows that are read
                    table.growth = torch.zeros(table.num_embeddings, table.embedding_dim, device=table.values.device)

    def after(self, progress: float, step: float, draw: Callable[[], np.random.Generator]) -> None:
        """Rewire, if this step brought the training to where an update is due."""
        if self._settings.updates_until(progress + step) == self._settings.updates_until(progress):
            return
        generator = draw()
        for table in self.tables:
            assert table.growth is not None, "a window ends with an update"
            sum_over_processes(table.growth)
            gradient = table.growth.numpy(force=True)
            table.growth = None
            if self._settings.growth == "random":
                read = gradient.any(axis=1)
                gradient[read] = 1 - generator.random((int(read.sum()), table.embedding_dim), np.float32)
            rewire(table, gradient, self._settings.share_at(progress), self._settings.least, self._moments(table))

    def close(self) -> None:
        """Close a window that no update will end."""
        for table in self.tables:
            table.growth = None

    def _moments(self, table: SparseTable) -> list[Tensor]:
        state = self._optimiser.state.get(table.values, {})
        return [tensor for tensor in state.values() if tensor.shape == table.values.shape]
