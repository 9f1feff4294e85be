"""The transformer's block, as every sequence model here uses it.

Changed from Vaswani et al. (2017, arXiv 1706.03762): blocks normalise their input ("pre-norm", steadier), the
feed-forward layer is 4 times as wide, with GELU, and attention weights have no dropout, which would rule out the fused
attention kernels.

Shapes: B sequences, L positions, Q positions that ask, D features, H heads of E features each.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.dropout import Dropout


class Block(nn.Module):
    """Self-attention, then a feed-forward layer, each added to its input."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_qkv, self.from_heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor, seen_BL: Tensor | None = None) -> Tensor:
        """Return float[B, L, D]; position l depends on positions up to l only, or on those of seen_BL, bool[B, L]."""
        query, key, value = self._heads(self.attention_norm(x_BLD), self.to_qkv.weight, self.to_qkv.bias)
        if seen_BL is None:
            return self._combine(x_BLD, F.scaled_dot_product_attention(query, key, value, is_causal=True))
        return self._combine(x_BLD, _attend(query, key, value, seen_BL))

    def at(self, x_BLD: Tensor, last_B: Tensor) -> Tensor:
        """Return what `forward` gives at one position of each sequence, float[B, D]."""
        dim, batch = x_BLD.shape[2], torch.arange(len(x_BLD), device=x_BLD.device)
        normed_BLD, weight, bias = self.attention_norm(x_BLD), self.to_qkv.weight, self.to_qkv.bias
        (query,) = self._heads(normed_BLD[batch, last_B][:, None], weight[:dim], bias[:dim])
        key, value = self._heads(normed_BLD, weight[dim:], bias[dim:])
        seen_BL = torch.arange(x_BLD.shape[1], device=x_BLD.device) <= last_B[:, None]
        return self._combine(x_BLD[batch, last_B][:, None], _attend(query, key, value, seen_BL))[:, 0]

    def _heads(self, x_BLD: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """Project to as many of query, key and value as the weight has rows for, each float[B, H, L, D / H]."""
        parts = len(weight) // x_BLD.shape[2]
        out_BLHD = F.linear(x_BLD, weight, bias).unflatten(-1, (parts * self.num_heads, -1))
        return out_BLHD.transpose(1, 2).chunk(parts, dim=1)

    def _combine(self, x_BLD: Tensor, attended_BHLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.dropout(self.from_heads(attended_BHLD.transpose(1, 2).flatten(2)))
        return x_BLD + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x_BLD)))))


def _attend(query_BHQE: Tensor, key_BHLE: Tensor, value_BHLE: Tensor, seen_BL: Tensor) -> Tensor:
    """Attend to the seen positions, without torch's fused kernels: their rounding depends on the batch's other rows."""
    logits_BHQL = (query_BHQE @ key_BHLE.transpose(2, 3)) * query_BHQE.shape[3] ** -0.5
    return logits_BHQL.masked_fill(~seen_BL[:, None, None], -torch.inf).softmax(dim=3) @ value_BHLE


def check_heads(dim: int, num_heads: int) -> None:
    """Raise ValueError where the features cannot be divided among the heads."""
    if dim % num_heads:
        raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
