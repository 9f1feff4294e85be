import pytest
import torch

from models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.999])
def test_the_share_is_dropped_and_the_mean_stays(rate: float) -> None:
    torch.manual_seed(0)
    out = Dropout(rate).train()(torch.ones(1001, 203))
    assert (out == 0).float().mean() == pytest.approx(min(rate, 255 / 256), abs=0.005)
    assert out.mean() == pytest.approx(1, rel=0.05)
    assert len(out.unique()) == 2


def test_gradients_follow_the_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    out = Dropout(0.5).train()(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_nothing_is_dropped_when_not_training_or_at_rate_0() -> None:
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_masks_follow_the_seed_and_keep_the_type() -> None:
    def drop(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.3).train()(torch.ones(50, dtype=torch.bfloat16))

    assert torch.equal(drop(1), drop(1))
    assert not torch.equal(drop(1), drop(2))
    assert drop(1).dtype == torch.bfloat16
