import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from models.rewiring import LEAST_SHARE, Rewirer, Rewiring, rewire
from models.sparse_table import SparseTable
from tests.models.test_sparse_table import table_of

Floats = NDArray[np.float32]


def moments_of(table: SparseTable) -> list[torch.Tensor]:
    return [torch.arange(1.0, len(table.values) + 1), -torch.arange(1.0, len(table.values) + 1)]


def whole(table: SparseTable, values: torch.Tensor) -> Floats:
    """Return what belongs to each place, 0 where it is dead."""
    array = np.zeros((table.num_embeddings, table.embedding_dim), np.float32)
    array[table.rows().numpy(), table.columns.long().numpy()] = values.numpy(force=True)
    return array


def live(table: SparseTable) -> NDArray[np.bool_]:
    return whole(table, torch.ones(len(table.values))) > 0


def expected_after(
    before: NDArray[np.bool_], weights: Floats, gradient: Floats, share: float, least: int
) -> tuple[set[int], set[int]]:
    """Choose one weight after the other, by hand."""
    num_rows, dim = before.shape
    read = [row for row in range(num_rows) if gradient[row].any()]
    droppable = []
    for row in read:
        own = sorted((column for column in range(dim) if before[row, column]), key=lambda c: (-abs(weights[row, c]), c))
        droppable += [(abs(weights[row, column]), row * dim + column) for column in own[least:]]
    growable = [
        (-abs(gradient[row, column]), row * dim + column)
        for row in range(num_rows)
        for column in range(dim)
        if not before[row, column] and gradient[row, column]
    ]
    num_live = sum(int(before[row].sum()) for row in read)
    count = min(math.ceil(share * num_live), len(droppable), len(growable))
    return {place for _, place in sorted(droppable)[:count]}, {place for _, place in sorted(growable)[:count]}


@settings(max_examples=60, deadline=None)
@given(
    budget=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    share=st.floats(0, 1),
    least=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_it_drops_the_smallest_and_grows_where_gradients_are_largest(
    budget: list[int], share: float, least: int, seed: int
) -> None:
    table = table_of(torch.tensor(budget), dim=6, seed=seed)
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        table.values.copy_(torch.from_numpy(generator.integers(-3, 4, len(table.values))))  # with ties
    gradient = generator.integers(-3, 4, (len(budget), 6)).astype(np.float32)
    gradient[generator.random(len(budget)) < 0.3] = 0
    before, weights, moments = live(table), whole(table, table.values), moments_of(table)
    moments_before = [whole(table, moment) for moment in moments]
    should_drop, should_grow = expected_after(before, weights, gradient, share, least)
    dropped, grown = rewire(table, gradient.copy(), share, least, moments)
    assert set(dropped.tolist()) == should_drop
    assert set(grown.tolist()) == should_grow
    assert len(dropped) == len(grown) == len(should_drop)
    after = live(table)
    kept = before.copy()
    kept.ravel()[dropped] = False
    assert not kept.ravel()[grown].any()
    kept_or_grown = kept.copy()
    kept_or_grown.ravel()[grown] = True
    assert (after == kept_or_grown).all()
    assert after.sum() == before.sum() == len(table.values)
    assert (whole(table, table.values) == np.where(kept, weights, 0)).all()
    for moment, was in zip(moments, moments_before, strict=True):
        assert (whole(table, moment) == np.where(kept, was, 0)).all()
    assert (np.diff(table.offsets.numpy()) >= np.minimum(least, budget)).all()


def test_a_share_of_zero_changes_nothing() -> None:
    table = table_of()
    before = [tensor.clone() for tensor in table.state_dict().values()]
    rewire(table, np.ones((6, 5), np.float32), 0.0, 1, moments_of(table))
    assert all((old == new).all() for old, new in zip(before, table.state_dict().values(), strict=True))


def test_it_drops_exactly_the_share_of_many_equal_weights() -> None:
    table = table_of(torch.full((100,), 5), dim=10)
    with torch.no_grad():
        table.values.fill_(1)
    dropped, grown = rewire(table, np.ones((100, 10), np.float32), 0.123, 1, [])
    assert len(dropped) == len(grown) == math.ceil(0.123 * 500)


def test_the_share_falls_along_a_cosine() -> None:
    settings = Rewiring(explore=1)
    assert settings.share_at(0) == 0.5
    assert settings.share_at(1) == pytest.approx(LEAST_SHARE)
    assert settings.share_at(0.5) == pytest.approx((0.5 + LEAST_SHARE) / 2)
    assert Rewiring(explore=0.5).share_at(0.5) == pytest.approx(LEAST_SHARE)


class Counted:
    """A table in training, whose gradient is 1 everywhere in each step."""

    def __init__(self, settings: Rewiring, num_steps: int) -> None:
        self.table = table_of()
        optimiser = torch.optim.AdamW(self.table.parameters(), lr=0.01)
        rewirer = Rewirer(settings, nn.ModuleList([self.table]), optimiser)
        self.changes, self.windows = [], []
        for step in range(num_steps):
            rewirer.before(step / num_steps, 1 / num_steps)
            self.windows.append(rewirer.is_collecting)
            optimiser.zero_grad()
            (self.table.weight.sum() + self.table.weight.square().sum()).backward()
            optimiser.step()
            was = live(self.table)
            rewirer.after(step / num_steps, 1 / num_steps, lambda: np.random.default_rng(0))
            self.changes.append(bool((live(self.table) != was).any()))
        rewirer.close()
        assert self.table.growth is None


@pytest.mark.parametrize(("num_steps", "num_updates"), [(100, 10), (103, 10), (7, 7), (1000, 33)])
def test_there_are_as_many_updates_as_are_said(num_steps: int, num_updates: int) -> None:
    counted = Counted(Rewiring(num_updates=num_updates, explore=1), num_steps)
    assert sum(counted.changes) == num_updates
    interval = np.diff(np.flatnonzero(counted.changes))
    assert abs(interval - num_steps / num_updates).max(initial=0) < 1


def test_updates_end_where_exploring_does_and_look_at_a_window() -> None:
    counted = Counted(Rewiring(num_updates=10, explore=0.5, window=3), 100)
    assert np.flatnonzero(counted.changes).tolist() == [9, 19, 29, 39, 49]
    assert np.flatnonzero(counted.windows).tolist() == [7, 8, 9, 17, 18, 19, 27, 28, 29, 37, 38, 39, 47, 48, 49]


def test_without_updates_the_live_weights_stay() -> None:
    counted = Counted(Rewiring(num_updates=0), 50)
    assert not any(counted.changes)
    assert not any(counted.windows)
    assert (live(counted.table) == live(table_of())).all()


def fit_planted(settings: Rewiring) -> float:
    """Learn a matrix of which each row has two numbers that are not 0; return the error that is left."""
    generator = torch.Generator().manual_seed(1)
    goal = torch.zeros(200, 16)
    columns = torch.rand(200, 16, generator=generator).argsort(dim=1)[:, :2]
    goal.scatter_(1, columns, 1 + torch.rand(200, 2, generator=generator))
    table = table_of(torch.full((200,), 2), dim=16)
    optimiser = torch.optim.AdamW(table.parameters(), lr=0.05, weight_decay=0)
    rewirer = Rewirer(settings, nn.ModuleList([table]), optimiser)
    draw = np.random.default_rng(0)
    for step in range(600):
        rows = torch.randint(0, 200, (50,), generator=generator)
        rewirer.before(step / 600, 1 / 600)
        optimiser.zero_grad()
        (table(rows) - goal[rows]).square().sum().backward()
        optimiser.step()
        rewirer.after(step / 600, 1 / 600, lambda: draw)
    return float((table.weight.detach() - goal).square().sum() / goal.square().sum())


def test_it_finds_the_weights_that_matter() -> None:
    assert fit_planted(Rewiring(num_updates=0)) > 0.7
    by_gradient, at_random = (
        fit_planted(Rewiring(num_updates=30)),
        fit_planted(Rewiring(num_updates=30, growth="random")),
    )
    assert by_gradient < 0.05
    assert by_gradient < at_random < 0.7
