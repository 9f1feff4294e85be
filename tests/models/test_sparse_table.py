import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.sparse_table import SparseTable

BUDGET = torch.tensor([3, 0, 5, 1, 2, 5])
DIM = 5


def table_of(budget: Tensor = BUDGET, dim: int = DIM, seed: int = 0) -> SparseTable:
    torch.manual_seed(seed)
    table = SparseTable(len(budget), dim, int(budget.sum()))
    table.spread(budget)
    table.fill(nn.init.normal_)
    return table


def masked(table: SparseTable) -> tuple[nn.Embedding, Tensor]:
    """Make the dense table of the same vectors, and the mask of what is live."""
    whole = torch.zeros(table.num_embeddings, table.embedding_dim)
    mask = torch.zeros_like(whole)
    start = 0
    for row, length in enumerate(table.offsets.diff().tolist()):
        for place in range(start, start + length):
            whole[row, int(table.columns[place])] = table.values.detach()[place]
            mask[row, int(table.columns[place])] = 1
        start += length
    dense = nn.Embedding(table.num_embeddings, table.embedding_dim)
    dense.weight.data.copy_(whole)
    return dense, mask


def loss_of(vectors: Tensor, whole: Tensor) -> Tensor:
    return (vectors.sin() * vectors.exp()).sum() + (whole @ whole.T).square().mean()


def test_rows_have_as_many_weights_as_the_budget_says_at_ascending_columns_of_their_own() -> None:
    table = table_of()
    assert (table.offsets.diff() == BUDGET).all()
    for row in table.columns.split(BUDGET.tolist()):
        assert (row.long().diff() > 0).all()
    assert table.columns.max() < DIM


def test_columns_are_drawn_alike() -> None:
    table = table_of(torch.full((40_000,), 2), dim=4)
    shares = torch.bincount(table.columns.long(), minlength=4) / 80_000
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_a_fill_keeps_of_a_whole_table_what_is_live() -> None:
    table = table_of(torch.full((50_000,), 2), dim=4)
    assert float(table.values.detach().std()) == pytest.approx(1, abs=0.02)
    table.fill(lambda block: block.copy_(torch.arange(4.0).expand_as(block)))
    assert (table.values == table.columns).all()


@pytest.mark.parametrize("shape", [(7,), (2, 4), (0,)])
def test_vectors_and_gradients_are_those_of_a_masked_dense_table(shape: tuple[int, ...]) -> None:
    table = table_of()
    dense, mask = masked(table)
    rows = torch.randint(0, len(BUDGET), shape)
    assert (table(rows) == dense(rows)).all()
    assert (table.weight == dense.weight).all()
    loss_of(table(rows), table.weight).backward()
    loss_of(dense(rows), dense.weight).backward()
    assert table.values.grad is not None
    assert dense.weight.grad is not None
    assert table.values.grad.shape == (int(BUDGET.sum()),)
    torch.testing.assert_close(table.values.grad, dense.weight.grad[mask > 0], rtol=1e-6, atol=1e-6)


def test_adam_goes_the_way_of_masked_dense_adam() -> None:
    table = table_of()
    dense, mask = masked(table)
    ours, theirs = (torch.optim.AdamW(module.parameters(), lr=0.05, weight_decay=0.1) for module in (table, dense))
    for step in range(30):
        rows = torch.randint(0, len(BUDGET), (4,), generator=torch.Generator().manual_seed(step))
        for module, optimiser in ((table, ours), (dense, theirs)):
            optimiser.zero_grad()
            loss_of(module(rows), module.weight).backward()
            if module is dense:
                assert dense.weight.grad is not None
                dense.weight.grad *= mask
            optimiser.step()
    torch.testing.assert_close(table.weight, dense.weight * mask, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(table.weight, masked(table_of())[0].weight, atol=0.1)


def test_while_it_is_asked_for_the_gradient_of_dead_weights_adds_up_too() -> None:
    table = table_of()
    dense, _ = masked(table)
    table.growth = torch.zeros(len(BUDGET), DIM)
    for rows in (torch.tensor([0, 0, 3]), torch.tensor([1, 4, 0])):
        loss_of(table(rows), table.weight).backward()
        loss_of(dense(rows), dense.weight).backward()
    assert dense.weight.grad is not None
    torch.testing.assert_close(table.growth, dense.weight.grad, rtol=1e-5, atol=1e-5)
    table.growth = torch.zeros(len(BUDGET), DIM)
    table(torch.tensor([2, 2])).sum().backward()
    assert table.growth[2].tolist() == [2] * DIM
    assert table.growth.sum() == 2 * DIM


@pytest.mark.parametrize(("dim", "kind", "width"), [(256, torch.uint8, 1), (257, torch.int16, 2)])
def test_a_file_holds_five_bytes_a_weight(dim: int, kind: torch.dtype, width: int, tmp_path: Path) -> None:
    num_rows, each = 2000, 50
    table = table_of(torch.full((num_rows,), each), dim)
    assert table.columns.dtype == kind
    save_file(table.state_dict(), tmp_path / "table")
    expected = num_rows * each * (4 + width) + 4 * (num_rows + 1)
    assert (tmp_path / "table").stat().st_size == pytest.approx(expected, rel=0.01)


def test_states_are_of_the_live_weights_alone() -> None:
    table = table_of()
    optimiser = torch.optim.AdamW(table.parameters())
    table(torch.arange(6)).sum().backward()
    optimiser.step()
    sizes = [state.numel() for state in optimiser.state[table.values].values()]
    assert sorted(sizes) == [1, int(BUDGET.sum()), int(BUDGET.sum())]


def test_a_copy_and_a_loaded_state_are_the_same_table() -> None:
    table = table_of()
    other = table_of(torch.full((6,), 2)[torch.tensor([0, 1, 2, 3, 4, 5])] + torch.tensor([0, 0, 2, 0, 0, 2]), seed=1)
    other.load_state_dict(copy.deepcopy(table).state_dict())
    assert (other.weight == table.weight).all()
    assert np.array_equal(other.offsets.numpy(), table.offsets.numpy())
