"""What every registered model must do, on data whose right answer is known by construction."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import row_recommender, vector_recommender
from models.checkpoint import load, save
from models.metrics import hit_at, relevance
from models.recommender import Recommender
from models.registry import build, names
from models.sequences import Sequences
from tests.models.small_statistics import statistics_of

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]
Lists = tuple[NDArray[np.int32], NDArray[np.float32]]


@pytest.fixture(scope="module", params=names())
def model(request: pytest.FixtureRequest, shop: "Shop") -> Recommender:
    fitted = build(request.param, "tiny", shop.catalogue)
    fitted.fit(shop.train, seed=3, statistics=statistics_of(shop.train, shop.num_items))
    return fitted


@pytest.fixture
def everything(shop: "Shop") -> NDArray[np.bool_]:
    return np.ones(shop.num_items, np.bool_)


def assert_same_lists(found: Lists, expected: Lists) -> None:
    assert (found[0] == expected[0]).all()
    assert (found[1] == expected[1]).all()


def test_a_refit_equals_the_fit(model: Recommender, shop: "Shop", everything: NDArray[np.bool_]) -> None:
    expected = model.topk(shop.histories, 10, everything)
    again = build(model.name, model.config, shop.catalogue)
    for _ in range(2):  # a new instance, and then one that has learnt something before
        report = again.fit(shop.train, seed=3, statistics=statistics_of(shop.train, shop.num_items))
        found = again.topk(shop.histories, 10, everything)
        assert (found[0] == expected[0]).all()
        assert (found[1] == expected[1]).all()
        assert report.chosen == model.config
        assert report.records


def test_a_loaded_checkpoint_gives_the_same_lists(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_], tmp_path: Path
) -> None:
    save(tmp_path / "model", model, "v1", date(2024, 3, 9))
    found = load(tmp_path / "model", model.catalogue, "v1").topk(shop.histories, 10, everything)
    expected = model.topk(shop.histories, 10, everything)
    assert (found[0] == expected[0]).all()
    assert (found[1] == expected[1]).all()


def test_a_foreign_vocabulary_is_refused(model: Recommender, tmp_path: Path) -> None:
    save(tmp_path / "model", model, "v1", date(2024, 3, 9))
    with pytest.raises(ValueError, match="v1, not v2"):
        load(tmp_path / "model", model.catalogue, "v2")


def test_a_checkpoint_of_the_future_is_refused(model: Recommender, tmp_path: Path) -> None:
    save(tmp_path / "model", model, "v1", date(2024, 3, 9))
    with pytest.raises(ValueError, match="2024-03-09, but only days up to 2024-03-08"):
        load(tmp_path / "model", model.catalogue, "v1", latest_as_of=date(2024, 3, 8))


def test_lists_are_full_ordered_and_hold_only_what_is_allowed(model: Recommender, shop: "Shop") -> None:
    allowed = np.arange(shop.num_items) % 3 != 0
    items, scores = model.topk(shop.histories, 12, allowed)
    assert items.dtype == np.int32
    assert scores.dtype == np.float32
    assert allowed[items].all()
    assert (items >= 2).all()
    assert all(len(set(row)) == 12 for row in items.tolist())
    assert (np.diff(scores, axis=1) <= 0).all()
    assert np.isfinite(scores).all()


def test_the_mask_removes_without_reordering(model: Recommender, shop: "Shop", everything: NDArray[np.bool_]) -> None:
    allowed = np.arange(shop.num_items) % 3 != 0
    complete, _ = model.topk(shop.histories, shop.num_items - 2, everything)
    masked, _ = model.topk(shop.histories, 12, allowed)
    for row, filtered in zip(complete.tolist(), masked.tolist(), strict=True):
        assert filtered == [item for item in row if allowed[item]][:12]


def test_a_short_allowed_set_leaves_an_empty_tail(model: Recommender, shop: "Shop") -> None:
    allowed = np.zeros(shop.num_items, np.bool_)
    allowed[[0, 1, 4, 9]] = True
    items, scores = model.topk(shop.histories, 5, allowed)
    assert all(set(row[:2]) == {4, 9} for row in items.tolist())
    assert (items[:, 2:] == 0).all()
    assert np.isneginf(scores[:, 2:]).all()
    assert np.isfinite(scores[:, :2]).all()


def test_more_places_than_items_end_in_an_empty_tail(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_]
) -> None:
    items, scores = model.topk(shop.histories.take(np.arange(3)), shop.num_items + 5, everything)
    num_real = shop.num_items - 2
    assert (np.sort(items[:, :num_real], axis=1) == np.arange(2, shop.num_items)).all()
    assert (items[:, num_real:] == 0).all()
    assert np.isneginf(scores[:, num_real:]).all()


def test_seen_items_can_be_excluded(model: Recommender, shop: "Shop", everything: NDArray[np.bool_]) -> None:
    items, _ = model.topk(shop.histories, 12, everything, exclude_seen=True)
    complete, _ = model.topk(shop.histories, shop.num_items - 2, everything)
    for row in range(len(shop.histories)):
        seen = shop.histories.take(np.array([row])).items
        assert items[row].tolist() == [item for item in complete[row] if item not in seen][:12]


def test_one_subject_alone_gets_the_list_it_gets_among_many(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_]
) -> None:
    expected = model.topk(shop.histories, 10, everything)
    for row in range(0, len(shop.histories), 40):
        alone = model.topk(shop.histories.take(np.array([row])), 10, everything)
        assert_same_lists(alone, (expected[0][[row]], expected[1][[row]]))


def test_lists_do_not_depend_on_how_subjects_are_chunked(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.topk(shop.histories, 10, everything)
    for size in (1, 7, 64):
        for module in (row_recommender, vector_recommender):
            monkeypatch.setattr(module, "CHUNK_SUBJECTS", size)
        assert_same_lists(model.topk(shop.histories, 10, everything), expected)


def test_lists_do_not_depend_on_the_number_of_threads(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_]
) -> None:
    expected = model.topk(shop.histories, 10, everything)
    torch.set_num_threads(2)
    try:
        assert_same_lists(model.topk(shop.histories, 10, everything), expected)
    finally:
        torch.set_num_threads(1)


def test_longer_companions_change_nothing(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_], sequences: Make
) -> None:
    short = shop.histories.tail(2)
    long = sequences(list(range(2, shop.num_items)) * 3)
    expected = model.topk(short, 10, everything)
    offsets = np.concatenate([short.offsets, short.offsets[-1:] + long.offsets[1:]])
    both = Sequences(np.concatenate([short.items, long.items]), np.concatenate([short.times, long.times]), offsets)
    items, scores = model.topk(both, 10, everything)
    assert_same_lists((items[:-1], scores[:-1]), expected)


def test_the_order_of_subjects_changes_nothing(model: Recommender, shop: "Shop", everything: NDArray[np.bool_]) -> None:
    shuffled = np.random.default_rng(0).permutation(len(shop.histories))
    items, scores = model.topk(shop.histories, 10, everything)
    assert_same_lists(model.topk(shop.histories.take(shuffled), 10, everything), (items[shuffled], scores[shuffled]))


def test_equal_scores_stand_in_tie_order(model: Recommender, shop: "Shop", everything: NDArray[np.bool_]) -> None:
    place = np.argsort(model.tie_order())
    assert sorted(place) == list(range(shop.num_items))
    items, scores = model.topk(shop.histories, shop.num_items - 2, everything)
    tied = scores[:, 1:] == scores[:, :-1]
    assert (np.diff(place[items], axis=1)[tied] > 0).all()


def test_histories_without_known_items_get_a_full_list(
    model: Recommender, everything: NDArray[np.bool_], sequences: Make
) -> None:
    items, scores = model.topk(sequences([], [1], [1, 1]), 10, everything)
    assert (items >= 2).all()
    assert np.isfinite(scores).all()
    assert (items == items[0]).all()


def test_no_subject_gives_no_list(model: Recommender, everything: NDArray[np.bool_]) -> None:
    items, scores = model.topk(Sequences.empty(0), 10, everything)
    assert items.shape == scores.shape == (0, 10)


def test_it_beats_chance_on_planted_data(model: Recommender, shop: "Shop", everything: NDArray[np.bool_]) -> None:
    items, _ = model.topk(shop.histories, 10, everything)
    chance = 10 / (shop.num_items - 2)
    assert hit_at(relevance(items, shop.targets), 10).mean() > 1.5 * chance


def test_lists_and_fits_leave_their_input_alone(
    model: Recommender, shop: "Shop", everything: NDArray[np.bool_]
) -> None:
    before = shop.train.items.copy()
    again = build(model.name, "tiny", shop.catalogue)
    train = shop.train.tail(4)
    again.fit(train, seed=0, statistics=statistics_of(train, shop.num_items))
    again.topk(shop.histories, 3, everything, exclude_seen=True)
    assert (shop.train.items == before).all()
    assert everything.all()
