import math
from typing import Literal

import pytest
import torch
from torch import nn

from models.enhancement import Curriculum, head_loss, neighbourhoods, sequence_loss, tail_loss

MONOTONE = Curriculum("monotone", ramp_epochs=10)
PUBLISHED = Curriculum("published", ramp_epochs=200)
KEPT, EVENTS = torch.tensor([2, 5, 9]), torch.tensor([10, 10, 10])


def test_the_monotone_curriculum_begins_with_what_is_easy_and_never_falls() -> None:
    easiness = torch.tensor([0.0, 0.5, 1.0])
    epochs = range(1, 15)
    for weights in (
        torch.stack([MONOTONE.of_sequences(epoch, KEPT, EVENTS) for epoch in epochs]),
        torch.stack([MONOTONE.of_frequent(epoch, easiness) for epoch in epochs]),
        torch.tensor([[MONOTONE.of_rare(epoch)] for epoch in epochs]),
    ):
        assert (weights.diff(dim=0) >= -1e-6).all()
        assert (weights[0].diff() > 0).all()
        torch.testing.assert_close(weights[10:], torch.ones_like(weights[10:]))
    first = MONOTONE.of_sequences(1, KEPT, EVENTS)
    torch.testing.assert_close(first, torch.tensor([math.sin(math.pi / 2 * share) for share in (0.3, 0.6, 1.0)]))
    assert MONOTONE.of_rare(1) == pytest.approx(math.sin(math.pi / 2 / 10))  # one epoch alone has some of it


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.97), (50, 0.61), (100, 0.0), (150, 2 * 0.61), (199, 2 * 0.96)])
def test_the_published_weight_of_sequences_is_a_v(epoch: int, weight: float) -> None:
    """Measured on the published code for three kept events, whose loss is added twice after epoch 99."""
    found = PUBLISHED.of_sequences(epoch + 1, torch.tensor([3]), torch.tensor([50]))
    assert found.item() == pytest.approx(weight, abs=0.01)


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.26), (50, 0.79), (100, 1.0), (150, 0.79), (199, 0.27)])
def test_the_published_weight_of_frequent_items_is_a_bump(epoch: int, weight: float) -> None:
    assert PUBLISHED.of_frequent(epoch + 1, torch.ones(1)).item() == pytest.approx(weight, abs=0.01)
    assert PUBLISHED.of_frequent(1, torch.zeros(1)).item() == pytest.approx(-0.97, abs=0.01)


def test_the_published_epochs_are_spread_over_the_ramp() -> None:
    short = Curriculum("published", ramp_epochs=20)
    assert short.of_rare(6) == PUBLISHED.of_rare(51)
    assert short.of_rare(6) == pytest.approx(math.sin(math.pi / 2 * 50 / 220))


def test_the_published_weights_stay_where_its_epochs_end() -> None:
    last, beyond = PUBLISHED, Curriculum("published", ramp_epochs=10)
    for epoch in (11, 60):
        assert beyond.of_rare(epoch) == last.of_rare(200) > 0
        torch.testing.assert_close(beyond.of_frequent(epoch, torch.ones(1)), last.of_frequent(200, torch.ones(1)))


@pytest.mark.parametrize("kind", ["monotone", "published"])
def test_without_a_ramp_every_epoch_is_as_the_last(kind: Literal["monotone", "published"]) -> None:
    over, ramped = Curriculum(kind, ramp_epochs=0), Curriculum(kind, ramp_epochs=1)
    easiness = torch.tensor([0.0, 0.5, 1.0])
    for epoch in (1, 2, 50):
        assert over.of_rare(epoch) == ramped.of_rare(50) > 0.9
        torch.testing.assert_close(over.of_frequent(epoch, easiness), ramped.of_frequent(50, easiness))
        torch.testing.assert_close(over.of_sequences(epoch, KEPT, EVENTS), ramped.of_sequences(50, KEPT, EVENTS))


def test_a_thinned_sequence_is_asked_for_a_direction_and_the_teacher_stands() -> None:
    told = torch.tensor([[2.0, 0.0], [0.0, 3.0]], requires_grad=True)
    teacher = torch.tensor([[5.0, 0.0], [7.0, 0.0]], requires_grad=True)
    loss = sequence_loss(told, teacher, torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx((0 + 0.5 * 2) / 2)  # squared distance of two right angled directions is 2
    loss.backward()
    assert told.grad is not None
    assert teacher.grad is None


def test_neighbours_weigh_by_likeness_and_missing_ones_not_at_all() -> None:
    table = torch.tensor([[9.0, 9.0], [1.0, 0.0], [2.0, 0.0], [0.0, 4.0]], requires_grad=True)
    own = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    near = neighbourhoods(own, torch.tensor([[2, 3], [3, 0]]), table)
    share = 1 / (1 + math.exp(-2))  # softmax of the products 2 and 0
    torch.testing.assert_close(near, torch.tensor([[2 * share, 4 * (1 - share)], [0.0, 4.0]]))
    near.sum().backward()
    assert own.grad is None
    assert table.grad is not None
    assert table.grad.any(dim=1).tolist() == [False, False, True, True]


class Multiple(nn.Module):
    """Makes of an item a multiple of its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, near: torch.Tensor) -> torch.Tensor:
        return near * self.factor


def test_frequent_items_stand_and_teach_how_to_be_made() -> None:
    enhance, own = Multiple(), torch.tensor([[1.0, 1.0], [2.0, 0.0]], requires_grad=True)
    near = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    loss = head_loss(enhance, near, own, torch.tensor([0.5, 1.0]))
    assert loss.item() == pytest.approx(0.5 * 2 / 2 / 1.5)  # a distance of 2, halved twice, in parts of 6 / 4
    loss.backward()
    assert own.grad is None
    assert enhance.factor.grad is not None


def test_rare_items_move_and_what_makes_them_stands() -> None:
    enhance, own = Multiple(), torch.tensor([[1.0, 1.0]], requires_grad=True)
    loss = tail_loss(enhance, torch.tensor([[1.0, 3.0]]), own)
    assert loss.item() == pytest.approx(2.0)
    loss.backward()
    assert own.grad is not None
    assert own.grad.tolist() == [[0.0, -2.0]]
    assert enhance.factor.grad is None


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_smaller_vectors_are_no_smaller_loss(size: float) -> None:
    own, near = torch.tensor([[size, 0.0]]), torch.tensor([[0.0, size]])
    assert tail_loss(Multiple(), near, own).item() == pytest.approx(2.0)
    assert head_loss(Multiple(), near, own, torch.ones(1)).item() == pytest.approx(2.0)
