from collections.abc import Callable

import numpy as np
import pytest

from models.catalogue import Catalogue
from models.popular import Popular, PopularConfig
from models.sequences import SECONDS_PER_DAY, Sequences

Make = Callable[..., Sequences]
# Item 2: three events on day 0. Item 3: two on day 9. Item 4: one on day 10. Item 5: one on day 0. Item 6: never.
ITEMS = [2, 2, 5, 2, 3, 3, 4]
DAYS = [0, 0, 0, 0, 9, 9, 10]


def fitted(sequences: Make, **settings: float) -> Popular:
    model = Popular(PopularConfig(**settings), Catalogue(7))
    model.fit(sequences(ITEMS, times=[day * SECONDS_PER_DAY for day in DAYS]), seed=0)
    return model


def ranking(model: Popular) -> list[int]:
    return model.topk(Sequences.empty(1), 5, np.ones(7, np.bool_))[0][0].tolist()


def scores_by_item(model: Popular) -> dict[int, float]:
    items, scores = model.topk(Sequences.empty(1), 5, np.ones(7, np.bool_))
    return dict(zip(items[0].tolist(), scores[0].tolist(), strict=True))


def test_everything_counts_without_a_window(sequences: Make) -> None:
    model = fitted(sequences)
    assert ranking(model) == [2, 3, 4, 5, 6]
    assert scores_by_item(model) == pytest.approx({2: 3 / 7, 3: 2 / 7, 4: 1 / 7, 5: 1 / 7, 6: 0})


def test_a_window_hides_older_events_which_still_break_ties(sequences: Make) -> None:
    assert ranking(fitted(sequences, window_days=1)) == [3, 4, 2, 5, 6]
    assert ranking(fitted(sequences, window_days=0.5)) == [4, 2, 3, 5, 6]


def test_an_event_of_the_age_of_the_half_life_counts_half(sequences: Make) -> None:
    scores = scores_by_item(fitted(sequences, half_life_days=1))
    assert scores[3] / scores[4] == pytest.approx(2 * 0.5)
    assert scores[2] / scores[4] == pytest.approx(3 * 2.0**-10)


def test_rounding_does_not_turn_the_order_round(sequences: Make) -> None:
    model = Popular(PopularConfig(half_life_days=10_000), Catalogue(4))
    model.fit(sequences([2, 3], times=[0, 1]), seed=0)  # a second in 10,000 days: equal as float32
    items, scores = model.topk(Sequences.empty(1), 2, np.ones(4, np.bool_))
    assert items.tolist() == [[3, 2]]
    assert scores[0, 0] == scores[0, 1]


def test_counts_that_were_taken_elsewhere_give_the_model_that_a_fit_gives(sequences: Make) -> None:
    taken = Popular(PopularConfig(window_days=1), Catalogue(7))
    taken.take_counts(np.array([0, 0, 0, 2, 1, 0, 0]), np.array([0, 0, 3, 2, 1, 1, 0]))
    model = fitted(sequences, window_days=1)
    assert ranking(taken) == ranking(model)
    for name, value in model.state().items():
        np.testing.assert_array_equal(taken.state()[name], value)


def test_without_any_event_items_rank_by_their_numbers() -> None:
    model = Popular(PopularConfig(), Catalogue(7))
    model.take_counts(np.zeros(7, np.int64), np.zeros(7, np.int64))
    assert ranking(model) == [2, 3, 4, 5, 6]
    assert not any(scores_by_item(model).values())
