"""Lists in Arrow columns as the flat arrays that models see."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.sequences import Sequences
from pipelines.runs import one_chunk


def gather(rows: pa.Table, begins: NDArray[np.int64]) -> Sequences:
    """Join the lists of consecutive rows: sequence n has those from row ``begins[n]`` to ``begins[n + 1]``, or the end.

    ``rows`` have item_numbers and event_times; null counts as empty.
    """
    items, times, offsets = _flatten(rows["item_numbers"], rows["event_times"])
    return Sequences(items, times, offsets[np.append(begins, rows.num_rows)])


def to_sequences(item_numbers: pa.ChunkedArray | pa.Array, event_times: pa.ChunkedArray | pa.Array) -> Sequences:
    """Turn two list columns (int32 numbers, timestamps in us) into ragged arrays; times in seconds, null is empty."""
    return Sequences(*_flatten(item_numbers, event_times))


def _flatten(
    item_numbers: pa.ChunkedArray | pa.Array, event_times: pa.ChunkedArray | pa.Array
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    numbers, times = one_chunk(item_numbers), one_chunk(event_times)
    lengths = pc.fill_null(pc.list_value_length(numbers), 0).to_numpy()
    items = numbers.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    seconds = times.flatten().cast(pa.int64()).to_numpy(zero_copy_only=False) // 1_000_000
    return items, seconds.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
