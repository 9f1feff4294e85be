"""Thinning of strokes to lines one pixel wide (Zhang & Suen 1984, "A fast parallel algorithm for thinning digital
patterns"), for many pictures at a time.

A pixel goes when it has 2 to 6 inked neighbours in one run around it, and lies on the side whose turn it is: south-east
or north-west. Both sides take turns until nothing goes. Cost: as many passes over all pictures as the widest stroke is
wide. As published, a lone square of four pixels vanishes.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

_AROUND: Final = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # clockwise from the north


def thinned(pictures: Bools) -> Bools:
    """Return the lines in the middle of the strokes of bool[N, height, width]."""
    left = np.pad(pictures, ((0, 0), (1, 1), (1, 1)))
    inside = left[:, 1:-1, 1:-1]
    has_changed = True
    while has_changed:
        has_changed = False
        for is_second in (False, True):
            goes = inside & _is_on_edge(_neighbours(left), is_second)
            inside &= ~goes
            has_changed |= bool(goes.any())
    return inside.copy()


def _neighbours(padded: Bools) -> list[Bools]:
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    return [padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _AROUND]


def _is_on_edge(around: Sequence[Bools], is_second: bool) -> Bools:
    north, _, east, _, south, _, west, _ = around
    pairs = zip(around, [*around[1:], around[0]], strict=True)
    num_runs = sum((~one & following).astype(np.int8) for one, following in pairs)
    num_inked = sum(one.astype(np.int8) for one in around)
    closed = north & west & (east | south) if is_second else east & south & (north | west)
    edge: Bools = (num_runs == 1) & (num_inked >= 2) & (num_inked <= 6) & ~closed
    return edge
