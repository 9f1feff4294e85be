"""SASRec: a causal transformer over the last items of a history (Kang & McAuley 2018, arXiv 1808.09781).

Changed from the paper, beside what `models.next_item` says:
* blocks are those of `models.transformer`;
* when ranking, the last block is computed for the last position alone: no other is looked at.

Shapes: B sequences, L positions, D features.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.cosine import cosine_query
from models.dropout import Dropout
from models.next_item import Encoder, NextItem, NextItemConfig
from models.recommender import Capabilities, ModelConfig
from models.sparsity import draw, make_table, normal
from models.transformer import Block, check_heads


class SasRecConfig(NextItemConfig):
    """Blocks and attention heads, beside the rest of a network's size and training.

    score: the product of a state with an item's vector, or their cosine; see `models.cosine`.
    """

    num_blocks: int = Field(default=2, ge=1, le=64)
    num_heads: PositiveInt = 1
    score: Literal["product", "cosine"] = "product"

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "SasRecConfig":
        check_heads(self.dim, self.num_heads)
        return self


class Network(Encoder):
    """Embeddings of items and positions, blocks, a last normalisation."""

    def __init__(self, config: SasRecConfig, num_items: int) -> None:
        super().__init__()
        self.items = make_table(num_items, config.dim, config.sparsity)
        self.positions = nn.Embedding(config.length, config.dim)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.num_heads, config.dropout) for _ in range(config.num_blocks)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.scale = nn.Parameter(torch.tensor(0.0)) if config.score == "cosine" else None
        for table in (self.items, self.positions):
            draw(table, normal)

    def forward(self, items_BL: Tensor) -> Tensor:
        """Return the hidden state after each event, float[B, L, D]."""
        x_BLD = self._embed(items_BL)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self._query(x_BLD)

    def at(self, items_BL: Tensor, last_B: Tensor) -> Tensor:
        """Return the hidden state after one event of each history, float[B, D]."""
        x_BLD = self._embed(items_BL)
        for block in self.blocks[:-1]:
            x_BLD = block(x_BLD)
        last_block = self.blocks[-1]
        assert isinstance(last_block, Block)
        return self._query(last_block.at(x_BLD, last_B))

    def item_vectors(self) -> Tensor:
        """Return the vector with which a state is compared, of every item number."""
        return self.items.weight if self.scale is None else F.normalize(self.items.weight, dim=1)

    def _query(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.norm(x)
        return hidden if self.scale is None else cosine_query(hidden, self.scale)

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
