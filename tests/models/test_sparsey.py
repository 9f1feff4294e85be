import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import sparsey as module
from models.catalogue import Catalogue
from models.checkpoint import read_state, save
from models.metrics import hit_at, relevance
from models.recommender import UnfitStart, Validation
from models.sequences import Sequences
from models.sparsey import Sparsey, SparseyConfig

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]
State = dict[str, NDArray[Any]]
NIGHTLY = SparseyConfig(num_units=256, generation_days=1, max_fill=1)


def first_days(shop: "Shop", num_days: int) -> Sequences:
    return shop.train.where(shop.train.times < num_days * 86_400)


def fitted(
    shop: "Shop", train: Sequences, start: State | None = None, config: SparseyConfig = NIGHTLY, seed: int = 1
) -> Sparsey:
    model = Sparsey(config, shop.catalogue)
    model.fit(train, seed=seed, start=start)
    return model


def assert_same(one: Sparsey, other: Sparsey) -> None:
    first, second = one.state(), other.state()
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.fixture
def learnt_days(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The days of the generations that are learnt from here on."""
    days: list[int] = []
    learn = module.learn_bank

    def recorded(generation: Any, *others: Any) -> Any:
        days.append(generation.day)
        return learn(generation, *others)

    monkeypatch.setattr(module, "learn_bank", recorded)
    return days


def test_what_always_follows_is_found(shop: "Shop") -> None:
    for config in (NIGHTLY, SparseyConfig()):
        one_step = {"moments_weight": 1.0, "persistence": 1, "num_moments": 1}
        model = fitted(shop, shop.train, config=config.model_copy(update=one_step))
        items, _ = model.topk(shop.histories, 1, np.ones(model.num_items, np.bool_))
        assert hit_at(relevance(items, shop.targets), 1).mean() > 0.9


def test_a_night_adds_one_bank_and_is_what_all_days_at_once_are(shop: "Shop", learnt_days: list[int]) -> None:
    before = fitted(shop, first_days(shop, 10))
    assert learnt_days == list(range(10))
    learnt_days.clear()
    after = fitted(shop, first_days(shop, 11), before.state())
    assert learnt_days == [10]
    assert_same(after, fitted(shop, first_days(shop, 11)))


def test_a_night_goes_on_from_a_checkpoint(shop: "Shop", learnt_days: list[int], tmp_path: Path) -> None:
    save(tmp_path / "night", fitted(shop, first_days(shop, 10)), "hash", date(1970, 1, 10))
    learnt_days.clear()
    after = fitted(shop, first_days(shop, 11), read_state(tmp_path / "night"))
    assert learnt_days == [10]
    assert_same(after, fitted(shop, first_days(shop, 11)))


def test_it_says_how_many_banks_were_learnt(shop: "Shop", caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nightly.sparsey")
    start = fitted(shop, first_days(shop, 3)).state()
    fitted(shop, first_days(shop, 4), start)
    fitted(shop, first_days(shop, 4), fitted(shop, first_days(shop, 4)).state())
    told = [message.partition(";")[0] for message in caplog.messages]
    assert told == ["sparsey: learnt 3 of 3 banks", "sparsey: learnt 1 of 4 banks", "sparsey: learnt 4 of 4 banks"]
    familiar = float(caplog.messages[0].partition("; ")[2].partition(" %")[0])
    assert 0 < familiar < 100


def test_who_is_forgotten_costs_the_banks_in_which_they_were(shop: "Shop", learnt_days: list[int]) -> None:
    """One user was there on days 3 to 5 alone, and is the only one who ever touched the last item."""
    times = np.concatenate([shop.train.times, np.array([3, 4, 5]) * 86_400 + 1])
    items = np.concatenate([shop.train.items, np.full(3, shop.num_items)]).astype(np.int32)
    offsets = np.append(shop.train.offsets, len(items))
    catalogue = Catalogue(shop.num_items + 1)
    config = NIGHTLY.model_copy(update={"events_before": 0})
    whole, without = Sequences(items, times, offsets), Sequences(items[:-3], times[:-3], offsets[:-1])
    model = Sparsey(config, catalogue)
    model.fit(whole, seed=1)
    learnt_days.clear()
    forgotten = Sparsey(config, catalogue)
    forgotten.fit(without, seed=1, start=model.state())
    assert learnt_days == [3, 4, 5]
    assert any(bank.episodes.offsets[-1] != bank.episodes.offsets[-2] for bank in model._banks)
    for bank in forgotten._banks:
        for name, links in bank.links().items():
            assert name == "following" or links.offsets[-1] == links.offsets[-2]
            assert name != "following" or shop.num_items not in links.columns
    fresh = Sparsey(config, catalogue)
    fresh.fit(without, seed=1)
    assert_same(forgotten, fresh)


def test_banks_of_another_configuration_are_refused_with_both_hashes(shop: "Shop") -> None:
    state = fitted(shop, first_days(shop, 3)).state()
    other = Sparsey(NIGHTLY.model_copy(update={"num_modules": 16}), shop.catalogue)
    hashes = rf"{NIGHTLY.stored_with()}, not {other.config.stored_with()}"
    with pytest.raises(ValueError, match=hashes):
        other.restore(state)
    with pytest.raises(UnfitStart, match=hashes):
        other.fit(shop.train, seed=1, start=state)


def test_how_a_history_asks_is_no_part_of_the_banks(shop: "Shop") -> None:
    state = fitted(shop, first_days(shop, 3)).state()
    model = Sparsey(NIGHTLY.model_copy(update={"power": 3.0, "half_life_days": 2.0}), shop.catalogue)
    model.restore(state)
    assert [bank.day for bank in model._banks] == [0, 1, 2]


def test_both_ways_of_storing_episodes_list_the_same(shop: "Shop") -> None:
    state = fitted(shop, shop.train).state()
    dense = Sparsey(NIGHTLY.model_copy(update={"storage": "dense"}), shop.catalogue)
    sparse = Sparsey(NIGHTLY, shop.catalogue)
    for model in (dense, sparse):
        model.restore(state)
    one, other = (model.topk(shop.train, 10, np.ones(shop.num_items, np.bool_)) for model in (dense, sparse))
    np.testing.assert_allclose(one[1], other[1], atol=2e-5)
    assert (one[0] == other[0]).mean() > 0.99  # but for sums that differ by rounding


def test_older_generations_count_less(sequences: Make) -> None:
    """On day 0 item 3 follows item 2, on day 9 item 4 does."""
    days = np.repeat([0] * 20 + [9] * 20, 2) * 86_400
    pairs = sequences(*[[2, 3]] * 20, *[[2, 4]] * 20, times=days.tolist())
    config = NIGHTLY.model_copy(update={"half_life_days": 3.0})
    model = Sparsey(config, Catalogue(6))
    model.fit(pairs, seed=0)
    items, scores = model.topk(sequences([2]), 2, np.arange(6) > 2)
    assert items.tolist() == [[4, 3]]
    assert scores[0, 0] > 4 * scores[0, 1]
    equal = Sparsey(config.model_copy(update={"half_life_days": 1e9}), Catalogue(6))
    equal.fit(pairs, seed=0)
    _, scores = equal.topk(sequences([2]), 2, np.arange(6) > 2)
    assert scores[0, 0] < 1.2 * scores[0, 1]


def test_old_generations_are_dropped_and_the_newest_never(sequences: Make) -> None:
    days = np.arange(0, 40, 2)
    known = sequences(*[[2, 3]] * 20, times=(np.repeat(days, 2) * 86_400).tolist())
    for num_days, half_life, expected in ((1, 1.0, [28, 30, 32, 34, 36, 38]), (7, 0.1, [35]), (7, 1.0, [28, 35])):
        model = Sparsey(SparseyConfig(num_units=64, generation_days=num_days, half_life_days=half_life), Catalogue(4))
        model.fit(known, seed=0)
        assert [bank.day for bank in model._banks] == expected


def test_what_has_no_weight_any_more_is_not_found(sequences: Make) -> None:
    """After 365 half-lives the weight of a bank, and after 300 moments that of an event, is no number of 32 bits."""
    days = np.repeat([0, 365], [400, 2]) * 86_400
    known = sequences([*range(2, 202), *range(2, 202)], [2, 3], times=days.tolist())
    config = SparseyConfig(
        num_units=64, generation_days=1, half_life_days=1, query_events=100, num_moments=100, decay=0.01, max_fill=1
    )
    model = Sparsey(config, Catalogue(202))
    model.fit(known, seed=0)
    asked = sequences(list(range(2, 202)), [2])
    items, scores = model.topk(asked, 3, np.ones(202, np.bool_))
    assert (items[1] == 3).any()
    assert np.isfinite(scores).all()
    assert model.found(asked).toarray()[1, 4:].max() == 0


def test_a_generation_that_would_fill_its_bank_is_stored_in_several(
    shop: "Shop", caplog: pytest.LogCaptureFixture
) -> None:
    config = SparseyConfig(num_units=256, max_fill=0.02, moments_weight=0.7, persistence=1)
    with caplog.at_level(logging.WARNING, "nightly"):
        model = fitted(shop, shop.train, config=config)
    assert len(model._banks) > 1
    assert f"have several: {len(model._banks)} for all days" in caplog.text
    for bank in model._banks:
        assert bank.moments.following.fill < 0.03
    items, _ = model.topk(shop.histories, 1, np.ones(model.num_items, np.bool_))
    assert hit_at(relevance(items, shop.targets), 1).mean() > 0.5


def test_the_validation_part_chooses_the_weight_of_the_moments(shop: "Shop") -> None:
    model = Sparsey(SparseyConfig(num_units=256), shop.catalogue)
    report = model.fit(shop.train, Validation(shop.histories, shop.targets), seed=0)
    assert isinstance(report.chosen, SparseyConfig)
    assert report.chosen.moments_weight > 0.3  # only the last event tells what follows
    again = Sparsey(report.chosen, shop.catalogue)
    again.fit(shop.train, Validation(shop.histories, shop.targets), seed=0)
    assert_same(model, again)


def test_an_item_that_nobody_touched_is_found_by_its_values_alone(shop: "Shop") -> None:
    model = fitted(shop, shop.train.where(shop.train.items != 9), config=SparseyConfig(num_units=256))
    items, scores = model.topk(shop.histories, 1, np.arange(model.num_items) == 9)
    assert (items == 9).all()
    assert model.reached(scores).any()


def test_the_reason_names_the_memory_that_gave_most(shop: "Shop", sequences: Make) -> None:
    """Items 2 and 3 are always together, 5 always follows 4 and nobody asks for more than the last item."""
    pieces = [[2, 3]] * 5 + [[4, 5]] * 5 + [[4, 5, 6]] * 5
    config = SparseyConfig(num_units=256, choose_weight=False, moments_weight=0.5, attributes_weight=0.1)
    train = sequences(*pieces)
    model = fitted(shop, train, config=config)
    items = np.array([[3, 9], [5, 9]], np.int32)
    asked = sequences([2], [4])
    places, texts = model.reasons(asked, items)
    answers = model._answers(asked)
    parts = [answer * share for answer, share in zip(answers, model._shares(answers, 0.5), strict=True)]
    for row, column in np.ndindex(places.shape):
        given = [part.toarray()[row, items[row, column]] for part in parts]
        assert given[places[row, column]] == max(given)
    assert texts[places[0, 1]] == "is like what came next after the last of these items"
    moments = fitted(shop, train, config=config.model_copy(update={"moments_weight": 1.0}))
    places, texts = moments.reasons(asked, items)
    assert texts[places[1, 0]] == "came next after the last of these items"
    episodes = fitted(shop, train, config=config.model_copy(update={"moments_weight": 0.0}))
    places, texts = episodes.reasons(asked, items)
    assert texts[places[0, 0]] == "was together with these items in sequences like this one"


def test_behaviour_that_changes_is_less_familiar(shop: "Shop", sequences: Make) -> None:
    model = fitted(shop, shop.train, config=SparseyConfig(num_units=4096))
    generator = np.random.default_rng(0)
    strangers = sequences(*generator.integers(2, shop.num_items, (200, 15)).tolist())
    usual, changed = (model.familiarity(some).mean() for some in (shop.train, strangers))
    assert usual > 0.95
    assert changed < usual - 0.2
