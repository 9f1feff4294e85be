import numpy as np
import pytest
import torch
from torch import nn

from models.known_weights import begin_with, take_over
from models.recommender import UnfitStart
from models.sparse_table import SparseLinear, SparseTable
from models.sparsity import Sparsity, draw, make_table, normal
from tests.models.test_sparse_table import table_of


class Network(nn.Module):
    def __init__(self, num_rows: int, dim: int = 4) -> None:
        super().__init__()
        torch.manual_seed(num_rows)
        self.sparse = make_table(num_rows, dim, Sparsity(density=2 / dim))
        draw(self.sparse, normal)
        self.dense = nn.Embedding(num_rows, dim)
        self.layer = nn.Linear(dim, 3)


def state_of(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: weight.numpy(force=True).copy() for name, weight in network.state_dict().items()}


GROWING = {"sparse.weight", "dense.weight"}


def test_rows_that_were_there_come_first_and_new_ones_are_random() -> None:
    before, after = Network(5), Network(7)
    own = state_of(after)
    begin_with(after, state_of(before), GROWING)
    assert (after.sparse.weight[:5] == before.sparse.weight).all()
    assert isinstance(after.sparse, SparseTable)
    assert (after.sparse.offsets.diff() == 2).all()
    assert sorted(after.sparse.values[10:].tolist()) == sorted(own["sparse.values"][10:].tolist())
    assert (after.dense.weight[:5] == before.dense.weight).all()
    assert (after.dense.weight[5:].detach().numpy() == own["dense.weight"][5:]).all()
    assert (after.layer.weight == before.layer.weight).all()


def test_rows_can_be_found_wherever_they_are_now() -> None:
    before, after = Network(5), Network(6)
    rows = np.array([3, -1, 0, -1, 4, -1])
    begin_with(after, state_of(before), (), {"sparse": rows, "dense": rows})
    kept = torch.from_numpy(rows[rows >= 0])
    assert (after.sparse.weight[rows >= 0] == before.sparse.weight[kept]).all()
    assert (after.dense.weight[rows >= 0] == before.dense.weight[kept]).all()
    assert isinstance(after.sparse, SparseTable)
    assert int(after.sparse.offsets[-1]) == 12


def test_new_rows_share_what_uneven_ones_leave() -> None:
    before = nn.ModuleDict({"sparse": table_of(torch.tensor([4, 1, 1]), 4)})
    after = nn.ModuleDict({"sparse": table_of(torch.full((4,), 2), 4)})
    begin_with(after, state_of(before), (), {"sparse": np.array([1, -1, 2, -1])})
    table = after["sparse"]
    assert isinstance(table, SparseTable)
    assert table.offsets.diff().tolist() == [1, 3, 1, 3]


@pytest.mark.parametrize(
    ("before", "growing", "message"),
    [
        (Network(8), GROWING, "sparse has 8 rows, here 7"),
        (Network(5), (), "sparse has 5 rows, here 7"),
        (nn.Linear(2, 2), GROWING, "is in one of the networks only"),
    ],
)
def test_weights_of_another_network_are_refused(before: nn.Module, growing: set[str], message: str) -> None:
    with pytest.raises(UnfitStart, match=message):
        begin_with(Network(7), state_of(before), growing)


def test_too_much_left_for_the_new_rows_is_refused() -> None:
    before = nn.ModuleDict({"sparse": table_of(torch.tensor([4, 1, 1]), 4)})
    after = nn.ModuleDict({"sparse": table_of(torch.full((3,), 2), 4)})
    with pytest.raises(UnfitStart, match="would have 3 live ones for 0 new rows of 4"):
        begin_with(after, state_of(before), (), {"sparse": np.array([1, 2, 2])})


def test_a_sparse_layer_is_begun_with_its_bias() -> None:
    layers = [SparseLinear(nn.Linear(4, 3), 6) for _ in range(2)]
    for layer in layers:
        layer.keep_largest(torch.randn(3, 4), torch.full((3,), 2))
    before, after = (nn.ModuleDict({"layer": layer}) for layer in layers)
    begin_with(after, state_of(before), ())
    assert (layers[1].bias == layers[0].bias).all()
    assert (layers[1].weight == layers[0].weight).all()


def test_a_network_without_memory_takes_over_what_fits_alone() -> None:
    source = Network(5)
    with torch.device("meta"):
        empty = Network(5)
    take_over(empty, state_of(source), "it")
    assert (empty.sparse.weight == source.sparse.weight).all()
    with pytest.raises(ValueError, match=r"dense\.weight of this it is \(5, 4\), and \(6, 4\) here"):
        take_over(Network(6), {**state_of(Network(6)), "dense.weight": np.zeros((5, 4), np.float32)}, "it")
