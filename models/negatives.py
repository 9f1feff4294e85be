"""Negatives for losses that do not look at all items: K draws which all tokens of a batch share."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Drawing = Literal["uniform", "popularity", "in_batch"]
POPULARITY_POWER = 0.75  # flattens popularity, so that rare items are drawn too (Mikolov et al., arXiv 1310.4546)


@dataclass(frozen=True)
class Negatives:
    """Items drawn with replacement, int64[K], and the log of how often each is expected among K draws, float32[K]."""

    numbers: Tensor
    log_expected: Tensor

    def to(self, device: torch.device) -> "Negatives":
        """Copy them to a device."""
        return Negatives(self.numbers.to(device), self.log_expected.to(device))


class NegativeSampler:
    """Draws K of V items: alike, by popularity^0.75, or from the targets of the batch, that is by popularity.

    counts: int64[V], how often each item is a target in the training part.
    """

    def __init__(self, counts: NDArray[np.int64], drawing: Drawing, num_negatives: int) -> None:
        power = {"uniform": 0.0, "popularity": POPULARITY_POWER, "in_batch": 1.0}[drawing]
        weights = counts.astype(np.float64) ** power
        self._num_negatives, self._from_batch = num_negatives, drawing == "in_batch"
        self._up_to = np.cumsum(weights) / weights.sum()
        with np.errstate(divide="ignore"):  # an item that is never a target is never drawn
            self._log_expected = np.log(num_negatives * weights / weights.sum()).astype(np.float32)

    def draw(self, targets_T: Tensor, generator: np.random.Generator) -> Negatives:
        """Draw the negatives of a batch with these targets."""
        if self._from_batch:
            targets = targets_T.numpy(force=True)
            numbers = targets[generator.integers(0, len(targets), self._num_negatives)]
        else:
            numbers = np.searchsorted(self._up_to, generator.random(self._num_negatives), side="right")
            numbers = np.minimum(numbers, len(self._up_to) - 1)  # a sum that rounding left below 1
        log_expected = torch.from_numpy(self._log_expected[numbers])
        return Negatives(torch.from_numpy(numbers), log_expected).to(targets_T.device)
