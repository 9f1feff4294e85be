import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.digit_memory import DigitMemory, DigitMemoryConfig
from benchmarks.digits import Digits, lines
from models.csa import MacConfig
from tests.benchmarks.small_digits import bars

MAC = MacConfig(num_modules=8, num_units=32, height=1000, lowest=0.8, midpoint=0.95, slope=0.01, frozen_above=0.6)
CONFIG = DigitMemoryConfig(mac=MAC)


def made(num_each: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    digits = Digits(*bars(num_each, seed))
    return lines(digits, deskew=False, widening=1), digits.labels


@pytest.mark.parametrize("is_graded", [True, False])
def test_what_was_shown_once_is_told_wherever_it_stands(is_graded: bool) -> None:
    memory = DigitMemory(CONFIG, seed=0).learn(*made(2, seed=0))
    pictures, labels = made(5, seed=1)
    assert (memory.votes(pictures, is_graded=is_graded).argmax(axis=1) == labels).all()


def test_patches_cover_the_picture_and_each_has_a_macrocolumn() -> None:
    pictures, labels = made(1, seed=0)
    memory = DigitMemory(CONFIG, seed=0).learn(pictures, labels)
    assert len(memory.macs) == 5 * 3
    assert {mac.num_up for mac in memory.macs} == {2 * 8 * 8}
    assert len(DigitMemory(CONFIG.model_copy(update={"stride": 5}), seed=0).macs) == 5 * 3  # 0, 5, 10, 15, 16; 0, 5, 8
    whole = DigitMemory(CONFIG.model_copy(update={"patch_height": 24, "patch_width": 16, "sees_paper": False}), seed=0)
    assert [mac.num_up for mac in whole.macs] == [24 * 16]
    with pytest.raises(ValueError, match="a patch of 25 pixels is larger"):
        DigitMemory(CONFIG.model_copy(update={"patch_height": 25}), seed=0)


def test_graded_votes_are_the_shares_of_powers_of_supports() -> None:
    """One module of two units that know 3 and 1 of the 4 active inputs, of classes 2 and 5, and both of class 7."""
    config = DigitMemoryConfig(
        mac=MacConfig(num_modules=1, num_units=2), sees_paper=False, patch_height=24, patch_width=16, grading=2.0
    )
    memory, picture = DigitMemory(config, seed=0), np.zeros((1, 24, 16), bool)
    picture[0, 0, :4] = True
    memory.macs[0].up[:3, 0], memory.macs[0].up[3, 1] = 1, 1
    memory.class_weights[0][0, [2, 7]], memory.class_weights[0][1, [5, 7]] = 1, 1
    graded, hard = memory.votes(picture, is_graded=True)[0], memory.votes(picture, is_graded=False)[0]
    np.testing.assert_allclose(graded[[2, 5, 7]], np.array([9, 1, 10]) / 20, rtol=1e-6)
    assert graded.sum() == pytest.approx(1)
    assert np.flatnonzero(hard).tolist() == [2, 7]


def test_pictures_outside_the_band_are_neither_learnt_nor_told() -> None:
    mac = MAC.model_copy(update={"least_active": 0.1})
    config = DigitMemoryConfig(mac=mac, sees_paper=False, patch_height=24, patch_width=16)
    pictures, labels = made(1, seed=0)
    pictures[0] = False
    memory = DigitMemory(config, seed=0).learn(pictures, labels)
    assert memory.class_weights[0].any(axis=0).tolist() == [False] + [True] * 9
    for is_graded in (True, False):
        assert not memory.votes(pictures[:1], is_graded=is_graded).any()


def test_the_seed_decides_all_draws() -> None:
    pictures, labels = made(2, seed=0)
    first, again, other = (DigitMemory(CONFIG, seed).learn(pictures, labels) for seed in (0, 0, 1))
    assert all((one.up == two.up).all() for one, two in zip(first.macs, again.macs, strict=True))
    assert any((one.up != two.up).any() for one, two in zip(first.macs, other.macs, strict=True))
    assert first.shares() == again.shares()
    assert 0 < first.shares()["units"] < 1
