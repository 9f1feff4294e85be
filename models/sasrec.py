"""SASRec: a causal transformer over the last items of a history (Kang & McAuley 2018, arXiv 1808.09781).

Changed from the paper, beside what `models.next_item` says:
* blocks normalise their input ("pre-norm", steadier) and the feed-forward layer is 4 times as wide, with GELU;
* no dropout of attention weights, which would rule out the fused attention kernels;
* when ranking, the last block is computed for the last position alone: no other is looked at.

Shapes: B sequences, L positions, D features, H heads.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.dropout import Dropout
from models.next_item import Encoder, NextItem, NextItemConfig
from models.recommender import Capabilities, ModelConfig


class SasRecConfig(NextItemConfig):
    """Blocks and attention heads, beside the rest of a network's size and training."""

    num_blocks: int = Field(default=2, ge=1, le=64)
    num_heads: PositiveInt = 1

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "SasRecConfig":
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        return self


class Block(nn.Module):
    """Causal self-attention, then a feed-forward layer, each added to its input."""

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        dim = config.dim
        self.num_heads = config.num_heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_qkv, self.from_heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return float[B, L, D]; position l depends on positions up to l only."""
        query, key, value = self._heads(self.attention_norm(x_BLD), self.to_qkv.weight, self.to_qkv.bias)
        return self._combine(x_BLD, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def at(self, x_BLD: Tensor, last_B: Tensor) -> Tensor:
        """Return what `forward` gives at one position of each sequence, float[B, D]."""
        dim, batch = x_BLD.shape[2], torch.arange(len(x_BLD), device=x_BLD.device)
        normed_BLD, weight, bias = self.attention_norm(x_BLD), self.to_qkv.weight, self.to_qkv.bias
        (query,) = self._heads(normed_BLD[batch, last_B][:, None], weight[:dim], bias[:dim])
        key, value = self._heads(normed_BLD, weight[dim:], bias[dim:])
        later_BL = torch.arange(x_BLD.shape[1], device=x_BLD.device) > last_B[:, None]
        # Not torch's fused attention: with a mask, its rounding depends on the other rows of the batch.
        logits_BH1L = (query @ key.transpose(2, 3)) * query.shape[3] ** -0.5
        weights_BH1L = logits_BH1L.masked_fill(later_BL[:, None, None], -torch.inf).softmax(dim=3)
        return self._combine(x_BLD[batch, last_B][:, None], weights_BH1L @ value)[:, 0]

    def _heads(self, x_BLD: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """Project to as many of query, key and value as the weight has rows for, each float[B, H, L, D / H]."""
        parts = len(weight) // x_BLD.shape[2]
        out_BLHD = F.linear(x_BLD, weight, bias).unflatten(-1, (parts * self.num_heads, -1))
        return out_BLHD.transpose(1, 2).chunk(parts, dim=1)

    def _combine(self, x_BLD: Tensor, attended_BHLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.dropout(self.from_heads(attended_BHLD.transpose(1, 2).flatten(2)))
        return x_BLD + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x_BLD)))))


class Network(Encoder):
    """Embeddings of items and positions, blocks, a last normalisation."""

    def __init__(self, config: SasRecConfig, num_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items, config.dim)
        self.positions = nn.Embedding(config.length, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, items_BL: Tensor) -> Tensor:
        """Return the hidden state after each event, float[B, L, D]."""
        x_BLD = self._embed(items_BL)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        hidden: Tensor = self.norm(x_BLD)
        return hidden

    def at(self, items_BL: Tensor, last_B: Tensor) -> Tensor:
        """Return the hidden state after one event of each history, float[B, D]."""
        x_BLD = self._embed(items_BL)
        for block in self.blocks[:-1]:
            x_BLD = block(x_BLD)
        last_block = self.blocks[-1]
        assert isinstance(last_block, Block)
        hidden: Tensor = self.norm(last_block.at(x_BLD, last_B))
        return hidden

    def _embed(self, items_BL: Tensor) -> Tensor:
        scaled = self.items(items_BL) * self.items.embedding_dim**0.5
        out: Tensor = self.dropout(scaled + self.positions.weight[: items_BL.shape[1]])
        return out


class SasRec(NextItem[SasRecConfig]):
    """Ranks by the product of the last hidden state with each item's embedding."""

    name = "sasrec"
    label = "SASRec"
    reason = "expected next by the sequence model"
    capabilities = Capabilities()
    Config = SasRecConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": SasRecConfig(
            dim=32, length=30, num_blocks=1, num_epochs=5, learning_rate=0.005, max_epoch_batches=50, patience=2
        ),
        "small": SasRecConfig(),
        "paper": SasRecConfig(length=200, num_epochs=200, patience=10),
    }

    def build_encoder(self) -> Network:
        """Make the transformer."""
        return Network(self.config, self.num_items)
