"""The network of UniRec: items and the moments at which they were met, in two branches that share their weights.

One branch reads the calendar at each event, the other the gap before it. In each, attention weights are mixed of two
score maps, one of items with their moments and one of the moments alone. Both branches and the long-term taste add up
to one query, and no time of the target is needed: what the published code adds for it is the same for all items.

While training, a sequence is read by one of the branches, drawn anew each time. So each learns to predict by itself,
as by the published sum of their losses, and an epoch costs one pass instead of two.

Shapes: B sequences, L positions (Q of them ask), D item features, C features of a moment, W = D + C, H heads, V items,
R rare items, K neighbours, F fields of the calendar.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from models.calendar import FIELD_SIZES, NUM_GAPS
from models.cosine import cosine_query
from models.dropout import Dropout
from models.next_item import Encoder, NextItemConfig
from models.sequences import PADDING
from models.sparsity import draw, make_table, normal

NUM_PERIODS: Final = 16
HARMONICS: Final = 3
NUM_FIELDS: Final = len(FIELD_SIZES)
_OF_TRAINING: Final = frozenset(
    {"sequence_weight", "head_weight", "tail_weight", "teachers", "curriculum", "ramp_epochs", "inject_share"}
)


class UniRecConfig(NextItemConfig):
    """Size of the network, and how much each enhancement weighs.

    dim: features of an item, context_dim those of its moment; blocks are as wide as both. time_module: whether there
    are moments at all. taste: whether the long-term taste enters the query. score: as in sasrec. sequence_weight,
    head_weight, tail_weight: of the losses of the enhancements; 0 leaves one out. teachers: the subjects from whose
    sequences the enhancement of sequences learns. ie_mode: whether the vectors of rare items are pulled to what their
    neighbours make of them by a loss, of tail_weight, or are read as a mixture with it, whose share grows to
    inject_share; one of the two has no effect. curriculum:
    "published" is that of the published code, whose 200 epochs are spread over ramp_epochs.
    """

    context_dim: int = Field(default=8, ge=1, le=4096)
    num_blocks: int = Field(default=2, ge=1, le=64)
    num_heads: PositiveInt = 2
    time_module: bool = True
    taste: bool = True
    sequence_weight: NonNegativeFloat = 0.2
    head_weight: NonNegativeFloat = 0
    tail_weight: NonNegativeFloat = 1
    teachers: Literal["uniform", "uneven"] = "uniform"
    ie_mode: Literal["loss", "inject"] = "loss"
    inject_share: float = Field(default=0.5, ge=0, le=1)
    score: Literal["product", "cosine"] = "cosine"
    curriculum: Literal["monotone", "published"] = "monotone"
    ramp_epochs: PositiveInt = 10

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if (self.dim + self.context_dim) % self.num_heads:
            raise ValueError(
                f"dim + context_dim = {self.dim + self.context_dim} must be a multiple of num_heads = {self.num_heads}"
            )
        return self

    def network_changes(self, other: Mapping[str, Any]) -> list[str]:
        """Return the settings that differ, but for those of how a network is trained."""
        return [name for name in super().network_changes(other) if name not in _OF_TRAINING]


class CalendarEncoder(nn.Module):
    """Waves of learnt periods for each field of the calendar, three harmonics each, projected to C features.

    A field has few values, so the waves are computed once for each of them, and not for each event.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_periods = nn.Parameter(torch.linspace(0, 8, NUM_PERIODS).repeat(NUM_FIELDS, 1))
        self.waves = nn.Parameter(torch.empty(NUM_FIELDS, NUM_PERIODS, 2 * HARMONICS))
        self.shift = nn.Parameter(torch.zeros(NUM_FIELDS, NUM_PERIODS))
        self.project = nn.Linear(NUM_FIELDS * NUM_PERIODS, dim)
        for waves in self.waves:
            nn.init.xavier_normal_(waves)
        nn.init.normal_(self.project.weight, std=0.01)

    def forward(self, fields_BLF: Tensor) -> Tensor:
        """Return the context of the calendar, float[B, L, C]."""
        sizes = torch.tensor(list(FIELD_SIZES.values()), device=fields_BLF.device)
        rows_NF = (fields_BLF + (sizes.cumsum(0) - sizes)).flatten(0, 1)
        with torch.autocast(fields_BLF.device.type, enabled=False):
            summed = F.embedding_bag(rows_NF, self._table(), mode="sum") + self.project.bias
        return summed.unflatten(0, fields_BLF.shape[:2])

    def _table(self) -> Tensor:
        """Return what every value of every field adds, float[sum of FIELD_SIZES, C]."""
        weights = self.project.weight.unflatten(1, (NUM_FIELDS, NUM_PERIODS)).unbind(1)
        return torch.cat(
            [self._waves(size, number) @ weights[number].T for number, size in enumerate(FIELD_SIZES.values())]
        )

    def _waves(self, size: int, field: int) -> Tensor:
        values = torch.arange(1, size + 1, device=self.shift.device)
        harmonics = torch.arange(1, HARMONICS + 1, device=self.shift.device)
        angles = (values[:, None] / 10 ** self.log_periods[field])[:, :, None] * harmonics
        both = torch.cat([angles.sin(), angles.cos()], dim=2)
        return (both * self.waves[field]).sum(dim=2) + self.shift[field]


class MixtureBlock(nn.Module):
    """Causal attention whose weights are mixed of two score maps, then a feed-forward layer, each added to its input.

    The mixing looks at one pair of positions of one sequence at a time. Changed from the paper: the block normalises
    its input, as in `models.transformer`, and scores are scaled before they are mixed. Noise on them, of a learnt
    scale, is there in training alone.
    """

    def __init__(self, config: UniRecConfig) -> None:
        super().__init__()
        width, self.num_heads = config.dim + config.context_dim, config.num_heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(config.context_dim)
        self.to_qk = nn.Linear(width, 2 * config.dim)
        self.context_to_qk = nn.Linear(config.context_dim, 2 * config.context_dim)
        self.to_value, self.from_heads = nn.Linear(width, width), nn.Linear(width, width)
        self.noise = nn.Parameter(torch.full((2,), 0.1))
        self.mix_in, self.mix_out = nn.Linear(2, self.num_heads), nn.Linear(self.num_heads, self.num_heads)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BLW: Tensor, context_BLC: Tensor) -> Tensor:
        """Return float[B, L, W]; position l depends on positions up to l only."""
        normed_BLW = self.attention_norm(x_BLW)
        maps = _products(*self.to_qk(normed_BLW).chunk(2, dim=2)), _products(*self._context_pair(context_BLC))
        seen_LL = torch.ones(x_BLW.shape[1], x_BLW.shape[1], dtype=torch.bool, device=x_BLW.device).tril()
        value_BHLE = self.to_value(normed_BLW).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        attended_BHLE = self._weights(maps, seen_LL).to(value_BHLE.dtype) @ value_BHLE
        return self._combine(x_BLW, attended_BHLE.transpose(1, 2).flatten(2))

    def at(self, x_BLW: Tensor, context_BLC: Tensor, last_B: Tensor) -> Tensor:
        """Return what `forward` gives at one position of each sequence, float[B, W].

        No other position is projected: the query is compared with what keys are made of, as if projected back, and what
        values are made of is mixed before it is projected.
        """
        rows = torch.arange(len(x_BLW), device=x_BLW.device)
        normed_BLW = self.attention_norm(x_BLW)
        (to_query, to_key), (of_query, of_key) = self.to_qk.weight.chunk(2), self.to_qk.bias.chunk(2)
        query_BD = F.linear(normed_BLW[rows, last_B], to_query, of_query)
        products_B1L = (query_BD @ to_key)[:, None] @ normed_BLW.transpose(1, 2) + (query_BD @ of_key)[:, None, None]
        query_BLC, key_BLC = self._context_pair(context_BLC)
        maps = products_B1L * query_BD.shape[1] ** -0.5, _products(query_BLC[rows, last_B][:, None], key_BLC)
        seen_B1L = torch.arange(x_BLW.shape[1], device=x_BLW.device) <= last_B[:, None, None]
        mixed_BHW = self._weights(maps, seen_B1L[:, None])[:, :, 0].to(normed_BLW.dtype) @ normed_BLW
        to_value_HEW = self.to_value.weight.unflatten(0, (self.num_heads, -1))
        value_BHE = torch.einsum("bhw,hew->bhe", mixed_BHW, to_value_HEW)
        return self._combine(x_BLW[rows, last_B], value_BHE.flatten(1) + self.to_value.bias)

    def _context_pair(self, context_BLC: Tensor) -> tuple[Tensor, ...]:
        """Return the queries and keys of the moments, float[B, L, C] each."""
        return self.context_to_qk(self.context_norm(context_BLC)).chunk(2, dim=2)

    def _weights(self, maps: tuple[Tensor, Tensor], seen: Tensor) -> Tensor:
        """Return the attention weights, float32[B, H, Q, L], of both maps, float[B, Q, L]."""
        maps_2BQL = torch.stack(maps).float()
        if self.training:
            maps_2BQL = maps_2BQL + self.noise[:, None, None, None] ** 2 * torch.randn_like(maps_2BQL)
        return self._mix(maps_2BQL).transpose(0, 1).masked_fill(~seen, -torch.inf).softmax(dim=3)

    def _mix(self, maps_2BQL: Tensor) -> Tensor:
        """Mix two maps to one for each head, float[H, B, Q, L]."""
        with torch.autocast(maps_2BQL.device.type, enabled=False):
            hidden = F.relu(torch.addmm(self.mix_in.bias[:, None], self.mix_in.weight, maps_2BQL.flatten(1)))
            mixed = torch.addmm(self.mix_out.bias[:, None], self.mix_out.weight, hidden)
        return mixed.unflatten(1, maps_2BQL.shape[1:])

    def _combine(self, x_BQW: Tensor, attended_BQW: Tensor) -> Tensor:
        x_BQW = x_BQW + self.dropout(self.from_heads(attended_BQW))
        return x_BQW + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x_BQW)))))


def _products(query_BQD: Tensor, key_BLD: Tensor) -> Tensor:
    """Return the scaled products of queries and keys, float[B, Q, L]."""
    return query_BQD @ key_BLD.transpose(1, 2) * query_BQD.shape[2] ** -0.5


class Network(Encoder):
    """Item vectors, moments, blocks and taste; and what the losses of the enhancements need, which ranking does not.

    An event is a row of 1 + F + 1 numbers: the item, the fields of the calendar, the number of the gap before it.
    rare: int64[R] item numbers whose vector is enhanced when it is read, neighbours: int32[R, K] numbers of theirs,
    PADDING where there are fewer, but at least one; none with ie_mode = "loss".
    """

    share: Tensor

    def __init__(
        self, config: UniRecConfig, num_items: int, rare: NDArray[np.int64], neighbours: NDArray[np.int32]
    ) -> None:
        super().__init__()
        dim, width = config.dim, config.dim + config.context_dim
        self.config = config
        self.items, self.positions = make_table(num_items, dim, config.sparsity), nn.Embedding(config.length, width)
        if config.time_module:
            self.calendar = CalendarEncoder(config.context_dim)
            self.gaps = nn.Embedding(NUM_GAPS, config.context_dim)
            nn.init.normal_(self.gaps.weight, std=0.02)
        self.blocks = nn.ModuleList(MixtureBlock(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(width)
        self.taste_weight, self.scale = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(0.0))
        self.dropout = Dropout(config.dropout)
        for table in (self.items, self.positions):
            draw(table, normal)
        self.enhance, self.match = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)
        with torch.no_grad():  # in the beginning, what is made of an item's neighbours is their mean
            self.enhance.weight.copy_(torch.eye(dim))
            self.enhance.bias.zero_()
            self.match.weight.copy_(torch.eye(dim))
        self.register_buffer("share", torch.zeros(()))
        self._rare_R, self._neighbours_RK = (torch.from_numpy(np.array(numbers)) for numbers in (rare, neighbours))
        self._inputs_VD: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        """Choose training or ranking; vectors are computed anew."""
        self._inputs_VD = None
        return super().train(mode)

    def forward(self, events_BLF: Tensor) -> Tensor:
        """Return the query after each event, float[B, L, D]."""
        items_BLD = self._inputs()[events_BLF[:, :, 0]]
        x = self._embed(items_BLD, events_BLF)
        for block in self.blocks:
            x = block(x, x[:, :, self.config.dim :])
        return self._query(x, self._tastes(items_BLD).cumsum(dim=1) / self._places(items_BLD)[:, None])

    def at(self, events_BLF: Tensor, last_B: Tensor) -> Tensor:
        """Return the query after one event of each history, float[B, D]."""
        items_BLD = self._inputs()[events_BLF[:, :, 0]]
        x = self._embed(items_BLD, events_BLF)
        for block in self.blocks[:-1]:
            x = block(x, x[:, :, self.config.dim :])
        last_block, num_events_B = self.blocks[-1], last_B + 1
        assert isinstance(last_block, MixtureBlock)
        x = last_block.at(x, x[:, :, self.config.dim :], last_B.repeat(len(x) // len(last_B)))
        seen_BL = self._places(items_BLD) <= num_events_B[:, None]
        taste_BD = (self._tastes(items_BLD) * seen_BL[:, :, None]).sum(dim=1) / num_events_B[:, None]
        return self._query(x, taste_BD)

    def item_vectors(self) -> Tensor:
        """Return the vector with which a query is compared, of every item number."""
        return F.normalize(self.items.weight, dim=1) if self.config.score == "cosine" else self.items.weight

    def _inputs(self) -> Tensor:
        """Return the vector as which every item is read, float[V, D]; for ranking it is computed once."""
        if self.training or self._inputs_VD is None:
            self._inputs_VD = self._enhanced()
        return self._inputs_VD

    def _enhanced(self) -> Tensor:
        """Replace a share of the vectors of rare items by what their neighbours make of them."""
        raw_VD, device = self.items.weight, self.items.weight.device
        if not len(self._rare_R) or not self.share:
            return raw_VD.view_as(raw_VD)  # a parameter would be registered where it is kept
        rare_R = self._rare_R.to(device)
        mean_RD = F.embedding_bag(self._neighbours_RK.to(device), raw_VD, mode="mean", padding_idx=PADDING)
        rare_RD = raw_VD[rare_R]
        with torch.autocast(device.type, enabled=False):
            made_RD = self.enhance(mean_RD)
        return raw_VD.index_copy(0, rare_R, torch.lerp(rare_RD, made_RD, self.share))

    def _embed(self, items_BLD: Tensor, events_BLF: Tensor) -> Tensor:
        """Return what the blocks read: of both branches, one after the other, or while training of a drawn one."""
        scaled = items_BLD * self.config.dim**0.5
        x = torch.cat([torch.cat([scaled, moments], dim=2) for moments in self._moments(scaled, events_BLF)])
        out: Tensor = self.dropout(x + self.positions.weight[: x.shape[1]])
        return out

    def _moments(self, scaled_BLD: Tensor, events_BLF: Tensor) -> list[Tensor]:
        """Return the moments as each branch has them, float[B, L, C]."""
        context_dim = self.config.context_dim
        if not self.config.time_module:
            return [scaled_BLD.new_zeros(*scaled_BLD.shape[:2], context_dim)]
        both = [self.calendar(events_BLF[:, :, 1:-1]), self.gaps(events_BLF[:, :, -1])]
        if self.training:
            by_gap_B = torch.rand(len(scaled_BLD), 1, 1, device=scaled_BLD.device) < 1 / 2
            both = [torch.where(by_gap_B, both[1], both[0])]
        return [moments * context_dim**0.5 for moments in both]

    def _query(self, x: Tensor, taste: Tensor) -> Tensor:
        """Join the branches and the taste, without the features of moments, with which no item is compared."""
        hidden = self.norm(x)[..., : self.config.dim]
        query = hidden.unflatten(0, (-1, len(taste))).mean(dim=0) + self.taste_weight * taste
        return cosine_query(query, self.scale) if self.config.score == "cosine" else query

    def _places(self, items_BLD: Tensor) -> Tensor:
        """Return the places of events, counted from 1, int64[L]."""
        return torch.arange(1, items_BLD.shape[1] + 1, device=items_BLD.device)

    def _tastes(self, items_BLD: Tensor) -> Tensor:
        """Return what each event says of long-term taste, float[B, L, D]: the item, weighed by those met until then."""
        if not self.config.taste:
            return torch.zeros_like(items_BLD)
        scores_BLL = items_BLD @ items_BLD.transpose(1, 2)
        seen_LL = torch.ones(scores_BLL.shape[1:], dtype=torch.bool, device=items_BLD.device).tril()
        similar_BLD = scores_BLL.masked_fill(~seen_LL, -torch.inf).softmax(dim=2) @ items_BLD
        return (items_BLD + items_BLD * similar_BLD) * (0.5 * self.config.dim**0.5)
