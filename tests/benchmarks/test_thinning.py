import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.thinning import thinned

Bools = NDArray[np.bool_]


def test_a_bar_becomes_the_line_in_its_middle() -> None:
    """Worked out by hand: south, east and the north-west corner go first, then the rest of the north and the ends."""
    bar = np.zeros((5, 9), bool)
    bar[1:4, 1:8] = True
    line = np.zeros((5, 9), bool)
    line[2, 2:6] = True
    np.testing.assert_array_equal(thinned(bar[None])[0], line)


def test_a_thin_line_stays_and_a_ring_stays_a_ring() -> None:
    diagonal = np.eye(7, dtype=bool)
    ring = np.zeros((7, 7), bool)
    ring[1:6, 1:6] = True
    ring[3, 3] = False
    left = thinned(np.stack([diagonal, ring, np.zeros((7, 7), bool)]))
    np.testing.assert_array_equal(left[0], diagonal)
    assert ndimage.label(~left[1])[1] == 2  # inside and outside
    assert left[1].sum() < ring.sum()
    assert not left[2].any()


def pixel_by_pixel(drawn: Bools) -> Bools:
    left = np.pad(drawn, 1)
    has_changed = True
    while has_changed:
        has_changed = False
        for turn in (0, 1):
            gone = []
            for y, x in np.argwhere(left):
                n, ne, e, se = left[y - 1, x], left[y - 1, x + 1], left[y, x + 1], left[y + 1, x + 1]
                s, sw, w, nw = left[y + 1, x], left[y + 1, x - 1], left[y, x - 1], left[y - 1, x - 1]
                ring = [n, ne, e, se, s, sw, w, nw, n]
                runs = sum(not one and two for one, two in itertools.pairwise(ring))
                closed = (n and e and s) or (e and s and w) if turn == 0 else (n and e and w) or (n and s and w)
                if runs == 1 and 2 <= sum(ring[:8]) <= 6 and not closed:
                    gone.append((y, x))
            for place in gone:
                left[place] = False
            has_changed |= bool(gone)
    return left[1:-1, 1:-1]


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=4), st.integers(1, 3))
def test_all_pictures_together_are_thinned_as_one_pixel_after_the_other(
    strokes: list[tuple[int, int, int, int]], thickness: int
) -> None:
    drawn = np.zeros((16, 16), bool)
    for row, column, height, width in strokes:
        drawn[row : row + max(height, thickness), column : column + max(width, thickness)] = True
    both = thinned(np.stack([drawn, drawn.T]))
    np.testing.assert_array_equal(both[0], pixel_by_pixel(drawn))
    np.testing.assert_array_equal(both[1], pixel_by_pixel(drawn.T))
