"""A table of vectors of which most numbers are 0 and not stored: neither they, nor their gradients, nor moments.

Rows are compressed as in CSR (compressed sparse rows); a column takes one byte where a vector has at most 256 features,
for 4 bytes a column would save nothing at half the density.

Shapes: N rows, D features, W live weights, B rows that are read, P live weights of these.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST_COLUMNS: Final = 2**15  # of int16
BLOCK_ROWS: Final = 2**12  # whose columns are drawn together


class SparseTable(nn.Module):
    """Takes the place of an ``nn.Embedding``, with ``num_weights`` live weights in all, and at most D in a row.

    offsets: int32[N + 1]; row n has the weights offsets[n] to offsets[n + 1]. columns: uint8[W], or int16 where D is
    more than 256; ascending in each row. values: float32[W], the parameter. All are 0 until `spread` has been called.
    growth: while it is a tensor, float32[N, D], each backward pass adds to it the gradient of every weight of the rows
    that were read, live or not.
    """

    offsets: Tensor
    columns: Tensor

    def __init__(self, num_rows: int, dim: int, num_weights: int) -> None:
        super().__init__()
        assert dim <= MOST_COLUMNS, f"{dim} columns do not fit into int16"
        self.num_embeddings, self.embedding_dim = num_rows, dim
        self.register_buffer("offsets", torch.zeros(num_rows + 1, dtype=torch.int32))
        self.register_buffer("columns", torch.zeros(num_weights, dtype=torch.uint8 if dim <= 256 else torch.int16))
        self.values = nn.Parameter(torch.zeros(num_weights))
        self.growth: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """All vectors, float[N, D], as an activation: the gradient is taken at the live weights alone."""
        out: Tensor = _Whole.apply(self.values, self.columns, self.rows(), self.num_embeddings, self)
        return out

    def forward(self, rows: Tensor) -> Tensor:
        """Return the vectors of some rows, int64[...], as float[..., D]."""
        rows_B = rows.flatten()
        starts_B = self.offsets[rows_B].long()
        lengths_B = self.offsets[rows_B + 1] - starts_B
        owners_P = torch.arange(len(rows_B), device=rows.device).repeat_interleave(lengths_B)
        first_B = lengths_B.cumsum(0) - lengths_B
        places_P = torch.arange(len(owners_P), device=rows.device) + (starts_B - first_B)[owners_P]
        out_BD: Tensor = _Rows.apply(self.values, self.columns, places_P, owners_P, rows_B, self)
        return out_BD.view(*rows.shape, self.embedding_dim)

    def rows(self) -> Tensor:
        """Return the row of every live weight, int64[W]."""
        lengths = self.offsets.diff()
        return torch.arange(self.num_embeddings, device=lengths.device).repeat_interleave(lengths)

    def places(self) -> Tensor:
        """Return the place of every live weight in the whole table, int64[W]: row * D + column."""
        return self.rows() * self.embedding_dim + self.columns.long()

    def spread(self, budget: Tensor) -> None:
        """Give each row so many weights, int64[N], at columns drawn from torch's random numbers; their values stay."""
        assert int(budget.sum()) == len(self.values), "a budget is spent as a whole"
        assert int(budget.max()) <= self.embedding_dim, "a row has no more weights than features"
        self.offsets[1:] = budget.cumsum(0)
        for start in range(0, self.num_embeddings, BLOCK_ROWS):
            part = budget[start : start + BLOCK_ROWS]
            keys = torch.rand(len(part), self.embedding_dim, device=part.device)
            chosen = keys.argsort(dim=1).argsort(dim=1) < part[:, None]
            self.columns[self.offsets[start] : self.offsets[start + len(part)]] = chosen.nonzero()[:, 1].to(
                self.columns.dtype
            )

    @torch.no_grad()
    def fill(self, draw: Callable[[Tensor], object]) -> None:
        """Draw the live weights as those of a whole table are drawn, block after block: ``draw`` fills a [B, D]."""
        if self.values.is_meta:
            return
        for start in range(0, self.num_embeddings, BLOCK_ROWS):
            end = min(start + BLOCK_ROWS, self.num_embeddings)
            block = torch.empty(end - start, self.embedding_dim, device=self.values.device)
            draw(block)
            places = slice(int(self.offsets[start]), int(self.offsets[end]))
            owners = torch.arange(end - start).repeat_interleave(self.offsets[start : end + 1].diff())
            self.values[places] = block[owners, self.columns[places].long()]


class SparseLinear(SparseTable):
    """Takes the place of an ``nn.Linear``: weights, gradients and moments are those of a sparse table.

    Its product is that of the whole matrix, made for each call: with a fifth of the weights a sparse product takes
    longer. So it saves memory and no time.
    """

    def __init__(self, linear: nn.Linear, num_weights: int) -> None:
        super().__init__(linear.out_features, linear.in_features, num_weights)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the weights, and the bias added."""
        return F.linear(x, self.weight, self.bias)

    @torch.no_grad()
    def keep_largest(self, weight: Tensor, budget: Tensor) -> None:
        """Make the largest weights of each row of a whole matrix the live ones, so many of each as the budget says."""
        chosen = (-weight.abs()).argsort(dim=1, stable=True).argsort(dim=1) < budget[:, None]
        self.offsets[1:] = budget.cumsum(0)
        self.columns.copy_(chosen.nonzero()[:, 1])
        self.values.copy_(weight[chosen])


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        columns: Tensor,
        places_P: Tensor,
        owners_P: Tensor,
        rows_B: Tensor,
        table: SparseTable,
    ) -> Tensor:
        columns_P = columns[places_P].long()
        ctx.save_for_backward(places_P, owners_P, columns_P, rows_B)
        ctx.table, ctx.num_weights = table, len(values)
        out_BD = values.new_zeros(len(rows_B), table.embedding_dim)
        out_BD[owners_P, columns_P] = values[places_P]
        return out_BD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        places_P, owners_P, columns_P, rows_B = ctx.saved_tensors
        (grad_BD,) = grads
        if ctx.table.growth is not None:
            ctx.table.growth.index_add_(0, rows_B, grad_BD)
        grad = grad_BD.new_zeros(ctx.num_weights).index_add_(0, places_P, grad_BD[owners_P, columns_P])
        return grad, None, None, None, None, None


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, columns: Tensor, rows: Tensor, num_rows: int, table: SparseTable) -> Tensor:
        ctx.save_for_backward(rows, columns)
        ctx.table = table
        out_ND = values.new_zeros(num_rows, table.embedding_dim)
        out_ND[rows, columns.long()] = values
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        rows, columns = ctx.saved_tensors
        (grad_ND,) = grads
        if ctx.table.growth is not None:
            ctx.table.growth += grad_ND
        return grad_ND[rows, columns.long()], None, None, None, None
