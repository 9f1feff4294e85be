"""GRU4Rec: a recurrent network over the items of a history (Hidasi et al., arXiv 1511.06939; Hidasi & Karatzoglou,
arXiv 1706.03847).

Changed from the papers, beside what `models.next_item` says: the item table is also the output layer, batches are
histories side by side instead of chained ones, and a projection brings a wider state back to the size of the table.

Shapes: B sequences, L positions, D features.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from models.dropout import Dropout
from models.next_item import Encoder, NextItem, NextItemConfig
from models.recommender import Capabilities, ModelConfig
from models.sparsity import draw, make_table, normal


class Gru4RecConfig(NextItemConfig):
    """Width of the recurrent state and number of layers, beside the rest of a network's size and training."""

    hidden_dim: int = Field(default=128, ge=1, le=4096)
    num_layers: int = Field(default=1, ge=1, le=64)


class Network(Encoder):
    """Embeddings of items, recurrent layers, a projection."""

    def __init__(self, config: Gru4RecConfig, num_items: int) -> None:
        super().__init__()
        self.items = make_table(num_items, config.dim, config.sparsity)
        self.recurrent = nn.GRU(config.dim, config.hidden_dim, config.num_layers, batch_first=True)
        self.project = nn.Linear(config.hidden_dim, config.dim)
        self.dropout = Dropout(config.dropout)
        draw(self.items, normal)

    def forward(self, items_BL: Tensor) -> Tensor:
        """Return the hidden state after each event, float[B, L, D]."""
        x_BLD = self.dropout(self.items(items_BL) * self.items.embedding_dim**0.5)
        with torch.autocast(x_BLD.device.type, enabled=False):  # in bfloat16 the steps lose what they remember
            states, _ = self.recurrent(x_BLD)
        hidden: Tensor = self.project(self.dropout(states))
        return hidden


class Gru4Rec(NextItem[Gru4RecConfig]):
    """Ranks by the product of the last hidden state with each item's embedding."""

    name = "gru4rec"
    label = "GRU4Rec"
    reason = "expected next by the recurrent model"
    capabilities = Capabilities()
    Config = Gru4RecConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": Gru4RecConfig(
            dim=32, hidden_dim=32, length=30, num_epochs=5, learning_rate=0.01, max_epoch_batches=50, patience=2
        ),
        "small": Gru4RecConfig(),
        "paper": Gru4RecConfig(dim=128, hidden_dim=256, length=200, num_epochs=200, patience=10),
    }

    def build_encoder(self) -> Network:
        """Make the recurrent network."""
        return Network(self.config, self.num_items)
