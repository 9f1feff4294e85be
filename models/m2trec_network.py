"""The network of M2TRec, and what decides its shape; `models.m2trec` says how it is used.

Shapes: B sessions, L positions, T targets, N items, D features.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.cosine import cosine_query
from models.dropout import Dropout
from models.item_tower import FieldTable, ItemTower, Part
from models.negatives import Negatives
from models.next_item import Encoder, NextItemConfig
from models.sequences import FIRST_ITEM, PADDING
from models.sparsity import Table, make_table
from models.transformer import Block, check_heads


class M2TRecConfig(NextItemConfig):
    """What items are known by, how a session is read, and the heads, beside a network's size and training.

    field_dim: features of each field's values. popularity: whether an item's number of training events is one of its
    fields; an item without any has none, and one that came lately is taken for one that few want. hashed_ids: a vector
    of the item itself, from two tables of hashed_rows. drop_rate: how often an item's field is made unknown in
    training. attention, pooling: see `models.m2trec`. item_head: tied, or free: a vector for each item after all, for
    comparison. category_levels: how many levels of the category path have a head; category_weight: of each head's
    loss, that of the item head being 1.
    """

    num_blocks: int = Field(default=2, ge=1, le=64)
    num_heads: PositiveInt = 4
    metadata: bool = True
    popularity: bool = True
    hashed_ids: bool = False
    hashed_rows: int = Field(default=8192, ge=1, le=2**22)
    field_dim: int = Field(default=64, ge=1, le=4096)
    drop_rate: float = Field(default=0.05, ge=0, lt=1)
    attention: Literal["causal", "bidirectional"] = "causal"
    pooling: Literal["average", "last"] = "average"
    item_head: Literal["tied", "free"] = "tied"
    category_levels: int = Field(default=3, ge=0, le=16)
    category_weight: float = Field(default=0.3, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_heads(self.dim, self.num_heads)
        if not self.metadata and not self.hashed_ids:
            raise ValueError("metadata and hashed_ids are both off: nothing is left to know an item by")
        if self.compile and self.attention == "bidirectional":
            raise ValueError("compile works with causal attention only")
        return self


class Network(Encoder):
    """The field vectors of items, a transformer over those of a session, and the heads.

    num_labels: how many values each category level with a head has.
    """

    def __init__(self, config: M2TRecConfig, num_items: int, parts: Sequence[Part], num_labels: Sequence[int]) -> None:
        super().__init__()
        dim = config.dim
        self.is_causal, self.is_averaged = config.attention == "causal", config.pooling == "average"
        self.num_items = num_items
        self.tower = ItemTower(parts, dim)
        self.positions = nn.Embedding(config.length, dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(dim, config.num_heads, config.dropout) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(dim)
        self.scale = nn.Parameter(torch.tensor(0.0))
        self.free = make_table(num_items, dim, config.sparsity) if config.item_head == "free" else None
        self.heads = nn.ModuleList(nn.Linear(dim, size) for size in num_labels)
        nn.init.normal_(self.positions.weight, std=0.02)

    @property
    def growing(self) -> frozenset[str]:
        """The tables of values and of items, and the rows of the category heads."""
        tables = {f"tower.parts.{number}.table.weight" for number in range(len(self.tower.parts))}
        heads = {f"heads.{level}.{part}" for level in range(len(self.heads)) for part in ("weight", "bias")}
        return frozenset(tables | heads | {"free.weight"})

    def degrees(self, counts: NDArray[np.int64]) -> Iterator[tuple[Table, NDArray[np.int64]]]:
        """Give the tables of values and of items; where rows are shared by chance, all are met equally often."""
        for part in self.tower.parts:
            if isinstance(part, FieldTable):
                yield part.table, part.degrees(counts)
        if self.free:
            yield self.free, counts

    def forward(self, items_BL: Tensor) -> Tensor:
        """Return the query after each event, float[B, L, D]; only causal attention can give them in one pass."""
        assert self.is_causal, "in both directions, each event takes a pass of its own"
        places_L = torch.arange(items_BL.shape[1], device=items_BL.device)
        x_BLD = self._embed(items_BL, places_L)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        states_BLD = widened(self.norm(x_BLD))
        if self.is_averaged:
            states_BLD = states_BLD.cumsum(dim=1) / (places_L + 1)[:, None]
        return self._query(states_BLD)

    def at(self, items_BL: Tensor, last_B: Tensor) -> Tensor:
        """Return the query after one event of each session, float[B, D]; later ones are not seen."""
        places_L = torch.arange(items_BL.shape[1], device=items_BL.device)
        ages_BL = last_B[:, None] - places_L
        seen_BL = ages_BL >= 0
        x_BLD = self._embed(items_BL, places_L if self.is_causal else ages_BL.clamp(min=0))
        *blocks, last_block = self.blocks
        for block in blocks:
            x_BLD = block(x_BLD, None if self.is_causal else seen_BL)
        assert isinstance(last_block, Block)
        if not self.is_averaged:
            return self._query(widened(self.norm(last_block.at(x_BLD, last_B))))
        states_BLD = widened(self.norm(last_block(x_BLD, None if self.is_causal else seen_BL)))
        return self._query((states_BLD * seen_BL[:, :, None]).sum(dim=1) / (last_B + 1)[:, None])

    def _embed(self, items_BL: Tensor, places: Tensor) -> Tensor:
        """Return the vectors of the items at their places, float[B, L, D]; places int64[L] or int64[B, L]."""
        vectors_BLD = self.tower(items_BL.flatten()).unflatten(0, items_BL.shape)
        out: Tensor = self.dropout(vectors_BLD + self.positions(places))
        return out

    def _query(self, states: Tensor) -> Tensor:
        return cosine_query(states, self.scale)

    def vectors(self, items_N: Tensor, without: int = -1) -> Tensor:
        """Return the vectors of some items, float[N, D], of length 1; `without`: as if no item had a value there."""
        out_ND = self.free(items_N) if self.free else self.tower(items_N, without)
        return F.normalize(widened(out_ND), dim=-1)

    def table(self) -> Tensor:
        """Return the vector of every real item, float[V, D]."""
        return self.vectors(torch.arange(FIRST_ITEM, self.num_items, device=self.scale.device))

    def sample(self, targets_T: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor, Negatives]:
        """Return the vectors of the targets and negatives alone, each once."""
        chosen_N, rows = torch.unique(torch.cat([targets_T, negatives.numbers]), return_inverse=True)
        targets, numbers = rows[: len(targets_T)], rows[len(targets_T) :]
        return self.vectors(chosen_N + FIRST_ITEM), targets, Negatives(numbers, negatives.log_expected)

    def category_losses(self, query_TD: Tensor, labels_KT: Tensor) -> list[Tensor]:
        """Return the mean cross-entropy of each level, over the targets that have a value there, not PADDING.

        Of several processes that train together each takes its own mean, where `models.parallel` weighs by all targets.
        """
        losses = []
        for head, labels_T in zip(self.heads, labels_KT, strict=True):
            summed = F.cross_entropy(widened(head(query_TD)), labels_T, ignore_index=PADDING, reduction="sum")
            losses.append(summed / (labels_T != PADDING).sum().clamp(min=1))
        return losses


def widened(x: Tensor) -> Tensor:
    """Return what autocast made bfloat16 as float32, in which sums and lengths are taken."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
