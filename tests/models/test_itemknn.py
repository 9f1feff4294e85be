from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import itemknn
from models.catalogue import Catalogue
from models.itemknn import ItemKnn, ItemKnnConfig, row_blocks, touched
from models.sequences import Sequences

Make = Callable[..., Sequences]
NUM_ITEMS = 9


def dense_similarity(rows: list[list[int]], config: ItemKnnConfig) -> np.ndarray:
    """Compute all similarities densely and keep each row's best by a full sort."""
    known = [[item for item in row if item >= 2] for row in rows]
    users = np.zeros((len(rows), NUM_ITEMS))
    for user, row in enumerate(known):
        users[user, row[-config.max_events :]] = 1
    popularity = np.bincount([item for row in known for item in row], minlength=NUM_ITEMS)
    together = users.T @ users
    size = np.diag(together)
    similarity = together / (np.sqrt(np.outer(size, size)) + config.shrinkage + 1e-300)
    np.fill_diagonal(similarity, 0)
    for row in similarity:
        ranked = sorted(range(NUM_ITEMS), key=lambda item: (-row[item], -popularity[item], item))
        row[ranked[config.num_neighbours :]] = 0
    return similarity


@settings(max_examples=150)
@given(
    rows=st.lists(st.lists(st.integers(1, 8), max_size=7), max_size=12).map(lambda rows: [[2], *rows]),
    num_neighbours=st.integers(1, 8),
    shrinkage=st.sampled_from([0.0, 0.5, 10.0]),
    max_events=st.integers(1, 8),
    block_entries=st.integers(1, 50),
)
def test_it_equals_a_dense_computation(
    sequences: Make, rows: list[list[int]], num_neighbours: int, shrinkage: float, max_events: int, block_entries: int
) -> None:
    config = ItemKnnConfig(num_neighbours=num_neighbours, shrinkage=shrinkage, max_events=max_events)
    model = ItemKnn(config, Catalogue(NUM_ITEMS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itemknn, "BLOCK_ENTRIES", block_entries)
        model.fit(sequences(*rows), seed=0)
    expected = dense_similarity(rows, config)
    found = model.found(sequences(*([item] for item in range(NUM_ITEMS)))).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_older_events_ask_less(sequences: Make) -> None:
    model = ItemKnn(ItemKnnConfig(shrinkage=0, query_decay=0.5), Catalogue(6))
    model.fit(sequences([2, 3], [4, 5]), seed=0)
    np.testing.assert_allclose(model.found(sequences([2, 4])).toarray()[0, [3, 5]], [0.5, 1])


def test_repeats_of_a_user_count_once(sequences: Make) -> None:
    assert touched(sequences([2, 3, 2], [3]), 4).toarray().tolist() == [[0, 0, 1, 1], [0, 0, 0, 1]]


def test_blocks_cover_all_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itemknn, "BLOCK_ENTRIES", 10)
    blocks = list(row_blocks(np.array([3, 3, 3, 30, 0, 1])))
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(6))
    assert len(blocks) == 3
