from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.catalogue import Catalogue
from models.recommender import Capabilities, ModelConfig, Validation
from models.row_recommender import RowRecommender, by_popularity
from models.sequences import Sequences
from models.stages import Run, Stage


class Given(RowRecommender[ModelConfig]):
    """Finds what it is given, whatever the history."""

    name = "given"
    capabilities = Capabilities()
    Config = ModelConfig

    def __init__(self, scores: list[float], popularity: NDArray[np.int64]) -> None:
        super().__init__(ModelConfig(), Catalogue(len(scores)))
        self.order = by_popularity(popularity)
        self._scores = csr_array([scores])
        self.restore({})

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        raise NotImplementedError

    def found(self, histories: Sequences) -> csr_array:
        return self._scores[[0] * len(histories)]

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        assert not state


def test_popularity_order_breaks_ties_by_number() -> None:
    assert by_popularity(np.array([0, 0, 1, 5, 1])).tolist() == [3, 2, 4, 0, 1]


def test_equal_scores_and_the_rest_go_by_popularity() -> None:
    model = Given([0, 0, 0, 0.25, 0.25, 0.5, 0], np.array([0, 0, 1, 2, 8, 1, 9]))
    items, scores = model.topk(Sequences.empty(2), 5, np.ones(7, np.bool_))
    assert items.tolist() == [[5, 4, 3, 6, 2]] * 2  # found; equally good, by popularity; the rest by popularity
    np.testing.assert_allclose(scores[0], [0.5, 0.25, 0.25, -1 / 7, -4 / 7], rtol=1e-6)
    assert model.reached(scores[0]).tolist() == [True, True, True, False, False]


def test_a_large_catalogue_keeps_its_popularity_order() -> None:
    num_items = 100_000
    model = Given([0.0] * num_items, np.arange(num_items))
    items, scores = model.topk(Sequences.empty(1), num_items - 2, np.ones(num_items, np.bool_))
    assert items[0].tolist() == list(range(num_items - 1, 1, -1))
    assert (np.diff(scores[0]) < 0).all()
    assert scores.max() < 0
