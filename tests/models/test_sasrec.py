from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from models.catalogue import Catalogue
from models.metrics import hit_at, relevance
from models.popular import Popular, PopularConfig
from models.recommender import Recommender, Validation
from models.sasrec import Network, SasRec, SasRecConfig
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
    model, floor = SasRec(TINY, shop.catalogue), Popular(PopularConfig(), shop.catalogue)
    model.fit(shop.train, seed=0)
    floor.fit(shop.train, seed=0)
    assert first_place(model, shop) > 0.9
    assert first_place(floor, shop) < 0.3


def test_no_position_sees_a_later_one() -> None:
    torch.manual_seed(0)
    network = Network(SasRecConfig(dim=8, num_heads=2, length=6), 10).double().eval()
    short, long = torch.tensor([[2, 3, 4]]), torch.tensor([[2, 3, 4, 9, 0]])
    torch.testing.assert_close(network(long)[:, :3], network(short), rtol=0, atol=1e-12)
    assert not torch.allclose(network(long)[:, 3], network(short)[:, 2])


def test_the_last_position_alone_is_what_it_is_among_all() -> None:
    torch.manual_seed(0)
    network = Network(SasRecConfig(dim=8, num_heads=2, length=6), 10).double().eval()
    items, last = torch.tensor([[2, 3, 4, 0], [5, 0, 0, 0], [9, 8, 7, 6]]), torch.tensor([2, 0, 3])
    torch.testing.assert_close(network.at(items, last), network(items)[torch.arange(3), last], rtol=0, atol=1e-12)


def test_order_matters_and_unknown_items_do_not(shop: "Shop", sequences: Make) -> None:
    model = SasRec(TINY, shop.catalogue)
    model.fit(shop.train, seed=0)
    vectors = model.queries(sequences([5, 6], [6, 5], [1, 5, 1, 6]))
    assert not np.allclose(vectors[0], vectors[1])
    assert (vectors[0] == vectors[2]).all()


def test_training_repeats_exactly_and_depends_on_the_seed(shop: "Shop") -> None:
    def losses(seed: int) -> list[float]:
        report = SasRec(TINY.model_copy(update={"num_epochs": 2}), shop.catalogue).fit(shop.train, seed=seed)
        return [record.loss for record in report.records]

    before = torch.get_rng_state()
    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_stops_early_and_the_choice_repeats_it(shop: "Shop") -> None:
    validation = Validation(shop.histories, shop.targets)
    config = TINY.model_copy(update={"num_epochs": 40, "patience": 2})
    model = SasRec(config, shop.catalogue)
    report = model.fit(shop.train, validation, seed=0)
    metrics = [record.metric for record in report.records if record.metric == record.metric]
    assert len(metrics) < 40
    assert isinstance(report.chosen, SasRecConfig)
    assert report.chosen.num_epochs == int(np.argmax(metrics)) + 1
    again = SasRec(report.chosen, shop.catalogue)
    again.fit(shop.train, seed=0)
    assert (again.queries(shop.histories) == model.queries(shop.histories)).all()


def test_histories_without_a_pair_are_refused(sequences: Make) -> None:
    with pytest.raises(ValueError, match="no training history has two known items"):
        SasRec(TINY, Catalogue(5)).fit(sequences([2], [3, 1]), seed=0)


def test_heads_must_divide_the_features() -> None:
    with pytest.raises(ValueError, match="dim 64 is not a multiple of num_heads 3"):
        SasRecConfig(num_heads=3)
