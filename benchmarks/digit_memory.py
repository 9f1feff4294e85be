"""A memory of labelled pictures that learns each in one trial: macrocolumns over patches, and class units.

Every macrocolumn sees one square patch and gives it a code; each unit of the code gets a binary weight to the unit of
the picture's class. A picture is told by all macrocolumns together. Read-out as published: the units of largest support
are the code, and a class gets a vote for each unit with a weight to it. What we changed, each of it a setting:

* an input that says "no ink here" for each pixel, beside the one that says "ink". Support is the share of the active
  inputs that a unit knows, so with ink alone a unit that was shown much ink knows everything;
* several macrocolumns over patches instead of one over the picture;
* the graded read-out: every unit votes, with the power ``grading`` of its support, for the classes it has a weight to,
  and each macrocolumn's votes are divided by their sum.
"""

from collections.abc import Iterator
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from benchmarks.digits import HEIGHT, NUM_CLASSES, WIDTH
from models.csa import SILENT, Mac, MacConfig, Patterns, Steps
from models.recommender import ModelConfig

Bools = NDArray[np.bool_]

_BLOCK: Final = 512  # pictures whose supports are held at a time


class DigitMemoryConfig(ModelConfig):
    """What the macrocolumns are, what they see, and the power of the graded read-out.

    patch_height, patch_width, stride: in pixels; patches begin every ``stride`` pixels, and at the far edges.
    """

    mac: MacConfig
    sees_paper: bool = True
    patch_height: PositiveInt = 8
    patch_width: PositiveInt = 8
    stride: PositiveInt = 4
    grading: PositiveFloat = 32.0


class DigitMemory:
    """Learns pictures bool[N, 24, 16] and tells the classes of others. Every random choice follows the seed."""

    def __init__(self, config: DigitMemoryConfig, seed: int) -> None:
        self.config = config
        self._windows = list(_windows(config))
        self._generators = np.random.default_rng(seed).spawn(len(self._windows))
        num_up = config.patch_height * config.patch_width * (2 if config.sees_paper else 1)
        self.macs = [Mac(config.mac, num_up) for _ in self._windows]
        self.class_weights = [np.zeros((mac.size, NUM_CLASSES), np.uint8) for mac in self.macs]

    def learn(self, pictures: Bools, labels: NDArray[np.uint8]) -> Self:
        """Show each picture once, in this order; the macrocolumns do not hear each other, so each may go first."""
        for mac, weights, patterns, generator in self._each(pictures):
            codes = mac.learn(Steps.alone(patterns), generator).units
            has_code = codes[:, 0] != SILENT
            weights[codes[has_code], labels[has_code, None]] = 1
        return self

    def votes(self, pictures: Bools, *, is_graded: bool) -> NDArray[np.float32]:
        """Return what speaks for each class, float32[N, 10]: graded, or by the winners of hard codes."""
        votes = np.zeros((len(pictures), NUM_CLASSES), np.float32)
        for start in range(0, len(pictures), _BLOCK):
            block = votes[start : start + _BLOCK]
            for mac, weights, patterns, generator in self._each(pictures[start : start + _BLOCK]):
                if is_graded:
                    own = mac.supports(patterns, self.config.grading) @ weights.astype(np.float32)
                    block += own / np.maximum(own.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
                else:
                    codes = mac.recognise(Steps.alone(patterns), generator).units
                    block += (weights[codes] * (codes != SILENT)[..., None]).sum(axis=1, dtype=np.float32)
        return votes

    def shares(self) -> dict[str, float]:
        """Return the mean share of set weights from below, of set weights to classes, and of units ever drawn."""
        return {
            "up": float(np.mean([mac.fills()["up"] for mac in self.macs])),
            "classes": float(np.mean(self.class_weights)),
            "units": float(np.mean([weights.any(axis=1).mean() for weights in self.class_weights])),
        }

    def _each(self, pictures: Bools) -> Iterator[tuple[Mac, NDArray[np.uint8], Patterns, np.random.Generator]]:
        for mac, weights, window, generator in zip(
            self.macs, self.class_weights, self._windows, self._generators, strict=True
        ):
            ink = pictures[:, *window].reshape(len(pictures), -1)
            inputs = np.concatenate([ink, ~ink], axis=1) if self.config.sees_paper else ink
            yield mac, weights, Patterns.of(inputs), generator


def _windows(config: DigitMemoryConfig) -> Iterator[tuple[slice, slice]]:
    for top in _starts(HEIGHT, config.patch_height, config.stride):
        for left in _starts(WIDTH, config.patch_width, config.stride):
            yield slice(top, top + config.patch_height), slice(left, left + config.patch_width)


def _starts(length: int, patch: int, stride: int) -> list[int]:
    if patch > length:
        raise ValueError(f"a patch of {patch} pixels is larger than the picture, which has {length}")
    return sorted({*range(0, length - patch, stride), length - patch})
