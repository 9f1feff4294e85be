"""Weights that were learnt before: a network takes them over as they are, or training begins with them (a warm start).

Shapes: N rows of a table.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.recommender import UnfitStart
from models.sparse_table import SparseTable
from models.sparsity import even_budget

State = Mapping[str, NDArray[Any]]
Rows = NDArray[np.int64]
NONE: Final[Mapping[str, Rows]] = MappingProxyType({})
PARTS: Final = ("offsets", "columns", "values")  # of a sparse table
UNFIT: Final = "cannot start from these weights"


def take_over(network: nn.Module, state: State, model: str) -> None:
    """Give a network that has no memory yet (``meta``) the weights of one like it. Raises ValueError for another."""
    for name, weight in network.state_dict().items():
        if state[name].shape != weight.shape:
            raise ValueError(
                f"{name} of this {model} is {state[name].shape}, and {tuple(weight.shape)} here: it has learnt "
                "of other items or values; fit the model anew"
            )
    network.load_state_dict({name: torch.tensor(weight) for name, weight in state.items()}, assign=True)


def begin_with(network: nn.Module, start: State, growing: Collection[str], known: Mapping[str, Rows] = NONE) -> None:
    """Copy the weights of an earlier night; rows that it did not know keep their random ones.

    growing: names of the weights with a row for each item or value, of which later nights have more; of a table named
    ``x`` that is ``x.weight``, also if it is sparse. known: for tables by name, which row each was then, int64[N],
    -1 for a new one. Raises UnfitStart where the weights are of another network.
    """
    own = network.state_dict()
    if own.keys() != start.keys():
        names = ", ".join(sorted(own.keys() ^ start.keys()))
        raise UnfitStart(f"{UNFIT}: {names} is in one of the networks only")
    tables = {name: module for name, module in network.named_modules() if isinstance(module, SparseTable)}
    for name, table in tables.items():
        given = {part: start[f"{name}.{part}"] for part in PARTS}
        may_grow = f"{name}.weight" in growing
        _begin_table(name, table, given, known.get(name), may_grow=may_grow)
    for name, weight in own.items():
        table_name, _, part = name.rpartition(".")
        if table_name not in tables or part not in PARTS:
            _begin_weight(name, weight, start[name], known.get(table_name), may_grow=name in growing)


def _begin_weight(name: str, weight: Tensor, given: NDArray[Any], known: Rows | None, *, may_grow: bool) -> None:
    is_longer = known is not None or (may_grow and given.shape[:1] <= weight.shape[:1])
    if given.shape[1:] != weight.shape[1:] or (given.shape[:1] != weight.shape[:1] and not is_longer):
        raise UnfitStart(f"{UNFIT}: {name} is {given.shape}, here {tuple(weight.shape)}")
    if not is_longer:
        weight.copy_(torch.from_numpy(np.array(given)))
        return
    rows = _first_rows(len(given), len(weight)) if known is None else known
    kept = np.flatnonzero(rows >= 0)
    weight[torch.from_numpy(kept)] = torch.from_numpy(given[rows[kept]]).to(weight.device)


def _begin_table(name: str, table: SparseTable, given: State, known: Rows | None, *, may_grow: bool) -> None:
    """Copy the rows of a sparse table with their live weights; what is left of all goes to the new rows."""
    num_given, num_rows, dim = len(given["offsets"]) - 1, table.num_embeddings, table.embedding_dim
    if known is None and num_given != num_rows and not (may_grow and num_given < num_rows):
        raise UnfitStart(f"{UNFIT}: {name} has {num_given} rows, here {num_rows}")
    due = len(table.values) * num_given / num_rows
    if abs(len(given["values"]) - due) > 1:
        raise UnfitStart(
            f"{UNFIT}: {name} has {len(given['values'])} live ones, and would at the density of here have {due:.0f}"
        )
    rows = _first_rows(num_given, num_rows) if known is None else known
    is_new = rows < 0
    lengths = np.where(is_new, 0, np.diff(given["offsets"])[rows]).astype(np.int64)
    left, num_new = len(table.values) - int(lengths.sum()), int(is_new.sum())
    if not num_new <= left <= num_new * dim:
        raise UnfitStart(f"{UNFIT}: {name} would have {left} live ones for {num_new} new rows of {dim}")
    lengths[is_new] = even_budget(num_new, left).numpy()
    _copy_rows(table, given, rows, lengths)


@torch.no_grad()
def _copy_rows(table: SparseTable, given: State, rows: Rows, lengths: NDArray[np.int64]) -> None:
    """Spread a table over rows of these lengths, and copy the old rows."""
    table.spread(torch.from_numpy(lengths))
    starts = np.cumsum(lengths) - lengths
    owners = np.repeat(np.arange(len(rows)), lengths)
    places = np.flatnonzero(rows[owners] >= 0)
    owners = owners[places]
    before = given["offsets"].astype(np.int64)[rows[owners]] + places - starts[owners]
    for name, tensor in (("columns", table.columns), ("values", table.values)):
        tensor[torch.from_numpy(places)] = torch.from_numpy(given[name][before]).to(tensor.device)


def _first_rows(num_given: int, num_rows: int) -> Rows:
    """Return which row each was, if all that were come first."""
    return np.where(np.arange(num_rows) < num_given, np.arange(num_rows), -1)
