from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.blend import Blend, BlendConfig, Part
from models.catalogue import Catalogue
from models.markov import Markov, MarkovConfig
from models.recommender import Validation
from models.sequences import Sequences

if TYPE_CHECKING:
    from tests.models.conftest import Shop

Make = Callable[..., Sequences]


def test_shares_are_summed_by_weight(sequences: Make) -> None:
    config = BlendConfig(first=Part(model="markov"), second=Part(model="session_knn"), weight=0.25)
    model = Blend(config, Catalogue(6))
    model.fit(sequences([2, 3], [2, 4], [2, 4, 5]), seed=0)
    # Markov: after 2 comes 3 once and 4 twice. Session-kNN: each holds 2, lengths 2, 2 and 3.
    short, long = 1 / 2**0.5, 1 / 3**0.5
    neighbours = np.array([2 * short + long, short, short + long, long])
    expected = 0.75 * np.array([0, 1, 2, 0]) / 3 + 0.25 * neighbours / neighbours.sum()
    np.testing.assert_allclose(model.found(sequences([2])).toarray()[0, 2:], expected, rtol=1e-6)


def test_the_validation_part_chooses_the_weight_and_the_choice_repeats_it(shop: "Shop") -> None:
    """What comes next is planted, so the transitions alone are best: the second model gets little weight."""
    settings = BlendConfig(first=Part(model="markov", settings={"query_events": 1}), weight=0.9)
    model = Blend(settings, shop.catalogue)
    report = model.fit(shop.train, Validation(shop.histories, shop.targets), seed=0)
    assert isinstance(report.chosen, BlendConfig)
    assert report.chosen.weight <= 0.5
    assert [record.stage for record in report.records] == ["first", "second", "weight"]
    again = Blend(report.chosen, shop.catalogue)
    again.fit(shop.train, Validation(shop.histories, shop.targets), seed=0)
    for ours, theirs in zip(model.state().values(), again.state().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_weight_of_0_is_the_first_model_alone(shop: "Shop") -> None:
    blend = Blend(BlendConfig(first=Part(model="markov"), weight=0), shop.catalogue)
    alone = Markov(MarkovConfig(), shop.catalogue)
    for model in (blend, alone):
        model.fit(shop.train, seed=0)
    lists = [model.topk(shop.histories, 5, np.ones(shop.num_items, np.bool_))[0] for model in (blend, alone)]
    assert (lists[0] == lists[1]).all()


def test_a_setting_that_the_part_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no setting 'num_step': did you mean 'num_steps'"):
        Part(model="markov", settings={"num_step": 2})
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Part(model="markov", settings={"num_steps": 0})


def test_two_times_the_same_is_no_blend() -> None:
    with pytest.raises(ValueError, match="first and second are the same markov"):
        BlendConfig(first=Part(model="markov"), second=Part(model="markov", settings={"num_steps": 1}))
    BlendConfig(first=Part(model="markov"), second=Part(model="markov", settings={"num_steps": 2}))
