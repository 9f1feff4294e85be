from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.catalogue import Catalogue
from models.metrics import hit_at, relevance
from models.recommender import Validation
from models.sasrec import SasRec, SasRecConfig
from models.sequences import Sequences

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]
TINY = SasRecConfig(dim=16, length=8, num_blocks=1, num_epochs=6, learning_rate=0.01, batch_size=32, num_negatives=40)


def first_place(model: SasRec, shop: "Shop | Padded") -> float:
    items, _ = model.topk(shop.histories, 1, np.ones(shop.num_items, np.bool_))
    return float(hit_at(relevance(items, shop.targets), 1).mean())


@pytest.mark.parametrize(
    "how",
    [
        {"loss": "sampled_softmax", "negatives": "uniform"},
        {"loss": "sampled_softmax", "negatives": "popularity"},
        {"loss": "sampled_softmax", "negatives": "in_batch"},
        {"loss": "bce", "num_epochs": 12},
        {"loss": "gbce", "num_epochs": 30, "learning_rate": 0.02},
        {"precision": "bfloat16"},
        {"precision": "float32", "schedule": "cosine", "warmup_steps": 5},
    ],
)
def test_every_loss_learns_a_planted_chain(shop: "Shop", how: dict[str, Any]) -> None:
    model = SasRec(TINY.model_copy(update=how), shop.catalogue)
    model.fit(shop.train, seed=0)
    assert first_place(model, shop) > 0.8


def test_a_warm_start_begins_with_what_was_known_and_takes_new_items(shop: "Shop", sequences: Make) -> None:
    early = SasRec(TINY, shop.catalogue)
    early.fit(shop.train, seed=0)
    grown = SasRec(TINY.model_copy(update={"num_epochs": 1, "learning_rate": 1e-6}), Catalogue(shop.num_items + 3))
    cold = SasRec(grown.config, Catalogue(shop.num_items + 3))
    grown.fit(shop.train, seed=1, start=early.state())
    cold.fit(shop.train, seed=1)
    assert first_place(grown, Padded(shop)) > 0.8 > 0.3 > first_place(cold, Padded(shop))
    (known,), (vectors,) = early.item_blocks(), grown.item_blocks()
    np.testing.assert_allclose(vectors[: shop.num_items], known, atol=1e-3)
    assert np.abs(vectors[shop.num_items :]).max() > 0


class Padded:
    """The shop with three more items in its catalogue."""

    def __init__(self, shop: "Shop") -> None:
        self.num_items = shop.num_items + 3
        self.histories, self.targets = shop.histories, shop.targets


def test_weights_of_another_shape_are_no_start(shop: "Shop") -> None:
    other = SasRec(TINY.model_copy(update={"dim": 8, "num_epochs": 1}), shop.catalogue)
    other.fit(shop.train, seed=0)
    with pytest.raises(
        ValueError, match=r"cannot start from these weights: items.weight is \(62, 8\), here \(62, 16\)"
    ):
        SasRec(TINY, shop.catalogue).fit(shop.train, seed=0, start=other.state())
    deeper = SasRec(TINY.model_copy(update={"num_blocks": TINY.num_blocks + 1, "num_epochs": 1}), shop.catalogue)
    deeper.fit(shop.train, seed=0)
    with pytest.raises(ValueError, match=r"blocks\.\d\.\S+ is in one of the networks only"):
        SasRec(TINY, shop.catalogue).fit(shop.train, seed=0, start=deeper.state())
    larger = SasRec(TINY, Catalogue(shop.num_items + 1))
    larger.fit(shop.train, seed=0)
    with pytest.raises(ValueError, match=r"cannot start from these weights: items\.weight"):
        SasRec(TINY, shop.catalogue).fit(shop.train, seed=0, start=larger.state())


@pytest.mark.all  # compiling takes most of a minute
def test_an_early_stop_works_with_a_compiled_network(shop: "Shop") -> None:
    config = TINY.model_copy(update={"compile": True, "num_epochs": 2, "precision": "float32"})
    model, plain = SasRec(config, shop.catalogue), SasRec(config.model_copy(update={"compile": False}), shop.catalogue)
    validation = Validation(shop.histories, shop.targets)
    ours, theirs = (each.fit(shop.train, validation, seed=0).records for each in (model, plain))
    assert [record.loss for record in ours] == pytest.approx([record.loss for record in theirs], rel=0.05)
