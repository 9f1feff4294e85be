import pytest

from benchmarks.model_settings import SETTINGS, settings_of
from benchmarks.protocols import PROTOCOLS
from models.registry import model_class, names


@pytest.mark.parametrize(("task", "model"), SETTINGS)
def test_settings_name_a_task_and_a_model_and_change_what_is_named(task: str, model: str) -> None:
    assert task in PROTOCOLS
    assert model in names()
    chosen, preset = settings_of(task, model), model_class(model).presets["small"]
    changed = {name for name, value in chosen if value != getattr(preset, name)}
    assert changed == set(SETTINGS[task, model])


def test_all_others_take_the_preset() -> None:
    assert settings_of("lightgcn_gowalla", "markov") == model_class("markov").presets["small"]
