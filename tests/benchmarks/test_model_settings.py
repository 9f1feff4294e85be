import pytest

from benchmarks.model_settings import SETTINGS, STATISTICS, VARIANTS, draws, entrant, entrants
from benchmarks.protocols import PROTOCOLS
from models.registry import configure, model_class, names


@pytest.mark.parametrize(("task", "name"), SETTINGS)
def test_settings_name_a_task_and_a_model_and_change_what_is_named(task: str, name: str) -> None:
    assert task in PROTOCOLS
    assert name in {*names(), *VARIANTS}
    model, variation = VARIANTS.get(name, (name, {}))
    _, chosen = entrant(task, name)
    of_model = SETTINGS.get((task, model), {}) if name != model else {}
    without = configure(model, "small", {**of_model, **variation})
    assert {setting for setting, value in chosen if value != getattr(without, setting)} == {*SETTINGS[task, name]}
    assert SETTINGS[task, name].items() <= chosen.model_dump().items()


def test_all_others_take_the_preset() -> None:
    assert entrant("lightgcn_gowalla", "markov") == (model_class("markov"), model_class("markov").presets["small"])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_its_model_with_other_settings(name: str) -> None:
    model, variation = VARIANTS[name]
    differs = name in STATISTICS
    for task in PROTOCOLS:
        (kind, chosen), (plain_kind, plain) = entrant(task, name), entrant(task, model)
        assert kind is plain_kind
        changed = {**plain.model_dump(), **variation, **SETTINGS.get((task, name), {})}
        assert chosen == plain_kind.Config.model_validate(changed)
        differs |= chosen != plain
    assert differs


def test_every_entrant_can_be_made() -> None:
    for name in entrants():
        kind, config = entrant("diginetica", name)
        assert isinstance(config, kind.Config)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("popular", False), ("category_popular", False), ("category_random", True), ("sasrec", True), ("sparsey", True)],
)
def test_what_draws_is_known(name: str, *, drawn: bool) -> None:
    assert draws("diginetica", name) is drawn
