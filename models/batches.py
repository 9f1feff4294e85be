"""An epoch of training: histories cut into windows, windows of similar length in batches, all by index.

Nothing is copied before a batch is made, so an epoch over memory-mapped histories holds two numbers a window.
Shapes: B windows, L inputs of the longest of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sequences import Sequences

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Runs of events: window w is events [starts[w], starts[w] + lengths[w]) of the flat arrays of ``histories``."""

    histories: Sequences
    starts: Indices
    lengths: Indices

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.starts)

    def items(self, chosen: Indices) -> NDArray[np.int32]:
        """Return the items of some windows as int32[B, L + 1]: oldest first, padding after the newest."""
        return self._padded(self.histories.items, chosen)

    def times(self, chosen: Indices) -> NDArray[np.int64]:
        """Return the times of the same events as int64[B, L + 1], 0 in the padding."""
        return self._padded(self.histories.times, chosen)

    def _padded(self, values: NDArray[Any], chosen: Indices) -> NDArray[Any]:
        lengths = self.lengths[chosen]
        place = np.arange(lengths.max(initial=0))
        index = np.minimum(self.starts[chosen][:, None] + place, len(values) - 1)
        return np.where(place < lengths[:, None], values[index], values.dtype.type(0))


def training_windows(histories: Sequences, length: int, generator: np.random.Generator) -> Windows:
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
    return Windows(histories, histories.offsets[owner] + start, stop - start + 1)


def batches_by_length(lengths: Indices, batch_size: int, generator: np.random.Generator) -> list[Indices]:
    """Divide the indices of ``lengths`` into batches of similar length, so that little is padded, in random order."""
    by_length = np.lexsort((generator.random(len(lengths)), lengths))
    batches = np.split(by_length, np.arange(batch_size, len(lengths), batch_size))
    return [batches[number] for number in generator.permutation(len(batches))]
