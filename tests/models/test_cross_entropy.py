import pytest
import torch
from torch.nn import functional as F

from models import cross_entropy
from models.cross_entropy import full_cross_entropy


def inputs(num_tokens: int = 7, dim: int = 3, num_items: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(num_tokens, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    table = torch.randn(num_items, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    return hidden, table, torch.randint(num_items, (num_tokens,), generator=generator)


@pytest.mark.parametrize("block_tokens", [1, 3, 7, 100])
def test_value_and_gradients_equal_the_plain_loss(block_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "BLOCK_BYTES", block_tokens * 5 * 8)
    hidden, table, targets = inputs()
    loss = 3 * full_cross_entropy(hidden, table, targets)
    plain = 3 * F.cross_entropy(hidden @ table.T, targets)
    torch.testing.assert_close(loss, plain)
    found = torch.autograd.grad(loss, [hidden, table])
    torch.testing.assert_close(found, torch.autograd.grad(plain, [hidden, table]))


def test_the_gradient_is_that_of_the_value() -> None:
    hidden, table, targets = inputs()
    assert torch.autograd.gradcheck(lambda h, t: full_cross_entropy(h, t, targets), (hidden, table))


def test_large_scores_do_not_overflow() -> None:
    hidden = torch.tensor([[1000.0]], requires_grad=True)
    table = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    assert full_cross_entropy(hidden, table, torch.tensor([0])).item() == 0
    assert full_cross_entropy(hidden, table, torch.tensor([1])).item() == 2000
