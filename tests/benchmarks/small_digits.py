"""Idx files of a few made-up pictures, in the form of the real ones."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write one file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(head + values.tobytes()))


def write_digits(folder: Path, part: str, pictures: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write the pictures and the labels of a part."""
    write_idx(folder / f"{part}-images-idx3-ubyte.gz", pictures)
    write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)


def bars(num_each: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw pictures uint8[N, 28, 28] of ten kinds: a bar in one of ten places between two lines, somewhere."""
    draws = np.random.default_rng(seed)
    labels = np.tile(np.arange(10, dtype=np.uint8), num_each)
    pictures = np.zeros((len(labels), 28, 28), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        top, left = draws.integers(0, 5, 2)
        box = picture[top : top + 24, left : left + 18]
        box[[0, 1, -2, -1]] = 255
        if label < 5:
            box[4 * label + 3 : 4 * label + 6] = 255
        else:
            box[:, 3 * (label - 5) + 2 : 3 * (label - 5) + 5] = 255
    return pictures, labels
