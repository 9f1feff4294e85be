import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from models import training, unirec
from models.batches import Windows
from models.catalogue import Catalogue
from models.metrics import hit_at, relevance
from models.moment_batches import Batch, MomentEpoch
from models.negatives import NegativeSampler
from models.sequences import FIRST_ITEM, PADDING, SECONDS_PER_DAY, Sequences
from models.stages import StepRecord
from models.unirec import UniRec
from models.unirec_network import UniRecConfig
from tests.models.small_statistics import statistics_of

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]
DAY = SECONDS_PER_DAY
TINY = UniRecConfig(
    dim=16,
    context_dim=4,
    length=8,
    num_blocks=1,
    num_epochs=6,
    learning_rate=0.01,
    batch_size=32,
    ramp_epochs=3,
    tail_weight=1,
)
OFF: dict[str, Any] = {"sequence_weight": 0, "head_weight": 0, "tail_weight": 0}


def fitted(train: Sequences, num_items: int, kind: type[UniRec] = UniRec, **changes: Any) -> UniRec:
    model = kind(TINY.model_copy(update=changes), Catalogue(num_items))
    model.fit(train, seed=0, statistics=statistics_of(train, num_items))
    return model


def first_place(model: UniRec, shop: "Shop") -> float:
    items, _ = model.topk(shop.histories, 1, np.ones(shop.num_items, np.bool_))
    return float(hit_at(relevance(items, shop.targets), 1).mean())


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"ie_mode": "inject"},
        {"time_module": False},
        {"taste": False},
        {"score": "product"},
        {**OFF, "loss": "bce", "score": "product", "num_epochs": 14},
        {"teachers": "uneven", "curriculum": "published", "ramp_epochs": 6},
        {"loss": "sampled_softmax", "num_negatives": 40},
        {"precision": "bfloat16"},
        {"precision": "float32"},
    ],
)
def test_every_form_learns_a_planted_chain(shop: "Shop", how: dict[str, Any]) -> None:
    assert first_place(fitted(shop.train, shop.num_items, **how), shop) > 0.6


class Backbone(UniRec):
    """The network with the loss of the next item alone."""

    def _loss(self, sampler: NegativeSampler, batch: Batch, generator: np.random.Generator) -> tuple[Tensor, int]:
        real = batch.events[:, 1:, 0] != PADDING
        targets = batch.events[:, 1:, 0][real] - FIRST_ITEM
        queries = self._encoder(batch.events[:, :-1])[real]
        return self.token_loss(queries, targets, partial(sampler.draw, generator=generator)), len(targets)


def test_without_weight_the_enhancements_are_gone_bit_for_bit(shop: "Shop") -> None:
    plain = fitted(shop.train, shop.num_items, Backbone, num_epochs=2).state()
    without, with_all = (fitted(shop.train, shop.num_items, **how, num_epochs=2).state() for how in (OFF, {}))
    for name, weight in plain.items():
        assert np.array_equal(weight, without[name]), name
    assert not np.array_equal(plain["items.weight"], with_all["items.weight"])


@pytest.mark.parametrize("one", sorted(OFF))
def test_each_enhancement_changes_what_is_learnt(shop: "Shop", one: str) -> None:
    without, with_one = (
        fitted(shop.train, shop.num_items, **{**OFF, one: weight}, num_epochs=1) for weight in (0, 0.5)
    )
    assert not np.array_equal(without.state()["items.weight"], with_one.state()["items.weight"])


def test_years_that_training_has_not_seen_read_as_the_nearest(shop: "Shop") -> None:
    model = fitted(shop.train, shop.num_items, num_epochs=1)
    later = 400 * 365 * DAY
    moved = replace(shop.histories, times=shop.histories.times + later)
    allowed = np.ones(shop.num_items, np.bool_)
    assert model._reader.events(moved.items[None], moved.times[None])[0, :, 1].max() == 0
    _, scores = model.topk(moved, 5, allowed)
    assert np.isfinite(scores).all()


def test_equal_times_and_two_events_are_enough(sequences: Make) -> None:
    train = sequences(*[[2 + user % 5, 2 + (user + 1) % 5] for user in range(40)])
    model = fitted(train, 7, num_epochs=12)
    items, _ = model.topk(sequences([2], [3], [6], times=[0, 0, 0]), 1, np.ones(7, np.bool_))
    assert items[:, 0].tolist() == [3, 4, 2]


def test_times_that_run_backwards_are_refused(sequences: Make) -> None:
    with pytest.raises(ValueError, match="sequence 0: event 1 is older than the one before it"):
        sequences([2, 3], times=[10, 9])


def test_statistics_are_asked_for_and_must_be_those_of_the_training_part(shop: "Shop") -> None:
    model, statistics = UniRec(TINY, shop.catalogue), statistics_of(shop.train, shop.num_items)
    with pytest.raises(ValueError, match="unirec learns from the statistics of its training part: pass them to fit"):
        model.fit(shop.train, seed=0)
    with pytest.raises(ValueError, match="as of 2026-03-01 are of 300 subjects; the training part has 299"):
        model.fit(shop.train.take(np.arange(299)), seed=0, statistics=statistics)
    with pytest.raises(ValueError, match="are of 61 items; here there are 62"):
        model.fit(shop.train, seed=0, statistics=statistics_of(shop.train.where(shop.train.items < 61), 61))


@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_those_teach_who_are_asked_to(shop: "Shop", kind: str) -> None:
    """Where all users are of the other kind, nobody teaches, as if it had no weight."""
    all_, none = np.ones(len(shop.train), np.bool_), np.zeros(len(shop.train), np.bool_)
    known = statistics_of(shop.train, shop.num_items)
    of_kind = {"uniform": replace(known, is_uniform=all_, is_uneven=none)}
    of_kind["uneven"] = replace(known, is_uniform=none, is_uneven=all_)
    (others,) = (statistics for name, statistics in of_kind.items() if name != kind)
    states = []
    for statistics, weight in ((of_kind[kind], 0.5), (known, 0), (others, 0.5)):
        changes = {**OFF, "sequence_weight": weight, "teachers": kind, "num_epochs": 1}
        model = UniRec(TINY.model_copy(update=changes), shop.catalogue)
        model.fit(shop.train, seed=0, statistics=statistics)
        states.append(model.state()["items.weight"])
    taught, without, of_others = states
    assert np.array_equal(without, of_others)
    assert not np.array_equal(without, taught)


def test_the_published_form_finds_items_easy_whose_gaps_are_even(shop: "Shop") -> None:
    variance = np.full(shop.num_items, np.nan)
    variance[2:5] = 0, 30, 40
    model = UniRec(TINY.model_copy(update={"curriculum": "published", "num_epochs": 1}), shop.catalogue)
    model.fit(shop.train, seed=0, statistics=replace(statistics_of(shop.train, shop.num_items), gap_variance=variance))
    assert model._easiness[2:6].tolist() == [1, 0.25, 0, 1]


def test_of_many_neighbours_a_few_are_drawn_anew_each_time(shop: "Shop") -> None:
    model = UniRec(TINY.model_copy(update={"num_epochs": 1}), shop.catalogue)
    near = np.zeros((shop.num_items, 8), np.int32)
    near[5], near[6, :2] = np.arange(10, 18), [20, 21]
    model.fit(shop.train, seed=0, statistics=replace(statistics_of(shop.train, shop.num_items), neighbours=near))
    generator, met = np.random.default_rng(0), set()
    for _ in range(30):
        items, drawn = model._sampled_neighbours(np.array([4, 5, 6]), generator)
        assert items.tolist() == [5, 6]
        assert len(set(drawn[0].tolist())) == unirec.SAMPLED_NEIGHBOURS == 3
        assert sorted(drawn[1].tolist()) == [0, 20, 21]
        met |= set(drawn[0].tolist())
    assert met == set(range(10, 18))


@pytest.mark.parametrize("curriculum", ["monotone", "published"])
def test_a_warm_start_goes_on_where_the_curriculum_had_ended(shop: "Shop", curriculum: str) -> None:
    how: dict[str, Any] = {"ie_mode": "inject", "curriculum": curriculum, "num_epochs": 2, "ramp_epochs": 2}
    early = fitted(shop.train, shop.num_items, **how)
    later = UniRec(early.config.model_copy(update={"num_epochs": 1}), shop.catalogue)
    later.fit(shop.train, seed=1, start=early.state(), statistics=statistics_of(shop.train, shop.num_items))
    assert later.state()["share"] >= early.state()["share"] > 0.3


def test_a_warm_start_takes_over_the_weights_and_tonights_neighbours(shop: "Shop") -> None:
    early = fitted(shop.train, shop.num_items, ie_mode="inject", num_epochs=2)
    config = early.config.model_copy(update={"num_epochs": 1, "learning_rate": 1e-6})
    statistics = statistics_of(shop.train, shop.num_items)
    tonight = replace(statistics, neighbours=np.roll(statistics.neighbours, 1, axis=1))
    later = UniRec(config, shop.catalogue)
    later.fit(shop.train, seed=1, start=early.state(), statistics=tonight)
    np.testing.assert_allclose(later.state()["items.weight"], early.state()["items.weight"], atol=1e-3)
    assert np.array_equal(later.state()["neighbours"], tonight.neighbours[later.state()["rare"]])


def test_what_follows_a_rare_item_is_learnt_from_its_neighbours() -> None:
    """What follows each of ten items is seen often; each has a rare neighbour, after which nothing was ever seen.

    Each of the ten also has a frequent twin: so what is made of neighbours is learnt, and must not be the item itself.
    """
    generator = np.random.default_rng(0)
    pairs = generator.integers(0, 10, 600)
    firsts = np.where(generator.random(600) < 0.5, 2, 32) + pairs  # an item, or its twin
    rare = [[12 + (pair + 5) % 10, 22 + pair] for pair in range(10)] * 3
    items = np.array([*zip(firsts, 12 + pairs, strict=True), *rare], np.int32).ravel()
    train = Sequences(items, np.zeros(len(items), np.int64), np.arange(0, len(items) + 1, 2))
    near = np.zeros((42, 4), np.int32)
    near[22:32, 0], near[2:12, 0], near[32:, 0] = np.arange(2, 12), np.arange(32, 42), np.arange(2, 12)
    is_frequent = (np.arange(42) < 22) | (np.arange(42) >= 32)
    statistics = replace(statistics_of(train, 42), neighbours=near, is_frequent=is_frequent)
    asked = Sequences(np.arange(22, 32, dtype=np.int32), np.zeros(10, np.int64), np.arange(11))
    hits = {}
    for weight in (0.0, 10.0):
        config = TINY.model_copy(update={"head_weight": 0.3, "tail_weight": weight, "num_epochs": 12})
        model = UniRec(config, Catalogue(42))
        model.fit(train, seed=0, statistics=statistics)
        found, _ = model.topk(asked, 1, (np.arange(42) >= 12) & (np.arange(42) < 22))
        hits[weight] = int((found[:, 0] == np.arange(12, 22)).sum())
    assert hits[0.0] <= 3, hits
    assert hits[10.0] >= 8, hits


def batch_of(model: UniRec, train: Sequences, epoch: int) -> Batch:
    """Whole sequences, all of which may teach; items 2 and 3 are frequent."""
    windows = Windows(train, train.offsets[:-1], train.lengths)
    frequent = np.arange(model.num_items) < 4
    return MomentEpoch(windows, [], model._reader, np.ones(len(train), np.bool_), frequent, epoch).batch(
        np.arange(len(train))
    )


def test_the_state_after_the_last_input_teaches_that_after_the_last_one_left(
    shop: "Shop", sequences: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five events the last is asked for: the fourth is the last input. Of the shorter, whose rows end in padding."""
    model = fitted(shop.train, shop.num_items, num_epochs=1, ramp_epochs=12)
    batch = batch_of(model, sequences([5, 2, 6, 7, 4], [2, 8, 9, 4]), epoch=1)
    queries = torch.arange(8.0).reshape(2, 4, 1)  # 0 to 3 after the events of the first sequence, 4 to 7 of the other
    seen: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(unirec, "sequence_loss", lambda *parts: seen.append(parts))
    with torch.no_grad():
        model._sequence_loss(batch, queries)
        left = [batch.thinned[:1, :3], batch.thinned[1:, :2]]  # thinning leaves three events, and two
        alone = [model._network.match(model._network(events)[0, -1]) for events in left]
    ((told, teachers, weights),) = seen
    torch.testing.assert_close(told, torch.stack(alone))
    assert teachers[:, 0].tolist() == [3, 6]
    shares = torch.tensor([1 / 12 + 3 / 4, 1 / 12 + 2 / 3])  # of the ramp, and of the events
    torch.testing.assert_close(weights, (math.pi / 2 * shares).sin())


def test_items_are_compared_once_a_batch_with_what_their_neighbours_make_of_them(shop: "Shop", sequences: Make) -> None:
    model = UniRec(TINY.model_copy(update={"num_epochs": 1, "head_weight": 0.5, "tail_weight": 3}), shop.catalogue)
    statistics = statistics_of(shop.train, shop.num_items)
    near = np.zeros((shop.num_items, 1), np.int32)
    near[[2, 3, 5, 6], 0] = 9, 2, 2, 3  # 7 and 4 have none
    frequent = np.arange(shop.num_items) < 4
    model.fit(shop.train, seed=0, statistics=replace(statistics, is_frequent=frequent, neighbours=near))
    batch = batch_of(model, sequences([5, 2, 6, 7, 5], [5, 3, 4, 2]), epoch=2)
    weights = {name: torch.from_numpy(weight).double() for name, weight in model.state().items() if name[0] in "ei"}
    table, made = weights["items.weight"], weights["enhance.weight"]
    distances = [(table[i] - made @ table[near[i, 0]] - weights["enhance.bias"]).square() for i in (2, 3, 5, 6)]
    counts = np.log1p(np.bincount(shop.train.items))
    easy = torch.from_numpy(np.sin(np.pi / 2 * np.minimum(1, 2 / 3 + counts[2:4] / counts.max())))
    head = (torch.stack(distances[:2]).mean(dim=1) * easy).mean() / table[2:4].square().mean()
    tail = torch.stack(distances[2:]).mean() / table[5:7].square().mean()
    losses = [loss.item() for loss in model._item_losses(batch, np.random.default_rng(0))]
    expected = [0.5 * head.item(), 3 * math.sin(math.pi / 3) * tail.item()]  # two epochs of three
    assert losses == pytest.approx(expected, rel=1e-4)


def test_the_same_weights_rank_the_same_in_every_batch(shop: "Shop") -> None:
    model = fitted(shop.train, shop.num_items, num_epochs=1)
    with torch.inference_mode():
        together = model.queries(shop.histories)
        alone = np.concatenate([model.queries(shop.histories.take(np.array([row]))) for row in range(20)])
    assert np.array_equal(together[:20], alone)


@pytest.mark.parametrize("how", [{}, {"ie_mode": "inject"}])
def test_an_interrupted_fit_comes_to_the_same_weights(
    shop: "Shop", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    def stop(record: StepRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0)
    statistics = statistics_of(shop.train, shop.num_items)
    model = UniRec(TINY.model_copy(update={**how, "num_epochs": 3}), shop.catalogue)
    with pytest.raises(KeyboardInterrupt):
        model.fit(shop.train, seed=0, on_step=stop, folder=tmp_path, statistics=statistics)
    resumed = UniRec(model.config, shop.catalogue)
    report = resumed.fit(shop.train, seed=0, folder=tmp_path, statistics=statistics)
    assert report.records[-1].epoch == 3
    for name, array in fitted(shop.train, shop.num_items, **how, num_epochs=3).state().items():
        assert np.array_equal(array, resumed.state()[name]), name


def test_a_loss_that_breaks_down_leaves_its_batch(shop: "Shop", tmp_path: Path) -> None:
    model = UniRec(TINY.model_copy(update={"learning_rate": 1e30, "clip_norm": 1e30}), shop.catalogue)
    with pytest.raises(FloatingPointError, match=r"the batch and the largest gradients are in .*safetensors"):
        model.fit(shop.train, seed=0, folder=tmp_path, statistics=statistics_of(shop.train, shop.num_items))
    (path,) = tmp_path.glob("*.safetensors")
    assert {"samples", "events", "teachers", "thinned", "epoch"} <= set(load_file(path))


def test_a_restored_model_reads_rare_items_as_before(shop: "Shop") -> None:
    model = fitted(shop.train, shop.num_items, ie_mode="inject", num_epochs=1)
    state = model.state()
    assert len(state["rare"])
    assert state["share"] > 0
    restored = UniRec(model.config, shop.catalogue)
    restored.restore(state)
    assert np.array_equal(restored.queries(shop.histories), model.queries(shop.histories))
