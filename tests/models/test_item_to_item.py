from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from models.item_to_item import by_popularity, decayed
from models.markov import Markov, MarkovConfig
from models.sequences import Sequences

Make = Callable[..., Sequences]


def test_events_decay_with_age_and_repeats_add_up(sequences: Make) -> None:
    queries = decayed(sequences([3, 4, 3], [], [2]), 0.5, 6).toarray()
    assert queries.tolist() == [[0, 0, 0, 1.25, 0.5, 0], [0] * 6, [0, 0, 1, 0, 0, 0]]


def test_popularity_order_breaks_ties_by_number() -> None:
    assert by_popularity(np.array([0, 0, 1, 5, 1])).tolist() == [3, 2, 4, 0, 1]


def test_equal_similarities_and_the_unreached_go_by_popularity() -> None:
    model = Markov(MarkovConfig(), 7)
    matrix = csr_array(([0.25, 0.25, 0.5], ([2, 2, 2], [3, 4, 5])), shape=(7, 7))
    model.remember(matrix, np.array([0, 0, 1, 2, 8, 1, 9]))
    model._is_fitted = True
    history = Sequences(np.array([2], np.int32), np.zeros(1, np.int64), np.array([0, 1]))
    items, scores = model.topk(history, 5, np.ones(7, np.bool_))
    assert items.tolist() == [[5, 4, 3, 6, 2]]  # similar; equally similar, by popularity; the rest by popularity
    np.testing.assert_allclose(scores[0], [0.5, 0.25, 0.25, -1 / 7, -4 / 7], rtol=1e-6)


def test_a_large_catalogue_keeps_its_popularity_order() -> None:
    num_items = 100_000
    model = Markov(MarkovConfig(), num_items)
    popularity = np.arange(num_items)
    model.remember(csr_array((num_items, num_items)), popularity)
    scores = model.scores(Sequences.empty(1))[0]
    assert (np.diff(scores) > 0).all()
    assert scores.max() < 0
