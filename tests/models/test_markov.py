from collections.abc import Callable

import numpy as np
import pytest

from models.catalogue import Catalogue
from models.markov import Markov, MarkovConfig
from models.sequences import Sequences

Make = Callable[..., Sequences]


def fitted(train: Sequences, num_items: int, **settings: float) -> Markov:
    model = Markov(MarkovConfig.model_validate(settings), Catalogue(num_items))
    model.fit(train, seed=0)
    return model


def test_a_cycle_is_learnt_exactly(sequences: Make) -> None:
    cycle = [2, 5, 3, 6, 4]
    model = fitted(sequences(cycle * 3), 7)
    items, _ = model.topk(sequences(*([item] for item in cycle)), 1, np.ones(7, np.bool_))
    assert items[:, 0].tolist() == [5, 3, 6, 4, 2]


def test_scores_are_those_worked_out_by_hand(sequences: Make) -> None:
    model = fitted(sequences([2, 3, 2, 4], [2, 3], [3]), 6, query_decay=0.5)
    # Row 2: to 3 twice, to 4 once, so / sqrt(3). Row 3: to 2 once. The pair 3 -> 3 across sequences is none.
    found = model.found(sequences([3, 2], [4])).toarray()
    np.testing.assert_allclose(found[0, 2:5], [0.5, 2 / 3**0.5, 1 / 3**0.5], rtol=1e-6)
    assert not found[1].any()  # nothing follows 4


def test_further_steps_decay(sequences: Make) -> None:
    model = fitted(sequences([2, 3, 4, 5]), 6, num_steps=2, step_decay=0.25)
    found = model.found(sequences([2])).toarray()[0]
    np.testing.assert_allclose(found[3:], np.array([1, 0.25, 0]) / 1.25**0.5, rtol=1e-6)


def test_steps_beyond_the_events_count_nothing(sequences: Make) -> None:
    model = fitted(sequences([2, 3]), 4, num_steps=9)
    assert model.found(sequences([2])).toarray()[0, 3] == pytest.approx(1)


def test_only_the_last_events_ask(sequences: Make) -> None:
    model = fitted(sequences([2, 3], [4, 5]), 6, query_events=1)
    assert model.found(sequences([2, 4])).toarray()[0].tolist() == [0, 0, 0, 0, 0, 1]


def test_neighbours_of_an_unknown_item_become_adjacent(sequences: Make) -> None:
    model = fitted(sequences([2, 1, 3]), 4)
    assert model.topk(sequences([2, 1]), 1, np.ones(4, np.bool_))[0].tolist() == [[3]]
