"""LightGCN: vectors of subjects and items that spread along who met what (He et al. 2020, arXiv 2002.02126).

A subject's vector is the mean of its own and of what its items bring, step by step along the edges; an item's likewise.
The score is their product. With num_layers = 0 nothing spreads, and this is matrix factorisation, as in BPR (Rendle et
al. 2009, arXiv 1205.2618).

Changed from the paper: the default loss is sampled softmax, whose many negatives learn in a tenth of the epochs; pairs
are drawn alike, not subjects; a drawn item may by chance be one that the subject met; when asked, a subject is known
again by its key and brings the history that it is asked with, so later events count without another training. One
without a vector of its own gets what its items bring.

Shapes: B pairs or histories, U subjects, V item numbers, D features, K negatives.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from models.bipartite import Adjacency, Graph, spread, walk
from models.known_weights import begin_with, take_over
from models.losses import sampled_softmax
from models.negatives import Drawing, Negatives, NegativeSampler
from models.recommender import Capabilities, ModelConfig, Validation
from models.sequences import FIRST_ITEM, Sequences
from models.sparsity import draw, make_table, normal, spread_by_degree, thin_out_layers
from models.stages import Run, Stage
from models.training import Training, TrainingConfig, seeded
from models.validation import validation_ndcg
from models.vector_recommender import VectorRecommender

KEYS, EDGES, OFFSETS = "keys", "edges", "edge_offsets"  # what lies beside the weights


class LightGcnConfig(TrainingConfig):
    """Size of the tables, steps of spreading, and the loss.

    dim: features. num_layers: steps; 0: matrix factorisation. loss: over num_negatives drawn items, which all pairs of
    a batch share, or bpr, of one drawn for each pair alone. temperature: what products are divided by in
    sampled_softmax. l2: weight of the squares of the vectors of a pair, as they are before they spread.
    """

    dim: int = Field(default=64, ge=1, le=4096)
    num_layers: int = Field(default=3, ge=0, le=16)
    loss: Literal["sampled_softmax", "bpr"] = "sampled_softmax"
    temperature: float = Field(default=0.25, gt=0)
    num_negatives: int = Field(default=256, ge=1, le=100_000)
    negatives: Drawing = "uniform"
    l2: NonNegativeFloat = 0.05


class Network(nn.Module):
    """A vector for each subject and item number, and the edges along which they spread."""

    def __init__(self, config: LightGcnConfig, graph: Graph) -> None:
        super().__init__()
        self.num_layers, self.graph = config.num_layers, graph
        self.subjects = make_table(graph.num_subjects, config.dim, config.sparsity)
        self.items = make_table(graph.num_items, config.dim, config.sparsity)
        for table in (self.subjects, self.items):
            draw(table, normal)
        thin_out_layers(self, config.sparsity)
        self._adjacency: Adjacency | None = None
        self._served: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def train(self, mode: bool = True) -> Self:
        """Choose training or ranking; what is served is computed anew."""
        self._served = None
        return super().train(mode)

    def vectors(self, subjects_B: Tensor, items_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors of subjects, float[B, D], a table of items, float[*, D], and the rows of items in it."""
        if not self.num_layers:
            chosen, rows_B = torch.unique(items_B, return_inverse=True)
            return self.subjects(subjects_B), self.items(chosen), rows_B
        subjects_UD, items_VD = spread(
            self.subjects.weight, self.items.weight, self._edges(items_B.device), self.num_layers
        )
        return subjects_UD[subjects_B], items_VD, items_B

    def served(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what each item brings to a subject of one item, and the item's own vector, float32[V, D] each."""
        if self._served is None:
            with torch.inference_mode():
                brought_VD, items_VD = self._after_steps()
            self._served = brought_VD.numpy(force=True), items_VD.numpy(force=True)
        return self._served

    def _after_steps(self) -> tuple[Tensor, Tensor]:
        """Return the sum of what items are before each step, weighed by their degree, and their mean with the last."""
        items_VD, subjects_UD = self.items.weight, self.subjects.weight
        if not self.num_layers:
            return items_VD, items_VD
        edges = self._edges(items_VD.device)
        before_VD, sum_VD = torch.zeros_like(items_VD), items_VD.clone()
        for _, after_VD in walk(subjects_UD, items_VD, edges, self.num_layers):
            before_VD += items_VD
            items_VD = after_VD
            sum_VD += items_VD
        weights_V = torch.from_numpy(self.graph.item_weights).to(items_VD.device)
        scale = 1 / (self.num_layers + 1)
        return before_VD * weights_V[:, None] * scale, sum_VD * scale

    def _edges(self, device: torch.device) -> Adjacency:
        if self._adjacency is None:
            self._adjacency = self.graph.adjacency(device)
        return self._adjacency


@dataclass(frozen=True)
class _Pairs:
    """All edges in batches, in random order."""

    graph: Graph
    batches: list[NDArray[np.int64]]

    def batch(self, samples: NDArray[np.int64]) -> Tensor:
        """Return subjects and items of some edges, int64[B, 2]."""
        pairs = np.column_stack([self.graph.subjects[samples], self.graph.items[samples]])
        return torch.from_numpy(pairs.astype(np.int64))


class LightGcn(VectorRecommender[LightGcnConfig]):
    """Ranks by the product of a subject's vector, own and brought by its items, with each item's.

    Memory, dense: 16 bytes * (subjects + items) * dim for weights, gradients and moments, and while training with
    layers some times 4 bytes * (subjects + items) * dim for what spreads.
    """

    name = "lightgcn"
    label = "LightGCN"
    reason = "chosen by people who chose alike"
    capabilities = Capabilities()
    Config = LightGcnConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": LightGcnConfig(dim=32, num_layers=2, batch_size=2048, num_epochs=8, learning_rate=0.02, patience=2),
        "small": LightGcnConfig(batch_size=8192, num_epochs=30, learning_rate=0.01, schedule="cosine", patience=10),
        "paper": LightGcnConfig(
            batch_size=1024, num_epochs=1000, learning_rate=0.01, loss="bpr", l2=0.0001, patience=50
        ),
    }
    _keys: NDArray[np.uint64]  # of the subjects, ascending
    _network: Network

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Draw the graph, then train the vectors of its nodes."""
        config, known = self.config, train.without_unknown()
        numbered = np.arange(len(known), dtype=np.uint64)
        self._keys, owners = np.unique(known.subjects if len(known.subjects) else numbered, return_inverse=True)
        graph = Graph.of(known, owners, len(self._keys), self.num_items)
        with seeded(run):
            self._network = Network(config, graph)
            if config.sparsity.start == "degree":
                spread_by_degree(self._network.subjects, np.diff(graph.offsets), config.sparsity)
                spread_by_degree(self._network.items, graph.item_degrees, config.sparsity)
            if start:
                known_rows = {"subjects": _find(start[KEYS], self._keys)}
                begin_with(self._network, _weights(start), {"items.weight"}, known_rows)
        sampler = NegativeSampler(graph.item_degrees[FIRST_ITEM:], config.negatives, config.num_negatives)
        yield Training(
            "fit",
            self._network,
            config,
            epoch=partial(self._epoch, graph),
            loss=partial(self._loss, sampler),
            evaluate=partial(validation_ndcg, self, validation, config.max_validation_cases) if validation else None,
        )

    def _epoch(self, graph: Graph, generator: np.random.Generator, number: int) -> _Pairs:
        order = generator.permutation(len(graph.items))
        return _Pairs(graph, np.split(order, np.arange(self.config.batch_size, len(order), self.config.batch_size)))

    def _loss(self, sampler: NegativeSampler, batch: Tensor, generator: np.random.Generator) -> tuple[Tensor, int]:
        config, network = self.config, self._network
        subjects_B, items_B = batch.to(self._device).unbind(dim=1)
        if config.loss == "bpr":
            drawn = generator.integers(FIRST_ITEM, self.num_items, len(items_B))
            negatives = Negatives(torch.from_numpy(drawn).to(self._device) - FIRST_ITEM, torch.zeros(len(items_B)))
        else:
            negatives = sampler.draw(items_B - FIRST_ITEM, generator)
        asked = torch.cat([items_B, negatives.numbers + FIRST_ITEM])
        subjects_BD, table_VD, rows = network.vectors(subjects_B, asked)
        targets, drawn_rows = rows[: len(items_B)], rows[len(items_B) :]
        if config.loss == "bpr":
            differences_BD = table_VD[drawn_rows] - table_VD[targets]
            loss = F.softplus((subjects_BD * differences_BD).sum(dim=1)).mean()
        else:
            negatives = Negatives(drawn_rows, negatives.log_expected)
            loss = sampled_softmax(subjects_BD / config.temperature, table_VD, targets, negatives)
        squares = sum(vectors.square().sum() for vectors in (network.subjects(subjects_B), network.items(asked)))
        return loss + config.l2 * squares / (2 * len(items_B)), len(items_B)

    @property
    def _device(self) -> torch.device:
        return next(self._network.parameters()).device

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Add up what the items of each history bring, and the vector of the subject itself, if it has one."""
        num_layers, graph = self._network.num_layers, self._network.graph
        known = histories.without_unknown()
        if num_layers:  # an item that nobody met brings nothing
            known = known.where(graph.item_degrees[known.items] > 0)
        asked = Graph.of(known, np.arange(len(known)), len(known), self.num_items)
        brought_VD, _ = self._network.served()
        items, bags = torch.from_numpy(asked.items.astype(np.int64)), torch.from_numpy(asked.offsets[:-1])
        brought_BD = F.embedding_bag(items, torch.from_numpy(brought_VD), bags, mode="sum").numpy()
        rows = _find(self._keys, histories.subjects) if len(histories.subjects) else np.full(len(histories), -1)
        is_known = rows >= 0
        with torch.inference_mode():
            own = self._network.subjects(torch.from_numpy(rows[is_known]).to(self._device)).numpy(force=True)
        if num_layers:
            queries_BD = brought_BD * asked.subject_weights[:, None]
            queries_BD[is_known] += own / np.float32(num_layers + 1)
            return queries_BD
        queries_BD = brought_BD * asked.subject_weights[:, None] ** 2  # the mean of its items
        queries_BD[is_known] = own
        return queries_BD

    def item_blocks(self) -> Iterator[NDArray[np.float32]]:
        """Return the vectors of the items at once."""
        yield self._network.served()[1]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights, the keys of the subjects, and the edges, without which nothing spreads."""
        weights = {name: weight.numpy(force=True) for name, weight in self._network.state_dict().items()}
        graph = self._network.graph
        edges = {EDGES: graph.items, OFFSETS: graph.offsets} if self.config.num_layers else {}
        return weights | edges | {KEYS: self._keys}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what was learnt."""
        self._keys = state[KEYS]
        no_edges = np.zeros(len(self._keys) + 1, np.int64)
        graph = Graph(state.get(EDGES, np.empty(0, np.int32)), state.get(OFFSETS, no_edges), self.num_items)
        with torch.device("meta"):
            network = Network(self.config, graph)
        take_over(network, _weights(state), self.name)
        self._network = network.eval()


def _weights(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in state.items() if name not in (KEYS, EDGES, OFFSETS)}


def _find(keys: NDArray[np.uint64], asked: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the place of each asked key among ascending ones, int64, or -1.

    >>> _find(np.array([3, 5], np.uint64), np.array([5, 4, 9], np.uint64))
    array([ 1, -1, -1])
    """
    places = np.searchsorted(keys, asked)
    found = np.append(keys, np.uint64(0))[places] == asked
    return np.where(found & (places < len(keys)), places, -1)
