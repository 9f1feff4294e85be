import subprocess
import sys

import pytest

from models.catalogue import Catalogue
from models.markov import Markov, MarkovConfig
from models.popular import PopularConfig
from models.registry import build, configure, learns_by_gradient, model_class, names


@pytest.mark.parametrize("name", names())
def test_every_line_leads_to_a_complete_model(name: str) -> None:
    found = model_class(name)
    assert found.name == name
    assert found.label
    assert list(found.presets) == ["tiny", "small", "paper"]
    assert all(type(config) is found.Config for config in found.presets.values())
    model = build(name, "tiny", Catalogue(5))
    assert isinstance(model, found)
    assert model.config == found.presets["tiny"]


def test_a_configuration_may_be_given() -> None:
    model = build("markov", MarkovConfig(num_steps=2), Catalogue(5))
    assert isinstance(model, Markov)
    assert model.config.num_steps == 2


def test_wrong_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no model 'sasreg': did you mean 'sasrec'"):
        model_class("sasreg")
    with pytest.raises(ValueError, match="markov has no preset 'smal': did you mean 'small'"):
        build("markov", "smal", Catalogue(5))
    with pytest.raises(ValueError, match="markov takes a MarkovConfig"):
        build("markov", PopularConfig(), Catalogue(5))


def test_the_models_that_learn_by_gradient_are_known_without_importing_them() -> None:
    for name in names():
        assert learns_by_gradient(name) is not model_class(name).capabilities.trains_without_gradient


def test_a_preset_can_be_changed_in_some_settings() -> None:
    config = configure("markov", "paper", {"num_steps": 2})
    assert config == MarkovConfig(num_steps=2, query_decay=0.6)
    with pytest.raises(ValueError, match="no setting 'num_step': did you mean 'num_steps'"):
        configure("markov", "paper", {"num_step": 2})
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        configure("markov", "paper", {"num_steps": 0})


def test_listing_and_the_floors_load_no_torch() -> None:
    code = (
        "import sys, models.registry as r; r.names(); [r.model_class(n) for n in ('popular', 'markov', 'itemknn')];"
        "import models.checkpoint, models.metrics; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
