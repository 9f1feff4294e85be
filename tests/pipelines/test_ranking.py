from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.markov import Markov, MarkovConfig
from models.popular import Popular
from models.recommender import Recommender
from models.sequences import Sequences
from pipelines.ranking import FROM_MODEL, NO_HISTORY, NOTHING_LEFT, REASONS, Lists, count_fallback, fit_fallback, rank
from tests.pipelines.small_sequences import lists_of, make

NUM_ITEMS = 10
DAY = 86_400
# What follows what: 2 -> 3 -> 4 -> 5 -> 6. Counts of 2 to 9: 2, 3, 4, 1, 5, 1, 0, 0; ties go by number.
TRAIN = make([2, 3, 4, 5, 6], [4, 4, 6, 6], [3], [6, 6, 7], [4, 2, 3])
FROM, COLD, LEFT = (REASONS.index(reason) for reason in (FROM_MODEL, NO_HISTORY, NOTHING_LEFT))


def fitted() -> Recommender:
    model = Markov(MarkovConfig(), Catalogue(NUM_ITEMS))
    model.fit(TRAIN, seed=0)
    return model


MODEL, FALLBACK = fitted(), fit_fallback(TRAIN, NUM_ITEMS)
POPULAR = [6, 4, 3, 2, 5, 7, 8, 9]


def allowing(*items: int) -> NDArray[np.bool_]:
    allowed = np.zeros(NUM_ITEMS, np.bool_)
    allowed[list(items)] = True
    return allowed


def ranked(
    histories: Sequences, k: int, allowed: NDArray[np.bool_] | None = None, *, exclude_seen: bool = False
) -> Lists:
    everything = np.ones(NUM_ITEMS, np.bool_)
    return rank(MODEL, FALLBACK, histories, k, everything if allowed is None else allowed, exclude_seen=exclude_seen)


def shares(*items: int) -> NDArray[np.float32]:
    """Popularity of items as the fallback scores it, from counts taken by hand."""
    counts = {2: 2, 3: 3, 4: 4, 5: 1, 6: 5, 7: 1}
    return np.array([counts.get(item, 0) / 16 for item in items], np.float32)


def test_the_fallback_knows_the_last_week_only() -> None:
    old, new = [2, 2, 2, 2], [3, 4, 3]
    train = make(old, new, times=[0, 0, 0, DAY - 1, DAY, 8 * DAY, 8 * DAY])
    items, scores = fit_fallback(train, NUM_ITEMS).topk(Sequences.empty(1), 3, np.ones(NUM_ITEMS, np.bool_))
    assert items.tolist() == [[3, 4, 2]]
    np.testing.assert_allclose(scores, [[2 / 3, 1 / 3, 0]], rtol=1e-6)
    assert isinstance(fit_fallback(train, NUM_ITEMS), Popular)


def test_the_fallback_of_counts_is_the_one_that_was_fitted() -> None:
    old, new = [2, 2, 2, 5], [3, 4, 3]
    train = make(old, new, times=[0, 0, 0, DAY - 1, DAY, 8 * DAY, 8 * DAY])
    recent, totals = np.bincount([3, 4, 3], minlength=NUM_ITEMS), np.bincount([*old, *new], minlength=NUM_ITEMS)
    fitted_one, counted = fit_fallback(train, NUM_ITEMS), count_fallback(recent, totals)
    for k in (1, 3, 8):
        lists = [model.topk(Sequences.empty(1), k, np.ones(NUM_ITEMS, np.bool_)) for model in (fitted_one, counted)]
        assert lists[0][0].tolist() == lists[1][0].tolist()
        assert lists[0][1].tolist() == lists[1][1].tolist()


def test_a_known_history_gets_the_models_list() -> None:
    histories = make([9, 2], [5])
    lists = ranked(histories, 4)
    items, scores = MODEL.topk(histories, 4, np.ones(NUM_ITEMS, np.bool_))
    assert lists.items[:, 0].tolist() == [3, 6]
    assert lists.items.tolist() == items.tolist()
    assert lists.scores.tolist() == scores.tolist()
    assert lists.reasons.tolist() == [[FROM, LEFT, LEFT, LEFT]] * 2  # one item follows each; the others fill the list


@pytest.mark.parametrize("cold", [[], [1], [1, 0, 1]], ids=["no event", "an unknown item", "unknown items"])
def test_a_history_without_a_known_item_gets_what_is_popular_and_the_reason_says_so(cold: list[int]) -> None:
    lists = ranked(make([2], cold, [3]), 4)
    assert lists.items[1].tolist() == POPULAR[:4]
    assert lists.scores[1].tolist() == shares(*POPULAR[:4]).tolist()
    assert lists.reasons.tolist() == [[FROM, LEFT, LEFT, LEFT], [COLD] * 4, [FROM, LEFT, LEFT, LEFT]]


def test_a_cold_list_holds_allowed_items_only() -> None:
    lists = ranked(make([]), 3, allowing(5, 2, 8))
    assert lists.items.tolist() == [[2, 5, 8]]


def test_a_list_is_short_only_where_fewer_items_are_allowed() -> None:
    for exclude_seen in (False, True):
        lists = ranked(make([2], [], [4, 3]), 5, allowing(0, 1, 3, 4), exclude_seen=exclude_seen)
        assert lists.items.tolist() == [[3, 4, 0, 0, 0], [4, 3, 0, 0, 0], [4, 3, 0, 0, 0]]
        assert np.isneginf(lists.scores[:, 2:]).all()
        assert np.isfinite(lists.scores[:, :2]).all()


def test_nothing_allowed_gives_empty_lists() -> None:
    lists = ranked(make([2], []), 3, allowing())
    assert (lists.items == 0).all()


def test_seen_items_come_back_last_by_popularity_where_nothing_else_is_left() -> None:
    lists = ranked(make([2, 3, 6, 4, 9, 2]), 5, allowing(2, 3, 4, 5, 6), exclude_seen=True)
    assert lists.items.tolist() == [[5, 6, 4, 3, 2]]
    assert lists.reasons.tolist() == [[FROM, LEFT, LEFT, LEFT, LEFT]]
    assert lists.scores[0, 1:].tolist() == shares(6, 4, 3, 2).tolist()


def test_who_has_seen_everything_gets_what_is_popular_marked_as_a_repeat() -> None:
    lists = ranked(make([2, 3, 4, 5, 6, 7, 8, 9], [2]), 3, exclude_seen=True)
    assert lists.items[0].tolist() == POPULAR[:3]
    assert lists.reasons.tolist() == [[LEFT] * 3, [FROM, LEFT, LEFT]]
    assert 2 not in lists.items[1]


def test_seen_items_may_stand_anywhere_if_they_are_not_excluded() -> None:
    assert ranked(make([3, 2]), 1).items.tolist() == [[3]]
    assert ranked(make([3, 2]), 1, exclude_seen=True).items.tolist() == [[4]]


@dataclass(frozen=True)
class Request:
    histories: list[list[int]]
    k: int
    allowed: list[int]
    exclude_seen: bool


@st.composite
def requests(draw: st.DrawFn) -> Request:
    histories = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=9), min_size=1, max_size=5)
    allowed = st.sets(st.integers(0, NUM_ITEMS - 1))
    return Request(draw(histories), draw(st.integers(1, 12)), sorted(draw(allowed)), draw(st.booleans()))


@settings(deadline=None)
@given(requests())
def test_lists_are_full_without_a_duplicate_and_say_where_each_item_comes_from(request: Request) -> None:
    lists = ranked(make(*request.histories), request.k, allowing(*request.allowed), exclude_seen=request.exclude_seen)
    real = {item for item in request.allowed if item >= 2}
    length = min(request.k, len(real))
    for history, items, scores, reasons in zip(
        request.histories, lists.items, lists.scores, lists.reasons, strict=True
    ):
        shown = items[:length].tolist()
        assert len(set(shown)) == length
        assert set(shown) <= real
        assert (items[length:] == 0).all()
        known = {item for item in history if item >= 2}
        fresh = real - known if request.exclude_seen else real
        from_model = 0 if not known else min(length, len(fresh))
        rest = LEFT if known else COLD
        reached = [FROM if score >= 0 else LEFT for score in scores[:from_model]]
        assert reasons[:length].tolist() == reached + [rest] * (length - from_model)
        assert set(shown[:from_model]) <= fresh
        repeats = [item for item in POPULAR if item in real - set(shown[:from_model])]
        assert shown[from_model:] == repeats[: length - from_model]


@settings(deadline=None)
@given(requests())
def test_a_list_does_not_depend_on_the_other_histories(request: Request) -> None:
    allowed = allowing(*request.allowed)
    together = ranked(make(*request.histories), request.k, allowed, exclude_seen=request.exclude_seen)
    for row, history in enumerate(request.histories):
        alone = ranked(make(history), request.k, allowed, exclude_seen=request.exclude_seen)
        for found, expected in ((together.items, alone.items), (together.reasons, alone.reasons)):
            assert found[row].tolist() == expected[0].tolist()
        np.testing.assert_allclose(together.scores[row], alone.scores[0], rtol=1e-6)


def test_ranking_leaves_its_histories_as_they_were() -> None:
    histories = make([2, 3], [1], [])
    ranked(histories, 5, allowing(2, 3), exclude_seen=True)
    assert lists_of(histories) == [[2, 3], [1], []]
