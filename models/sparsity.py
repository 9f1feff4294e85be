"""The setting that makes the tables of any network sparse, and keeps them so while it is trained.

Tables hold nearly all weights of these networks, and their rows are looked up: what is not stored is not computed
either. The linear layers between are dense, unless ``layers`` is said, which saves memory and no time: they hold some
thousand weights, and a product with a sparse matrix of a fifth of them takes longer than one with all.

Shapes: N rows, D features.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from models.rewiring import Rewiring
from models.sparse_table import SparseLinear, SparseTable

Table = nn.Embedding | SparseTable


class Sparsity(Rewiring):
    """How sparse tables are, and how their live weights are found.

    density: live weights among all those of a table; 1: tables are dense, and nothing else here has an effect. start:
    each row begins with equally many live weights, or with about the square root of its training events as many.
    layers: whether linear layers are thinned out, too.
    """

    density: float = Field(default=1, gt=0, le=1)
    start: Literal["even", "degree"] = "even"
    layers: bool = False

    @property
    def is_dense(self) -> bool:
        """Whether tables hold all weights."""
        return self.density == 1

    def num_weights(self, num_rows: int, dim: int) -> int:
        """Return how many weights a table has."""
        return round(self.density * num_rows * dim)

    def check(self, dim: int) -> None:
        """Raise ValueError where a row of so many features is left with less than the least weights."""
        if self.density * dim < self.least:
            raise ValueError(
                f"sparsity.density {self.density} leaves {self.density * dim:.2g} of {dim} weights a row; "
                f"allowed: {self.least / dim:.2g} to 1, for at least {self.least} a row"
            )


DENSE: Final = Sparsity()
SMALL_DEGREE: Final = 1e-6  # of a row without events, which has the least
BISECTIONS: Final = 80


def make_table(num_rows: int, dim: int, sparsity: Sparsity) -> Table:
    """Make a table, to be filled by `draw`; it is sparse with equally many weights a row, or dense.

    Raises ValueError as `Sparsity.check` does.
    """
    if sparsity.is_dense:
        return nn.Embedding(num_rows, dim)
    sparsity.check(dim)
    table = SparseTable(num_rows, dim, sparsity.num_weights(num_rows, dim))
    if not table.values.is_meta:
        table.spread(even_budget(num_rows, len(table.values)))
    return table


def thin_out_layers(network: nn.Module, sparsity: Sparsity) -> None:
    """Replace the linear layers of a network by sparse ones, if so set; too narrow ones for the least a row stay.

    Raises ValueError where there is none.
    """
    if sparsity.is_dense or not sparsity.layers:
        return
    linear = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    layers = {name: layer for name, layer in linear.items() if sparsity.density * layer.in_features >= sparsity.least}
    if not layers:
        raise ValueError("sparsity.layers is set, and this network has no linear layer to thin out")
    for name, layer in layers.items():
        sparse = SparseLinear(layer, sparsity.num_weights(layer.out_features, layer.in_features))
        if not sparse.values.is_meta:
            sparse.keep_largest(layer.weight, even_budget(layer.out_features, len(sparse.values)))
        owner, _, own_name = name.rpartition(".")
        setattr(network.get_submodule(owner), own_name, sparse)


def draw(table: Table, fill: Callable[[Tensor], Any]) -> None:
    """Fill a table; ``fill`` draws all numbers of a tensor [*, D], of which a sparse table keeps the live ones."""
    if isinstance(table, SparseTable):
        table.fill(fill)
    else:
        fill(table.weight)


def spread_by_degree(table: Table, degrees: NDArray[np.int64], sparsity: Sparsity) -> None:
    """Give the rows of a sparse table weights as their degrees ask for, before it is trained."""
    if isinstance(table, SparseTable):
        counts, num_weights = torch.from_numpy(degrees), len(table.values)
        table.spread(degree_budget(counts, num_weights, table.embedding_dim, sparsity.least))


def normal(tensor: Tensor) -> Tensor:
    """Draw vectors as networks here begin with them."""
    return nn.init.normal_(tensor, std=0.02)


def even_budget(num_rows: int, num_weights: int) -> Tensor:
    """Return weights for each row, int64[N], as equal as they can be; those rows have one more that are drawn.

    >>> sorted(even_budget(4, 10).tolist())
    [2, 2, 3, 3]
    """
    each, left = divmod(num_weights, max(1, num_rows))
    budget = torch.full((num_rows,), each)
    budget[torch.randperm(num_rows)[:left]] += 1
    return budget


def degree_budget(degrees: Tensor, num_weights: int, dim: int, least: int) -> Tensor:
    """Return weights for each row, int64[N]: as the root of its degree, from least to dim, num_weights together.

    >>> degree_budget(torch.tensor([0, 1, 4, 9, 400]), 24, dim=10, least=2)
    tensor([ 2,  2,  4,  6, 10])
    """
    roots = (degrees.double() + SMALL_DEGREE).sqrt()
    low, high = 0.0, dim / SMALL_DEGREE**0.5
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_too_much = float((roots * middle).clamp(least, dim).sum()) > num_weights
        low, high = (low, middle) if is_too_much else (middle, high)
    shares = (roots * low).clamp(least, dim)
    budget = shares.floor().long()
    by_rest = (budget - shares).where(budget < dim, 1.0).argsort(stable=True)
    budget[by_rest[: num_weights - int(budget.sum())]] += 1
    return budget
