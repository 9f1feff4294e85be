"""How uniform sequences teach uneven ones, and frequent items rare ones (UniRec, arXiv 2406.18470, "SE" and "IE").

A loss is weighed by a curriculum. Here it never falls: what is easy counts from the start, what is hard grows in. That
of the published code turns at its epoch 100; it is kept for comparison.
An item is made of its neighbours alone. The published code makes it of itself and them, and asks frequent items for
themselves: so it learns to copy, and then makes of a rare item what that is already.
Differences are told in parts of the mean square of what is compared, so that no loss falls because vectors shrink.

Shapes: R sequences, N items, K neighbours, D features.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.sequences import PADDING

PUBLISHED_EPOCHS: Final = 200


@dataclass(frozen=True)
class Curriculum:
    """How much each loss counts in an epoch, counted from 1.

    ramp_epochs: until all of it counts; for kind "published", over which its 200 epochs are spread. 0: from the first
    epoch it is as in the last.
    """

    kind: Literal["monotone", "published"]
    ramp_epochs: int

    def of_sequences(self, epoch: int, num_kept: Tensor, num_events: Tensor) -> Tensor:
        """Return weights float[R] of sequences of which so many events are kept: hard are those of which few are."""
        if self.kind == "monotone":
            return _eased(self._progress(epoch) + num_kept / num_events)
        turn = self._published_epoch(epoch) - 100
        weights = (math.pi / 2 * (turn / 120 + (num_kept - 3) / 50)).sin().abs()
        return 2 * weights if turn >= 0 else weights

    def of_frequent(self, epoch: int, easiness_N: Tensor) -> Tensor:
        """Return weights float[N] of frequent items, whose easiness is 0 to 1."""
        if self.kind == "monotone":
            return _eased(self._progress(epoch) + easiness_N)
        turn = self._published_epoch(epoch) - 100
        return (math.pi / 2 * (turn / 120 + easiness_N)).sin()

    def of_rare(self, epoch: int) -> float:
        """Return the weight of rare items."""
        if self.kind == "monotone":
            return math.sin(math.pi / 2 * min(1.0, self._progress(epoch)))
        return math.sin(math.pi / 2 * self._published_epoch(epoch) / 220)

    def _progress(self, epoch: int) -> float:
        return epoch / self.ramp_epochs if self.ramp_epochs else 1.0

    def _published_epoch(self, epoch: int) -> float:
        last = PUBLISHED_EPOCHS - 1  # beyond, signs change
        return min((epoch - 1) * PUBLISHED_EPOCHS / self.ramp_epochs, last) if self.ramp_epochs else last


def _eased(share: Tensor) -> Tensor:
    return (math.pi / 2 * share.clamp(max=1)).sin()


def sequence_loss(told_RD: Tensor, teacher_RD: Tensor, weights_R: Tensor) -> Tensor:
    """Return how far what a thinned sequence tells is from what the whole one does, as directions; that one stands."""
    told, teacher = F.normalize(told_RD.float(), dim=1), F.normalize(teacher_RD.detach().float(), dim=1)
    return (weights_R * (told - teacher).square().sum(dim=1)).mean()


def neighbourhoods(own_ND: Tensor, neighbours_NK: Tensor, table_VD: Tensor) -> Tensor:
    """Return the mean of the neighbours of some items, float[N, D], the more alike the heavier.

    The items themselves get no gradient. neighbours_NK: item numbers, PADDING where there are fewer, but at least one.
    """
    near_NKD = F.embedding(neighbours_NK, table_VD)
    alike_NK = torch.einsum("nd,nkd->nk", own_ND.detach(), near_NKD).masked_fill(neighbours_NK == PADDING, -torch.inf)
    return torch.einsum("nk,nkd->nd", alike_NK.softmax(dim=1), near_NKD)


def head_loss(enhance: nn.Module, near_ND: Tensor, own_ND: Tensor, weights_N: Tensor) -> Tensor:
    """Return how far the vectors of frequent items are from what is made of their neighbours.

    The items stand: what learns is how to make it, and the neighbours.
    """
    distance_N = (enhance(near_ND) - own_ND.detach()).square().mean(dim=1)
    return (weights_N * distance_N).mean() / _mean_square(own_ND)


def tail_loss(enhance: nn.Module, near_ND: Tensor, own_ND: Tensor) -> Tensor:
    """Return how far the vectors of rare items are from what is made of their neighbours, which stands."""
    with torch.no_grad():
        made_ND = enhance(near_ND)
    return (own_ND - made_ND).square().mean() / _mean_square(own_ND)


def _mean_square(vectors: Tensor) -> Tensor:
    return vectors.detach().square().mean().clamp(min=torch.finfo(vectors.dtype).tiny)
