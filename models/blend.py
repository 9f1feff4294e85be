"""A weighted sum of the scores of two models that find some items each: cheap, and often better than both.

The scores of each model are divided by their sum over the items it finds, so that the weight means the same for every
history. The weight is chosen on the validation part, where there is one.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import csr_array, diags_array

from models.catalogue import Catalogue
from models.recommender import Capabilities, ModelConfig, Validation
from models.registry import build, configure
from models.row_recommender import RowRecommender
from models.sequences import Sequences
from models.stages import BestEpochs, Pass, Run, Stage
from models.validation import validation_ndcg

WEIGHTS = tuple(np.linspace(0, 1, 11).tolist())
MAX_VALIDATION_CASES = 10_000


class Part(ModelConfig):
    """One of the two models: its name, and the settings in which it differs from its preset "small"."""

    model: Literal["markov", "itemknn", "session_knn"]
    settings: Mapping[str, Any] = {}

    @model_validator(mode="after")
    def _known_settings(self) -> Self:
        self.configure()
        return self

    def configure(self) -> ModelConfig:
        """Return the configuration of the model."""
        return configure(self.model, "small", self.settings)


class BlendConfig(ModelConfig):
    """The two models and the weight of the second; the first has the rest.

    choose_weight: whether the validation part chooses it anew.
    """

    first: Part = Part(model="markov", settings={"num_steps": 3})
    second: Part = Part(model="session_knn")
    weight: float = Field(default=0.8, ge=0, le=1)
    choose_weight: bool = True

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if (self.first.model, self.first.configure()) == (self.second.model, self.second.configure()):
            raise ValueError(f"first and second are the same {self.first.model}: name two models, or two settings")
        return self


class Blend(RowRecommender[BlendConfig]):
    """Ranks by the weighted sum; ties and the rest by popularity. Memory: that of both models."""

    name = "blend"
    label = "Blend of two"
    reason = "comes next, and stands in sequences like this one"
    capabilities = Capabilities(trains_without_gradient=True)
    Config = BlendConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": BlendConfig(),
        "small": BlendConfig(),
        "paper": BlendConfig(),
    }

    def __init__(self, config: BlendConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self._models = [_build(part, catalogue) for part in (config.first, config.second)]
        self._weight = config.weight

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Fit both, then choose the weight."""
        for place, model in zip(("first", "second"), self._models, strict=True):
            yield Pass(place, partial(model.fit, train, seed=run.seed))
        self.order, self._weight = self._models[0].order, self.config.weight
        if validation and self.config.choose_weight:
            yield Pass("weight", partial(self._choose_weight, validation))

    def _choose_weight(self, validation: Validation) -> None:
        """Take the weight with the best mean NDCG@10; of equal ones, the smallest."""
        means = []
        for self._weight in WEIGHTS:
            means.append(validation_ndcg(self, validation, MAX_VALIDATION_CASES))
        self._weight = WEIGHTS[int(np.argmax(means))]

    def chosen(self, best_epochs: BestEpochs) -> BlendConfig:
        """Keep the weight, where one was chosen."""
        if "weight" not in best_epochs:
            return self.config
        return self.config.model_copy(update={"weight": self._weight, "choose_weight": False})

    def found(self, histories: Sequences) -> csr_array:
        """Return the weighted sum of what both find."""
        first, second = (_share(model.found(histories)) for model in self._models)
        return csr_array(first * (1 - self._weight) + second * self._weight)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what both have learnt, and the weight."""
        first, second = (model.state() for model in self._models)
        parts = {f"first/{name}": array for name, array in first.items()}
        parts |= {f"second/{name}": array for name, array in second.items()}
        return parts | {"weight": np.array([self._weight])}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take it over."""
        for place, model in zip(("first/", "second/"), self._models, strict=True):
            model.restore({name.removeprefix(place): state[name] for name in state if name.startswith(place)})
        self.order, self._weight = self._models[0].order, float(state["weight"][0])


def _build(part: Part, catalogue: Catalogue) -> RowRecommender[Any]:
    built = build(part.model, part.configure(), catalogue)
    assert isinstance(built, RowRecommender)
    return built


def _share(found: csr_array) -> csr_array:
    """Divide every row by its sum."""
    sums = found.sum(axis=1)
    return csr_array(diags_array(1 / np.where(sums > 0, sums, 1)) @ found)
