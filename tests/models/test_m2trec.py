import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from models import m2trec as module
from models.catalogue import FIRST_VALUE, Catalogue, Values
from models.checkpoint import read_state, save
from models.field_plan import FIRST_SEEN
from models.m2trec import M2TRec, M2TRecConfig
from models.metrics import hit_at, relevance
from models.recommender import UnfitCatalogue, UnfitStart
from models.sequences import FIRST_ITEM, Sequences
from tests.models.small_catalogue import values

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]
TINY = M2TRecConfig(
    dim=32, field_dim=16, length=8, num_blocks=1, num_heads=2, num_epochs=8, learning_rate=0.01, batch_size=32,
    dropout=0, drop_rate=0.02, popularity=False,
    pooling="last",
)  # fmt: skip


def changed(**settings: Any) -> M2TRecConfig:
    return M2TRecConfig.model_validate(TINY.model_dump() | settings)


def fitted(shop: "Shop", catalogue: Catalogue | None = None, **settings: Any) -> M2TRec:
    model = M2TRec(changed(**settings), catalogue or shop.catalogue)
    model.fit(shop.train, seed=0)
    return model


def first_place(model: M2TRec, shop: "Shop") -> float:
    items, _ = model.topk(shop.histories, 1, np.ones(model.num_items, np.bool_))
    return float(hit_at(relevance(items, shop.targets), 1).mean())


def more_items(catalogue: Catalogue, like: list[int]) -> Catalogue:
    """A later catalogue with new items, which have the values of others; one value more is numbered."""
    fields = {}
    for name, known in catalogue.fields.items():
        copied = [known.numbers[known.offsets[item] : known.offsets[item + 1]] for item in like]
        numbers = np.concatenate([known.numbers, *copied])
        offsets = np.append(known.offsets, known.offsets[-1] + np.cumsum([len(part) for part in copied]))
        fields[name] = Values(numbers, offsets, known.num_values + 1)
    return Catalogue(catalogue.num_items + len(like), fields)


def test_fewer_items_than_were_learnt_are_refused(model: M2TRec, shop: "Shop") -> None:
    fields = {
        name: Values(known.numbers[: known.offsets[-2]], known.offsets[:-1], known.num_values)
        for name, known in shop.catalogue.fields.items()
    }
    less = M2TRec(TINY, Catalogue(shop.catalogue.num_items - 1, fields))
    with pytest.raises(ValueError, match=f"has {less.num_items} items, and the model has learnt {less.num_items + 1}"):
        less.restore(model.state())


def test_two_fields_that_are_shown_alike_are_both_explained(shop: "Shop") -> None:
    colour = shop.catalogue.fields["attribute:colour"]
    alike = Catalogue(shop.catalogue.num_items, {"attribute:brand": colour, "brand": colour})
    model = fitted(shop, alike, num_epochs=1)
    items, _ = model.topk(shop.histories, 3, np.ones(model.num_items, np.bool_))
    codes, texts = model.reasons(shop.histories, items)
    assert len(texts) == 1 + 2 + 2 * 2
    assert {texts[code] for code in np.unique(codes)} <= {"matched on brand", model.reason}


@pytest.fixture(scope="module")
def model(shop: "Shop") -> M2TRec:
    return fitted(shop)


@pytest.mark.parametrize(
    "how",
    [
        {"attention": "bidirectional", "num_epochs": 3},
        {"item_head": "free"},
        {"metadata": False, "hashed_ids": True},
        {"category_levels": 0, "loss": "sampled_softmax", "num_negatives": 40, "num_epochs": 12},
    ],
)
def test_every_form_learns_a_planted_chain(shop: "Shop", how: dict[str, Any]) -> None:
    assert first_place(fitted(shop, **how), shop) > 0.8


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_the_mean_of_a_session_learns_what_it_is_about(shop: "Shop", attention: str) -> None:
    """Sessions of one colour: what comes next is of that colour, and their last event says no more than the others."""
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 8, 200)
    visits = (generator.integers(0, 7, (200, 6)) * 8 + colours[:, None] + FIRST_ITEM).astype(np.int32)
    train = Sequences(visits.ravel(), np.zeros(1200, np.int64), np.arange(0, 1201, 6))
    model = M2TRec(changed(pooling="average", attention=attention, num_epochs=4), shop.catalogue)
    model.fit(train, seed=0)
    items, _ = model.topk(train, 5, np.ones(62, bool))
    assert ((items - FIRST_ITEM) % 8 == colours[:, None]).mean() > 0.95


def test_items_with_equal_metadata_have_equal_scores(model: M2TRec, shop: "Shop") -> None:
    later = M2TRec(model.config, more_items(shop.catalogue, [5, 9]))
    later.restore(model.state())
    items, scores = later.topk(shop.histories, later.num_items - FIRST_ITEM, np.ones(later.num_items, bool))
    for new, old in ((shop.num_items, 5), (shop.num_items + 1, 9)):
        assert (scores[items == new] == scores[items == old]).all()


def test_a_later_catalogue_needs_no_fit_and_changes_no_score(model: M2TRec, shop: "Shop") -> None:
    """An item of yesterday keeps its score whatever came after it; a new one is ranked for what it is."""
    later = M2TRec(model.config, more_items(shop.catalogue, [7]))
    later.restore(model.state())
    old = np.arange(later.num_items) < shop.num_items
    before, after = model.topk(shop.histories, 9, old[:-1]), later.topk(shop.histories, 9, old)
    assert (before[0] == after[0]).all()
    assert (before[1] == after[1]).all()
    (precursor,) = np.flatnonzero(shop.follower == 7)
    history = Sequences(np.array([precursor], np.int32), np.zeros(1, np.int64), np.array([0, 1]))
    items, _ = later.topk(history, 2, np.ones(later.num_items, bool))
    assert sorted(items[0]) == [7, shop.num_items]


def test_a_value_that_came_later_is_unknown_until_the_next_fit(model: M2TRec, shop: "Shop") -> None:
    grown = more_items(shop.catalogue, [7, 7])
    colour = grown.fields["attribute:colour"]
    colour.numbers[-2:] = colour.num_values - 1, 1  # the new value, and "unknown" itself
    later = M2TRec(model.config, grown)
    later.restore(model.state())
    (vectors,) = later.item_blocks()
    assert (vectors[-2] == vectors[-1]).all()
    assert (vectors[-2] != vectors[7]).any()


def test_a_vocabulary_that_shrank_is_refused(model: M2TRec, shop: "Shop") -> None:
    less = M2TRec(model.config, Catalogue(shop.num_items, {**shop.catalogue.fields, "category_1": values(*[[]] * 62)}))
    with pytest.raises(
        ValueError, match=r"'category_1' has 9 values, and the model has learnt 10: .* fit the model anew"
    ):
        less.restore(model.state())
    with pytest.raises(UnfitStart, match="category_1 is in one of the networks only"):
        less.fit(shop.train, seed=0, start=model.state())


def test_a_warm_start_takes_what_a_checkpoint_keeps(model: M2TRec, shop: "Shop", tmp_path: Path) -> None:
    save(tmp_path / "night", model, "hash", date(2026, 1, 1))
    state = read_state(tmp_path / "night")
    assert {name: array.shape for name, array in state.items()} == {
        name: array.shape for name, array in model.state().items()
    }
    M2TRec(changed(num_epochs=1), shop.catalogue).fit(shop.train, seed=0, start=state)


def test_a_warm_start_takes_new_items_and_values(model: M2TRec, shop: "Shop") -> None:
    catalogue = more_items(shop.catalogue, [7])
    short = {"num_epochs": 1, "learning_rate": 1e-6}
    warm, cold = M2TRec(changed(**short), catalogue), M2TRec(changed(**short), catalogue)
    warm.fit(shop.train, seed=1, start=model.state())
    cold.fit(shop.train, seed=1)
    assert first_place(warm, shop) > 0.7 > 0.3 > first_place(cold, shop)


def test_popularity_orders_items_of_equal_metadata_and_knows_nothing_of_new_ones(shop: "Shop") -> None:
    """Items of one colour and shelf: five visits go to the first of each eight, two to the second, one to the third."""
    one_of_each = Catalogue(62, {"category_1": shop.catalogue.fields["category_1"]})
    generator = np.random.default_rng(0)
    shelf = generator.integers(0, 7, (800, 1)) * 8
    visits = (shelf + generator.choice([0, 0, 0, 0, 0, 1, 1, 2], (800, 6)) + FIRST_ITEM).astype(np.int32)
    train = Sequences(visits.ravel(), np.zeros(4800, np.int64), np.arange(0, 4801, 6))
    model = M2TRec(changed(popularity=True, num_epochs=4), one_of_each)
    model.fit(train, seed=0)
    items, _ = model.topk(train, 3, np.ones(62, bool))
    expected = shelf + FIRST_ITEM + np.arange(3)
    assert (items[:, 0] == expected[:, 0]).mean() > 0.95
    assert (items[:, 1] == expected[:, 1]).mean() > 0.8
    later = M2TRec(model.config, more_items(one_of_each, [2]))
    later.restore(model.state())
    (vectors,), (known,) = later.item_blocks(), model.item_blocks()
    assert (vectors[:62] == known).all()
    assert (vectors[62] == vectors[9]).all()  # the eighth of that shelf, which nobody has visited either
    codes, texts = model.reasons(train, items)
    assert {texts[int(code)] for code in codes[:, 0]} == {"matched on category level 1", model.reason}


def test_an_item_known_by_its_hash_alone_is_matched_on_itself(shop: "Shop") -> None:
    model = fitted(shop, hashed_ids=True, popularity=True, metadata=False)
    items, _ = model.topk(shop.histories, 1, np.ones(62, bool))
    codes, texts = model.reasons(shop.histories, items)
    named = [texts[int(code)] for code in codes.ravel()]
    assert named.count("matched on the item itself") > 0.8 * len(named)


def test_what_a_catalogue_lacks_is_said(shop: "Shop", caplog: pytest.LogCaptureFixture) -> None:
    fields = dict(shop.catalogue.fields)
    fields |= {"brand": values(*[[2]] * shop.num_items), "category_2": fields["attribute:colour"]}
    for name in ("category_1", "category_2", "attribute:colour"):
        known = fields[name]
        fields[name] = Values(known.numbers[:-2], np.minimum(known.offsets, len(known.numbers) - 2), known.num_values)
    with caplog.at_level(logging.WARNING, "nightly"):
        model = fitted(shop, Catalogue(shop.num_items, fields), category_levels=1, num_epochs=1)
    assert caplog.messages == [
        "m2trec: field 'brand' is not used: all items have the same value",
        "m2trec: 2 of 60 items have no value in any field: no metadata tells them from one another",
        "m2trec: the category path is deeper than category_levels = 1: "
        "category_2 tells items apart, but is not predicted",
    ]
    items, scores = model.topk(shop.histories, 60, np.ones(62, bool))
    assert (scores[items == 60] == scores[items == 61]).all()


def test_a_catalogue_without_fields_needs_hashed_ids(shop: "Shop") -> None:
    bare = Catalogue(shop.num_items)
    dated = Catalogue(shop.num_items, {}, {FIRST_SEEN: np.arange(float(shop.num_items))})
    for catalogue in (bare, dated):
        with pytest.raises(UnfitCatalogue, match="knows items by their metadata, and no field of it tells them apart"):
            fitted(shop, catalogue)
    assert first_place(fitted(shop, bare, hashed_ids=True), shop) > 0.8
    with pytest.raises(ValueError, match="metadata and hashed_ids are both off"):
        changed(metadata=False)
    with pytest.raises(ValueError, match="compile works with causal attention only"):
        changed(compile=True, attention="bidirectional")


def test_only_the_free_head_and_hashed_ids_of_fixed_size_are_of_items(shop: "Shop") -> None:
    def num_weights(catalogue: Catalogue, **settings: Any) -> int:
        return sum(
            array.size
            for name, array in fitted(shop, catalogue, num_epochs=1, **settings).state().items()
            if "." in name
        )

    larger = more_items(shop.catalogue, [5] * 100)
    new_values = len(larger.fields) * TINY.field_dim + (TINY.dim + 1)  # each field has one more, and category_1 a head
    for settings, per_item in (({}, 0), ({"hashed_ids": True}, 0), ({"item_head": "free"}, TINY.dim)):
        grown = num_weights(larger, **settings) - num_weights(shop.catalogue, **settings)
        assert grown == new_values + 100 * per_item


def test_a_free_head_knows_no_items_but_those_it_was_fitted_on(shop: "Shop") -> None:
    model = fitted(shop, item_head="free", num_epochs=1)
    later = M2TRec(model.config, more_items(shop.catalogue, [5]))
    with pytest.raises(ValueError, match=r"free.weight of this m2trec is \(62, 32\), and \(63, 32\) here"):
        later.restore(model.state())


def test_an_item_that_nobody_touched_has_no_vector_of_its_own(shop: "Shop") -> None:
    train = shop.train.where(shop.train.items != 9)
    model = M2TRec(changed(hashed_ids=True, metadata=False, num_epochs=2), shop.catalogue)
    model.fit(train, seed=0)
    again = M2TRec(model.config, Catalogue(shop.num_items + 3))
    again.restore(model.state())
    (vectors,) = again.item_blocks()
    same = M2TRec(model.config, shop.catalogue)
    same.restore(model.state())
    (own,), (restored,) = model.item_blocks(), same.item_blocks()
    assert (own == restored).all()
    for new in range(shop.num_items, shop.num_items + 3):
        assert (vectors[new] == vectors[9]).all()
    assert (vectors[9] != vectors[8]).any()


def test_a_window_in_both_directions_asks_for_its_last_event(shop: "Shop", sequences: Make) -> None:
    model = M2TRec(changed(attention="bidirectional", length=3), shop.catalogue)
    epoch = model._epoch(sequences([2, 3, 4, 5, 6], [9, 8], [7]), np.random.default_rng(0), 1)
    (samples,) = epoch.batches
    windows = [[item for item in row if item] for row in epoch.batch(samples).tolist()]
    assert sorted(windows) == [[2, 3], [2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6], [9, 8]]
    model.fit(shop.train.cut(np.array([0]), np.array([9])), seed=0)
    model._encoder.eval()
    queries, targets = model.predictions(torch.tensor([[2, 3, 0, 0], [3, 4, 5, 6]]))
    assert (targets + FIRST_ITEM).tolist() == [3, 6]
    expected = model.queries(sequences([2], [3, 4, 5]))
    np.testing.assert_allclose(queries.numpy(force=True), expected, rtol=1e-4)


def test_before_it_has_learnt_it_expects_what_is_like_the_last_event(shop: "Shop") -> None:
    """An item is read and ranked by one vector."""
    model = M2TRec(changed(num_epochs=1, learning_rate=1e-9, dim=128), shop.catalogue)
    model.fit(shop.train, seed=0)
    items, _ = model.topk(shop.histories, 1, np.ones(62, bool))
    last = shop.histories.items[shop.histories.offsets[1:] - 1]
    assert (items[:, 0] == last).mean() > 0.9


def test_the_heads_learn_the_category_of_what_comes_next_by_their_weight(shop: "Shop") -> None:
    def category_loss(weight: float) -> float:
        model = M2TRec(changed(category_weight=weight, num_epochs=4), shop.catalogue)
        model.fit(shop.train, seed=0)
        queries = torch.from_numpy(model.queries(shop.histories))
        labels = (shop.targets.items.astype(np.int64) - FIRST_ITEM) // 8 + FIRST_VALUE
        with torch.inference_mode():
            return float(model._network.category_losses(queries, torch.from_numpy(labels)[None])[0])

    assert category_loss(0.5) < 0.7 * category_loss(0)


def test_vectors_come_in_bounded_blocks(model: M2TRec, shop: "Shop", monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = model.item_blocks()
    lists = model.topk(shop.histories, 9, np.ones(62, bool))
    monkeypatch.setattr(module, "STREAM_ITEMS", 25)
    blocks = list(model.item_blocks())
    assert [len(block) for block in blocks] == [25, 25, 12]
    assert (np.concatenate(blocks) == whole).all()
    assert (model.topk(shop.histories, 9, np.ones(62, bool))[0] == lists[0]).all()


def test_a_reason_names_the_field_that_the_score_rests_on(shop: "Shop") -> None:
    """What follows an item is of its own colour, and of any shelf: then only colour can have been the ground."""
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 8, 400)
    visits = (generator.integers(0, 7, (400, 6)) * 8 + colours[:, None] + FIRST_ITEM).astype(np.int32)
    train = Sequences(visits.ravel(), np.zeros(2400, np.int64), np.arange(0, 2401, 6))
    model = M2TRec(changed(num_epochs=3), shop.catalogue)
    model.fit(train, seed=0)
    histories = train.take(np.arange(50)).tail(3)
    items, _ = model.topk(histories, 5, np.ones(62, bool))
    codes, texts = model.reasons(histories, items)
    assert codes.shape == items.shape
    named = [texts[int(code)] for code in codes.ravel()]
    assert named.count("matched on colour") > 0.95 * len(named)


def test_two_fields_are_named_where_both_matter(model: M2TRec, shop: "Shop", monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = model.topk(shop.histories, 5, np.ones(62, bool))
    codes, texts = model.reasons(shop.histories, items)
    both = {"matched on colour and category level 1", "matched on category level 1 and colour"}
    named = {texts[int(code)] for code in codes[:, 0]}
    assert named & both
    assert named <= both | {"matched on colour", "matched on category level 1"}
    monkeypatch.setattr(module, "CHUNK_REASONS", 7)
    assert (model.reasons(shop.histories, items)[0] == codes).all()


def test_costs_become_codes() -> None:
    costs = np.array([[[3, 1, -1, 2]], [[2, 3, -2, 0.5]], [[0, 0, -3, 1]]], np.float32)  # of 3 parts, for 4 items
    texts = ["none", "a", "b", "c", *(x + y for x in "abc" for y in "abc")]
    assert [texts[int(code)] for code in module._most_costly(costs)[0]] == ["ab", "b", "none", "ac"]
    assert module._most_costly(costs[:1])[0].tolist() == [1, 1, 0, 1]


def test_a_free_head_has_no_field_to_name(shop: "Shop") -> None:
    model = fitted(shop, item_head="free", num_epochs=1)
    codes, texts = model.reasons(shop.histories, np.full((300, 2), 5, np.int32))
    assert {texts[int(code)] for code in codes.ravel()} == {"expected next"}
