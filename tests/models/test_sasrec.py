from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.metrics import hit_at, relevance
from models.popular import Popular, PopularConfig
from models.recommender import Recommender, Validation
from models.sasrec import Network, SasRec, SasRecConfig, training_windows
from models.sequences import Sequences

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]
TINY = SasRecConfig(dim=16, length=8, num_blocks=1, num_epochs=6, learning_rate=0.01, batch_size=32)


def first_place(model: Recommender, shop: "Shop") -> float:
    """Return the share of cases whose target stands first."""
    items, _ = model.topk(shop.histories, 1, np.ones(shop.num_items, np.bool_))
    return float(hit_at(relevance(items, shop.targets), 1).mean())


def test_a_planted_chain_is_learnt_far_better_than_popularity(shop: "Shop") -> None:
    model, floor = SasRec(TINY, shop.num_items), Popular(PopularConfig(), shop.num_items)
    model.fit(shop.train, seed=0)
    floor.fit(shop.train, seed=0)
    assert first_place(model, shop) > 0.9
    assert first_place(floor, shop) < 0.3


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5), length=st.integers(1, 7), seed=st.integers(0, 3))
def test_windows_make_every_event_but_the_first_a_target_once(
    sequences: Make, lengths: list[int], length: int, seed: int
) -> None:
    events = iter(range(2, 2 + sum(lengths)))
    histories = sequences(*([next(events) for _ in range(n)] for n in lengths))
    windows = training_windows(histories, length, np.random.default_rng(seed))
    padded = windows.right_padded(length + 1)
    targets = padded[:, 1:][padded[:, 1:] > 0]
    not_first = histories.items[histories.positions > 0]
    assert sorted(targets) == sorted(not_first)
    assert ((windows.lengths >= 2) & (windows.lengths <= length + 1)).all()


def test_short_histories_are_not_cut(sequences: Make) -> None:
    histories = sequences([2, 3, 4, 5], [6], [])
    windows = training_windows(histories, 3, np.random.default_rng(0))
    assert windows.items.tolist() == [2, 3, 4, 5]
    assert len(windows) == 1


def test_no_position_sees_a_later_one() -> None:
    torch.manual_seed(0)
    network = Network(SasRecConfig(dim=8, num_heads=2, length=6), 10).double().eval()
    short, long = torch.tensor([[2, 3, 4]]), torch.tensor([[2, 3, 4, 9, 0]])
    torch.testing.assert_close(network(long)[:, :3], network(short), rtol=0, atol=1e-12)
    assert not torch.allclose(network(long)[:, 3], network(short)[:, 2])


def test_order_matters_and_unknown_items_do_not(shop: "Shop", sequences: Make) -> None:
    model = SasRec(TINY, shop.num_items)
    model.fit(shop.train, seed=0)
    scores = model.scores(sequences([5, 6], [6, 5], [1, 5, 1, 6]))
    assert not np.allclose(scores[0], scores[1])
    assert (scores[0] == scores[2]).all()


def test_training_repeats_exactly_and_depends_on_the_seed(shop: "Shop") -> None:
    def losses(seed: int) -> list[float]:
        report = SasRec(TINY.model_copy(update={"num_epochs": 2}), shop.num_items).fit(shop.train, seed=seed)
        return [record.loss for record in report.records]

    before = torch.get_rng_state()
    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_stops_early_and_the_choice_repeats_it(shop: "Shop") -> None:
    validation = Validation(shop.histories, shop.targets)
    config = TINY.model_copy(update={"num_epochs": 40, "patience": 2})
    model = SasRec(config, shop.num_items)
    report = model.fit(shop.train, validation, seed=0)
    metrics = [record.metric for record in report.records if record.metric == record.metric]
    assert len(metrics) < 40
    assert isinstance(report.chosen, SasRecConfig)
    assert report.chosen.num_epochs == int(np.argmax(metrics)) + 1
    again = SasRec(report.chosen, shop.num_items)
    again.fit(shop.train, seed=0)
    assert (again.scores(shop.histories) == model.scores(shop.histories)).all()


def test_histories_without_a_pair_are_refused(sequences: Make) -> None:
    with pytest.raises(ValueError, match="no training history has two known items"):
        SasRec(TINY, 5).fit(sequences([2], [3, 1]), seed=0)


def test_heads_must_divide_the_features() -> None:
    with pytest.raises(ValueError, match="dim 64 is not a multiple of num_heads 3"):
        SasRecConfig(num_heads=3)
