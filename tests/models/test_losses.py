import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models import losses
from models.losses import (
    binary_cross_entropy,
    full_softmax,
    generalised_binary_cross_entropy,
    sampled_softmax,
)
from models.negatives import Negatives, NegativeSampler


def random_case(num_tokens: int = 37, num_items: int = 23, dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(num_tokens, dim, dtype=torch.float64, requires_grad=True)
    table = torch.randn(num_items, dim, dtype=torch.float64, requires_grad=True)
    return hidden, table, torch.randint(num_items, (num_tokens,))


@pytest.mark.parametrize("block_rows", [1, 5, 37, 100])
def test_the_full_softmax_equals_torch_in_value_and_gradient(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK_BYTES", {"cpu": block_rows * 23 * 8})
    hidden, table, targets = random_case()
    found = full_softmax(hidden, table, targets)
    gradients = torch.autograd.grad(3 * found, (hidden, table))
    expected = F.cross_entropy(hidden @ table.T, targets)
    oracle = torch.autograd.grad(3 * expected, (hidden, table))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # the logarithm is taken in float32
    torch.testing.assert_close(gradients[0], oracle[0])
    torch.testing.assert_close(gradients[1], oracle[1], rtol=1e-6, atol=1e-6)


def test_the_full_softmax_in_bfloat16_is_near_and_keeps_the_types() -> None:
    hidden, table = (part.detach().float().requires_grad_() for part in random_case()[:2])
    targets = random_case()[2]
    with torch.autocast("cpu", torch.bfloat16):
        found = full_softmax(hidden, table, targets)
    gradients = torch.autograd.grad(found, (hidden, table))
    expected = F.cross_entropy(hidden @ table.T, targets)
    oracle = torch.autograd.grad(expected, (hidden, table))
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    for ours, theirs in zip(gradients, oracle, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - theirs).norm() / theirs.norm()) < 0.02


def test_a_hopeless_token_counts_no_more_than_float32_can_tell() -> None:
    hidden = torch.tensor([[1000.0]], requires_grad=True)
    loss = full_softmax(hidden, torch.tensor([[1.0], [-1.0]], requires_grad=True), torch.tensor([1]))
    assert loss.item() == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[2.0]]  # softmax [1, 0] minus one-hot [0, 1], times the table


def hand_case() -> tuple[Tensor, Tensor, Tensor, Negatives]:
    """One token: target 0 scores log 3, negatives 1 and 2 score 0 and log 2; a third draw is the target itself."""
    table = torch.tensor([[math.log(3)], [0.0], [math.log(2)]])
    negatives = Negatives(torch.tensor([1, 2, 0]), torch.log(torch.tensor([0.5, 2.0, 1.0])))
    return torch.ones(1, 1), table, torch.tensor([0]), negatives


def test_sampled_softmax_by_hand() -> None:
    # 3 against 1 / .5 + 2 / 2 = 3: a half
    assert float(sampled_softmax(*hand_case())) == pytest.approx(math.log(2))


def test_binary_cross_entropy_by_hand() -> None:
    # sigmoid of the target 3/4; of the negatives 1/2, 2/3 and, left out, 0
    expected = -math.log(3 / 4) - (math.log(1 / 2) + math.log(1 / 3)) / 3
    assert float(binary_cross_entropy(*hand_case())) == pytest.approx(expected)


def test_generalised_binary_cross_entropy_by_hand() -> None:
    hidden, table, targets, negatives = hand_case()
    negatives = Negatives(negatives.numbers[:1], negatives.log_expected[:1])  # one of the two others is drawn
    rest = -math.log(1 / 2)
    for calibration, power in ((0.0, 1.0), (1.0, 0.5), (0.5, 0.75)):
        found = generalised_binary_cross_entropy(hidden, table, targets, negatives, calibration, len(table))
        assert float(found) == pytest.approx((-power * math.log(3 / 4) + rest) / 2)


def test_the_calibrated_power_is_1_where_as_many_are_drawn_as_there_are_items() -> None:
    hidden, table, targets, negatives = hand_case()  # three draws of the two others
    for calibration in (0.0, 1.0):
        found = generalised_binary_cross_entropy(hidden, table, targets, negatives, calibration, len(table))
        assert float(found) == pytest.approx((-math.log(3 / 4) - math.log(1 / 2) - math.log(1 / 3)) / 4)
    alone = Negatives(torch.tensor([0]), torch.zeros(1))  # of one item nothing else can be drawn
    found = generalised_binary_cross_entropy(hidden, table[:1], targets, alone, 0.75, num_items=1)
    assert float(found) == pytest.approx(-math.log(3 / 4) / 2)


def test_the_full_softmax_of_bfloat16_states_is_not_rounded_to_bfloat16() -> None:
    hidden, table = (part.detach().bfloat16() for part in random_case()[:2])
    found = full_softmax(hidden.requires_grad_(), table.requires_grad_(), random_case()[2])
    assert found.dtype == torch.float32
    assert found.item() != found.bfloat16().item()
    assert torch.autograd.grad(found, hidden)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("drawing", ["uniform", "popularity", "in_batch"])
def test_sampled_softmax_tends_to_the_full_one(drawing: str) -> None:
    hidden, table, targets = (part.detach() for part in random_case(num_tokens=400, num_items=7))
    sampler = NegativeSampler(np.bincount(targets, minlength=7), drawing, 50_000)  # type: ignore[arg-type]
    negatives = sampler.draw(targets, np.random.default_rng(0))
    found = sampled_softmax(hidden.float(), table.float(), targets, negatives)
    assert float(found) == pytest.approx(float(F.cross_entropy(hidden @ table.T, targets)), rel=0.02)
