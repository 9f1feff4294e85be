import numpy as np
import pytest
import torch

from models.negatives import NegativeSampler

COUNTS = np.array([16, 1, 0, 81])
TARGETS = torch.tensor([0] * 16 + [1] + [3] * 81)


@pytest.mark.parametrize(
    ("drawing", "shares"),
    [
        ("uniform", [1 / 4] * 4),
        ("popularity", [8 / 36, 1 / 36, 0, 27 / 36]),  # to the power of 3/4
        ("in_batch", [16 / 98, 1 / 98, 0, 81 / 98]),
    ],
)
def test_items_are_drawn_as_often_as_is_told(drawing: str, shares: list[float]) -> None:
    sampler = NegativeSampler(COUNTS, drawing, 40_000)  # type: ignore[arg-type]
    negatives = sampler.draw(TARGETS, np.random.default_rng(0))
    drawn = np.bincount(negatives.numbers, minlength=4) / 40_000
    np.testing.assert_allclose(drawn, shares, atol=0.01)
    told = np.log(40_000 * np.array(shares)[negatives.numbers])
    np.testing.assert_allclose(negatives.log_expected, told, rtol=1e-5)


def test_draws_follow_the_generator() -> None:
    sampler = NegativeSampler(COUNTS, "uniform", 20)
    first, again, other = (sampler.draw(TARGETS, np.random.default_rng(seed)).numbers.tolist() for seed in (1, 1, 2))
    assert first == again != other
