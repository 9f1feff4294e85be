"""Handwritten digits (MNIST) as the small binary pictures that a memory learns: read, straightened, thinned.

A digit's box of ink is stretched to 24 rows of 16 pixels, cut at a grey level and thinned. Two changes to that can be
asked for: ``deskew`` first turns the slant away (rows are shifted so that ink and height no longer correlate), and
``widening`` gives each line back some width, so that lines a pixel apart still overlap.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.thinning import thinned
from pipelines.errors import InputError

Floats = NDArray[np.floating[Any]]

NUM_CLASSES: Final = 10
HEIGHT, WIDTH = 24, 16
_INK: Final = 0.3  # grey from which a pixel counts for the box
_FAR: Final = 1e3  # outside of any picture: where ink begins that there is none of
_CUT: Final = 0.4  # grey from which a stretched pixel is ink


@dataclass(frozen=True)
class Digits:
    """Grey pictures uint8[N, rows, columns] and what they show, uint8[N]."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @classmethod
    def read(cls, folder: Path, part: str) -> "Digits":
        """Read ``train`` or ``t10k``. Raises InputError where a file is missing or not what its name says."""
        pictures = _read(folder / f"{part}-images-idx3-ubyte.gz", num_axes=3)
        labels = _read(folder / f"{part}-labels-idx1-ubyte.gz", num_axes=1)
        if len(pictures) != len(labels):
            raise InputError(
                "pictures and labels do not go together",
                where=f"{folder}, part {part}",
                value=f"{len(pictures)} pictures, {len(labels)} labels",
                allowed="as many labels as pictures",
                fix="get both files of the part again",
            )
        return cls(pictures, labels)

    def take(self, rows: NDArray[np.int64] | slice) -> "Digits":
        """Some of them, in this order."""
        return Digits(self.pictures[rows], self.labels[rows])

    def draw(self, num_each: int, generator: np.random.Generator) -> "Digits":
        """Draw ``num_each`` of every class and mix them."""
        mixed = generator.permutation(len(self.labels))
        rows = [mixed[self.labels[mixed] == label][:num_each] for label in range(NUM_CLASSES)]
        fewest = min(map(len, rows))
        if fewest < num_each:
            raise ValueError(f"{num_each} of each digit are asked for, but there are {fewest} of one")
        return self.take(generator.permutation(np.concatenate(rows)))


def _read(path: Path, num_axes: int) -> NDArray[np.uint8]:
    content = gzip.decompress(path.read_bytes()) if path.exists() else b""
    if content[:4] != bytes([0, 0, 8, num_axes]):
        raise InputError(
            "no file of digits",
            where=path,
            value=f"begins with {content[:4].hex()}" if content else "no file, or an empty one",
            allowed=f"idx, gzip, bytes with {num_axes} axes",
            fix="put the four MNIST files, under their own names, into the folder mnist of --data",
        )
    start = 4 + 4 * num_axes
    shape = np.frombuffer(content, ">i4", num_axes, 4)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def lines(digits: Digits, *, deskew: bool, widening: int) -> NDArray[np.bool_]:
    """Return bool[N, 24, 16]: thinned digits, each line ``widening`` pixels wider on every side (0: not at all)."""
    skeletons = thinned(stretched(digits.pictures, deskew=deskew) > _CUT)
    if not widening:
        return skeletons
    wide = ndimage.binary_dilation(skeletons, np.ones((1, 3, 3), bool), iterations=widening)
    return np.asarray(wide, np.bool_)


def stretched(pictures: NDArray[np.uint8], *, deskew: bool) -> NDArray[np.float32]:
    """Stretch each box of ink to float32[N, 24, 16] from 0 to 1, between pixels linearly."""
    grey = pictures.astype(np.float32) / 255
    rows, columns = np.arange(grey.shape[1], dtype=np.float32)[:, None], np.arange(grey.shape[2], dtype=np.float32)
    middle, slant = _slants(grey, rows, columns, deskew=deskew)
    upright = columns - slant * (rows - middle)
    top, height = _span(np.broadcast_to(rows, grey.shape), grey > _INK)
    left, width = _span(upright, grey > _INK)
    y = top + (np.arange(HEIGHT)[:, None] + 0.5) * height / HEIGHT
    x = left + (np.arange(WIDTH) + 0.5) * width / WIDTH + slant * (y - middle)
    return _sampled(grey, y, x)


def _slants(grey: Floats, rows: Floats, columns: Floats, *, deskew: bool) -> tuple[Floats, Floats]:
    """Return the mean row of the ink, and by how many columns it moves a row (0 without deskew), each [N, 1, 1]."""

    def mean(values: Floats) -> Floats:
        inked = np.maximum(grey.sum((1, 2), keepdims=True), 1e-6)
        out: Floats = (grey * values).sum((1, 2), keepdims=True) / inked
        return out

    middle = mean(rows)
    off_rows, off_columns = rows - middle, columns - mean(columns)
    return middle, deskew * mean(off_rows * off_columns) / np.maximum(mean(off_rows**2), 1e-6)


def _span(places: Floats, is_ink: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return where the ink begins and how far it goes, each [N, 1, 1]; a pixel reaches half a pixel to both sides."""
    first = places.min((1, 2), keepdims=True, where=is_ink, initial=_FAR) - 0.5
    last = places.max((1, 2), keepdims=True, where=is_ink, initial=-_FAR) + 0.5
    return first, last - first


def _sampled(grey: Floats, y: Floats, x: Floats) -> NDArray[np.float32]:
    """Return the grey at places [N, 24, 1] and [N, 24, 16], which is 0 outside the picture."""
    padded = np.pad(grey, ((0, 0), (1, 2), (1, 2)))
    y, x = np.clip(y, -1, grey.shape[1]) + 1, np.clip(x, -1, grey.shape[2]) + 1
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = y - top, x - left
    number = np.arange(len(grey))[:, None, None]
    above = padded[number, top, left] * (1 - right) + padded[number, top, left + 1] * right
    below = padded[number, top + 1, left] * (1 - right) + padded[number, top + 1, left + 1] * right
    out: NDArray[np.float32] = (above * (1 - down) + below * down).astype(np.float32)
    return out
