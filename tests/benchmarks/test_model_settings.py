import pytest

from benchmarks.model_settings import SETTINGS, VARIANTS, entrant, entrants
from benchmarks.protocols import PROTOCOLS
from models.registry import model_class, names


@pytest.mark.parametrize(("task", "model"), SETTINGS)
def test_settings_name_a_task_and_a_model_and_change_what_is_named(task: str, model: str) -> None:
    assert task in PROTOCOLS
    assert model in names()
    (_, chosen), preset = entrant(task, model), model_class(model).presets["small"]
    changed = {name for name, value in chosen if value != getattr(preset, name)}
    assert changed == set(SETTINGS[task, model])


def test_all_others_take_the_preset() -> None:
    assert entrant("lightgcn_gowalla", "markov") == (model_class("markov"), model_class("markov").presets["small"])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_its_model_with_other_settings(name: str) -> None:
    model, variation = VARIANTS[name]
    for task in PROTOCOLS:
        (kind, chosen), (plain_kind, plain) = entrant(task, name), entrant(task, model)
        assert kind is plain_kind
        assert chosen == plain.model_copy(update=dict(variation)) != plain


def test_every_entrant_can_be_made() -> None:
    for name in entrants():
        kind, config = entrant("diginetica", name)
        assert isinstance(config, kind.Config)
