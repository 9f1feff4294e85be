from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import session_knn
from models.catalogue import Catalogue
from models.sequences import Sequences
from models.session_knn import SessionKnn, SessionKnnConfig

Make = Callable[..., Sequences]
NUM_ITEMS = 9


def found(model: SessionKnn, histories: Sequences) -> np.ndarray:
    return np.asarray(model.found(histories).toarray())


def fitted(train: Sequences, num_items: int = NUM_ITEMS, **how: int) -> SessionKnn:
    model = SessionKnn(SessionKnnConfig(**how), Catalogue(num_items))
    model.fit(train, seed=0)
    return model


def test_scores_are_those_worked_out_by_hand(sequences: Make) -> None:
    model = fitted(sequences([2, 3, 4, 2], [3, 5], [6, 7]))
    scores = found(model, sequences([2, 3], [8]))
    # The first shares 2 (weight 1/2) and 3 (1) and has 3 distinct items; the second shares 3 and has 2.
    first, second = 1.5 / 3**0.5, 1 / 2**0.5
    np.testing.assert_allclose(scores[0, 2:], [first, first + second, first, second, 0, 0, 0], rtol=1e-6)
    assert not scores[1].any()


def test_of_equal_neighbours_the_newest_answers(sequences: Make) -> None:
    model = fitted(sequences([2, 3], [2, 4], [2, 5], times=[5, 6, 8, 9, 0, 1]), num_neighbours=1)
    assert np.flatnonzero(found(model, sequences([2]))[0]).tolist() == [2, 4]


def test_sums_of_other_parts_are_equal_neighbours(sequences: Make) -> None:
    """Of ten items, 1/10 + 4/10 is 5/10 and 2/10 + 3/10, which float32 rounds apart: the newest answers."""
    history = list(range(2, 12))
    for older, newer in (([2, 5, 13], [3, 4, 14]), ([3, 4, 13], [2, 5, 14])):
        model = fitted(sequences(older, newer, times=[0, 0, 0, 1, 1, 1]), num_items=15, num_neighbours=1)
        assert np.flatnonzero(found(model, sequences(history))[0]).tolist() == newer


def test_only_the_newest_sequences_of_an_item_and_events_of_a_sequence_are_kept(sequences: Make) -> None:
    train = sequences([2, 3, 4], [2, 5], [2, 6], times=[0, 0, 0, 1, 1, 2, 2])
    assert np.flatnonzero(found(fitted(train, max_sequences=2), sequences([2]))[0]).tolist() == [2, 5, 6]
    assert np.flatnonzero(found(fitted(train, max_events=2), sequences([4]))[0]).tolist() == [3, 4]


def expected(rows: list[list[int]], history: list[int], how: SessionKnnConfig) -> np.ndarray:
    """Ask every sequence, newest last, and sort them all."""
    sets = [set([i for i in row if i >= 2][-how.max_events :]) for row in rows]
    asking = history[-how.query_events :]
    weight = {item: (place + 1) / len(asking) for place, item in enumerate(asking)}
    similarity = [sum(weight.get(item, 0) for item in own) / (len(own) ** 0.5 or 1) for own in sets]
    ranked = sorted(range(len(rows)), key=lambda row: (-np.float32(similarity[row]), -row))[: how.num_neighbours]
    scores = np.zeros(NUM_ITEMS)
    for row in ranked:
        for item in sets[row] if similarity[row] else ():
            scores[item] += similarity[row]
    return scores


@settings(max_examples=100, deadline=None)  # the first call compiles
@given(
    rows=st.lists(st.lists(st.integers(1, 8), max_size=7), max_size=9).map(lambda rows: [[2], *rows]),
    histories=st.lists(st.lists(st.integers(2, 8), max_size=6), max_size=5),
    num_neighbours=st.integers(1, 10),
    query_events=st.integers(1, 4),
    block=st.integers(1, 3),
)
def test_it_equals_asking_every_sequence(
    sequences: Make,
    rows: list[list[int]],
    histories: list[list[int]],
    num_neighbours: int,
    query_events: int,
    block: int,
) -> None:
    model = fitted(sequences(*rows), num_neighbours=1000, query_events=query_events, max_events=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_knn, "BLOCK_SUBJECTS", block)
        scores = found(model, sequences(*histories))
    for row, history in zip(scores, histories, strict=True):
        np.testing.assert_allclose(row, expected(rows, history, model.config), rtol=1e-5)
