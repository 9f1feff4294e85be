from pathlib import Path

import numpy as np
import pytest

from benchmarks.digits import HEIGHT, WIDTH, Digits, lines, stretched
from pipelines.errors import InputError
from tests.benchmarks.small_digits import bars, write_digits, write_idx


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    pictures, labels = bars(2, seed=0)
    write_digits(tmp_path, "train", pictures, labels)
    digits = Digits.read(tmp_path, "train")
    np.testing.assert_array_equal(digits.pictures, pictures)
    np.testing.assert_array_equal(digits.labels, labels)


def test_what_is_no_file_of_digits_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train-images(?s:.*)no file"):
        Digits.read(tmp_path, "train")
    pictures, labels = bars(1, seed=0)
    write_digits(tmp_path, "train", pictures, labels[:-1])
    with pytest.raises(InputError, match="10 pictures, 9 labels"):
        Digits.read(tmp_path, "train")
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", pictures)
    with pytest.raises(InputError, match=r"begins with 00000803(?s:.*)1 axes"):
        Digits.read(tmp_path, "train")


def test_as_many_of_each_are_drawn_and_the_generator_says_which() -> None:
    digits = Digits(*bars(5, seed=0))
    drawn = digits.draw(3, np.random.default_rng(1))
    assert np.bincount(drawn.labels).tolist() == [3] * 10
    assert drawn.labels.tolist() != sorted(drawn.labels)
    np.testing.assert_array_equal(drawn.pictures, digits.draw(3, np.random.default_rng(1)).pictures)
    assert (drawn.pictures != digits.draw(3, np.random.default_rng(2)).pictures).any()
    with pytest.raises(ValueError, match="6 of each digit are asked for, but there are 5"):
        digits.draw(6, np.random.default_rng(1))


def test_the_box_of_ink_fills_the_small_picture_wherever_it_was() -> None:
    grey = np.zeros((2, 28, 28), np.uint8)
    grey[0, 3:9, 6:14] = 255  # half of a box of 12 rows and 8 columns: everything becomes twice as large
    grey[0, 14, 13] = 255
    grey[1, 8:20, 16:24] = grey[0, 3:15, 6:14]
    small = stretched(grey, deskew=False)
    assert small.shape == (2, HEIGHT, WIDTH)
    np.testing.assert_allclose(small[0], small[1], atol=1e-6)
    assert (small[0, 1:11, 1:-1] == 1).all()
    assert (small[0, 13:21] == 0).all()
    np.testing.assert_allclose(small[0, 11:13, 8], [0.75, 0.25], atol=1e-6)  # a quarter of a pixel from the edge
    np.testing.assert_allclose(small[0, 22:, 14:], 0.75**2, atol=1e-6)


def test_a_slanted_bar_is_turned_upright() -> None:
    grey = np.zeros((1, 28, 28), np.uint8)
    for row in range(4, 24):
        left = 6 + (row - 4) // 2
        grey[0, row, left : left + 4] = 255
    upright = stretched(grey, deskew=True)[0] > 0.4
    assert upright[2:-2, 3:-3].all()
    slanted = stretched(grey, deskew=False)[0] > 0.4
    assert slanted.mean() < 0.5


def test_lines_are_thin_and_as_wide_as_asked_for() -> None:
    digits = Digits(*bars(1, seed=0)).take(slice(1))  # bars across: of the edges and of the first place
    thin, wide, wider = (lines(digits, deskew=False, widening=widening)[0] for widening in (0, 1, 2))
    assert np.flatnonzero(thin[:, 8]).tolist() == [0, 4, 22]
    assert np.flatnonzero(wide[:, 8]).tolist() == [0, 1, 3, 4, 5, 21, 22, 23]
    assert np.flatnonzero(wider[:, 8]).tolist() == [0, 1, 2, 3, 4, 5, 6, 20, 21, 22, 23]


def test_a_picture_without_ink_stays_empty() -> None:
    blank = Digits(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8))
    assert not lines(blank, deskew=True, widening=1).any()
