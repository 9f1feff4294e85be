from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import vector_recommender
from models.catalogue import Catalogue
from models.recommender import Capabilities, ModelConfig, Validation
from models.sequences import Sequences
from models.stages import Run, Stage
from models.vector_recommender import VectorRecommender

Make = Callable[..., Sequences]


class Nearest(VectorRecommender[ModelConfig]):
    """Asks with the vector of the last item; those of the items are given."""

    name = "nearest"
    capabilities = Capabilities()
    Config = ModelConfig

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        super().__init__(ModelConfig(), Catalogue(len(vectors)))
        self._vectors = vectors
        self.restore({})

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        raise NotImplementedError

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        return self._vectors[histories.items[histories.offsets[1:] - 1]]

    def item_blocks(self) -> Iterator[NDArray[np.float32]]:
        yield from (self._vectors[:3], self._vectors[3:])

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        assert not state


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_items_rank_by_their_product_with_the_query(
    sequences: Make, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(vector_recommender, "CHUNK_SUBJECTS", chunk)
    model = Nearest(np.array([[9, 9], [9, 9], [1, 0], [2, 1], [0, 3]], np.float32))
    histories = sequences([2], [2, 4], [3])
    items, scores = model.topk(histories, 3, np.ones(5, bool))
    assert items.tolist() == [[3, 2, 4], [4, 3, 2], [3, 4, 2]]
    assert scores.tolist() == [[2, 1, 0], [9, 3, 0], [5, 3, 2]]
    unseen, _ = model.topk(histories, 3, np.ones(5, bool), exclude_seen=True)
    assert unseen.tolist() == [[3, 4, 0], [3, 0, 0], [4, 2, 0]]
