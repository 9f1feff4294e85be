from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import bipartite
from models.bipartite import Graph, spread
from tests.models.conftest import make

if TYPE_CHECKING:
    from models.sequences import Sequences

NUM_ITEMS = 7
OWNERS = np.array([1, 0, 1, 3])
CPU = torch.device("cpu")


def met() -> "Sequences":
    """Subject 0 met 4; 1 met 2, 5 and 3; 2 met none; 3 met 5 and 3."""
    return make([5, 2, 5], [4], [3, 2], [3, 5])


def graph() -> Graph:
    return Graph.of(met(), OWNERS, 4, NUM_ITEMS)


def whole() -> NDArray[np.float64]:
    """The normalised adjacency of subjects and items together, by hand."""
    edges = np.zeros((4, NUM_ITEMS))
    for subject, item in ((0, 4), (1, 2), (1, 3), (1, 5), (3, 3), (3, 5)):
        edges[subject, item] = 1
    degrees = np.concatenate([edges.sum(axis=1), edges.sum(axis=0)])
    both = np.block([[np.zeros((4, 4)), edges], [edges.T, np.zeros((NUM_ITEMS, NUM_ITEMS))]])
    roots = np.sqrt(np.maximum(degrees, 1))
    return both / roots[:, None] / roots


def test_an_edge_is_there_once_however_often_they_met() -> None:
    found = graph()
    assert found.items.tolist() == [4, 2, 3, 5, 3, 5]
    assert found.offsets.tolist() == [0, 1, 4, 4, 6]
    assert found.subjects.tolist() == [0, 1, 1, 1, 3, 3]
    assert found.item_degrees.tolist() == [0, 0, 1, 2, 1, 2, 0]
    assert found.num_subjects == 4


def test_edges_weigh_less_the_more_there_are_on_both_sides() -> None:
    adjacency = graph().adjacency(CPU)
    to_subjects, to_items = adjacency.to_subjects @ torch.eye(NUM_ITEMS), adjacency.to_items @ torch.eye(4)
    assert to_subjects.numpy() == pytest.approx(whole()[:4, 4:], abs=1e-7)
    assert (to_items == to_subjects.T).all()


@pytest.mark.parametrize("num_threads", [2, 3, 16])
def test_threads_share_the_edges_and_change_nothing(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bipartite, "BLOCK_NUMBERS", 1)
    subjects, items, adjacency = torch.randn(4, 3), torch.randn(NUM_ITEMS, 3), graph().adjacency(CPU)
    expected = spread(subjects, items, adjacency, 2)
    torch.set_num_threads(num_threads)
    found = spread(subjects, items, adjacency, 2)
    torch.set_num_threads(1)
    assert all((ours == theirs).all() for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_what_is_spread_is_the_mean_of_the_powers(steps: int) -> None:
    subjects, items = torch.randn(4, 3), torch.randn(NUM_ITEMS, 3)
    both = np.concatenate([subjects, items])
    expected = np.mean([np.linalg.matrix_power(whole(), power) @ both for power in range(steps + 1)], axis=0)
    found = spread(subjects, items, graph().adjacency(CPU), steps)
    assert torch.cat(found).numpy() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_is_that_of_the_same_made_of_dense_products() -> None:
    matrix = torch.from_numpy(whole()).float()
    inputs = torch.randn(4 + NUM_ITEMS, 3, requires_grad=True)
    weights = torch.randn(4 + NUM_ITEMS, 3)

    def gradient(outputs: Tensor) -> Tensor:
        (found,) = torch.autograd.grad((outputs * weights).sum(), inputs)
        return found

    expected = gradient((inputs + matrix @ inputs + matrix @ matrix @ inputs) / 3)
    found = gradient(torch.cat(spread(inputs[:4], inputs[4:], graph().adjacency(CPU), 2)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_an_autocast_region_changes_nothing() -> None:
    subjects, items, adjacency = torch.randn(4, 3), torch.randn(NUM_ITEMS, 3), graph().adjacency(CPU)
    expected = spread(subjects, items, adjacency, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = spread(subjects, items, adjacency, 2)
    assert all((ours == theirs).all() for ours, theirs in zip(found, expected, strict=True))


def test_without_an_edge_nothing_spreads() -> None:
    empty = Graph(np.empty(0, np.int32), np.zeros(3, np.int64), NUM_ITEMS)
    found, _ = spread(torch.ones(2, 3), torch.ones(NUM_ITEMS, 3), empty.adjacency(CPU), 1)
    assert (found == 0.5).all()
