"""Batches of windows with their moments, and what thinning leaves of those that teach.

Shapes: B windows, L positions, R windows that teach, F numbers of an event: item, fields of the calendar, gap.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batches import Indices, Windows
from models.calendar import NO_GAP, calendar_fields, gap_numbers
from models.sequences import PADDING

KEPT_EVENTS: Final = 2  # the newest of a sequence, which thinning leaves


class Batch(NamedTuple):
    """Windows, and of some that teach what thinning leaves of them.

    events: int64[B, L + 1, F]. teachers: int64[R], their rows. thinned: int64[R, *, F]. epoch: its number.
    """

    events: Tensor
    teachers: Tensor
    thinned: Tensor
    epoch: Tensor


@dataclass(frozen=True)
class Reader:
    """Turns items and times into what the network reads.

    years: first and last that training has seen; another reads as the nearest of these, for its wave was never learnt.
    """

    years: NDArray[np.int64]

    def events(self, items_BL: NDArray[np.int32], times_BL: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[B, L, F]: the item, the fields of the calendar, the number of the gap; 0 in the padding."""
        fields = calendar_fields(times_BL)
        fields[:, :, 0] = np.clip(fields[:, :, 0], *self.years)
        gaps = np.full_like(times_BL, NO_GAP)
        gaps[:, 1:] = gap_numbers(np.maximum(np.diff(times_BL, axis=1), 0))  # below 0 where padding begins
        events = np.concatenate([items_BL[:, :, None], fields, gaps[:, :, None]], axis=2)
        events[items_BL == PADDING] = 0
        return events


@dataclass(frozen=True)
class MomentEpoch:
    """Batches of windows of similar length, with the thinned sequences of those that teach.

    teaches: bool by history. is_frequent: bool by item number, of items that thinning takes away.
    """

    windows: Windows
    batches: list[Indices]
    reader: Reader
    teaches: NDArray[np.bool_]
    is_frequent: NDArray[np.bool_]
    number: int

    def batch(self, samples: Indices) -> Batch:
        """Make a batch of some windows."""
        items, times = self.windows.items(samples), self.windows.times(samples)
        teachers, kept = self._thin(samples, items)
        order = np.argsort(~kept, axis=1, kind="stable")[:, : kept.sum(axis=1).max(initial=0)]
        left = np.take_along_axis(kept, order, axis=1)
        few_items, few_times = (
            np.where(left, np.take_along_axis(whole[teachers], order, axis=1), PADDING) for whole in (items, times)
        )
        events, thinned = self.reader.events(items, times), self.reader.events(few_items, few_times)
        return Batch(*map(torch.from_numpy, (events, teachers, thinned, np.array(self.number))))

    def _thin(self, samples: Indices, items_BL: NDArray[np.int32]) -> tuple[Indices, NDArray[np.bool_]]:
        """Return the rows of windows that teach and lose something, and which of their inputs are kept, bool[R, L]."""
        histories = self.windows.histories
        owners = np.searchsorted(histories.offsets, self.windows.starts[samples], side="right") - 1
        rows = np.flatnonzero(self.teaches[owners])
        num_inputs, places = self.windows.lengths[samples[rows]] - 1, np.arange(items_BL.shape[1])
        is_input = places < num_inputs[:, None]
        kept = is_input & (~self.is_frequent[items_BL[rows]] | (places >= num_inputs[:, None] - KEPT_EVENTS))
        loses = kept.sum(axis=1) < num_inputs
        return rows[loses], kept[loses]
