"""Every model by name: one line each, imported when asked for, so that listing them loads no torch."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from models.catalogue import Catalogue
from models.recommender import ModelConfig, Recommender
from models.suggestion import suggestion

_MODELS = {
    "popular": "models.popular:Popular",
    "markov": "models.markov:Markov",
    "itemknn": "models.itemknn:ItemKnn",
    "session_knn": "models.session_knn:SessionKnn",
    "blend": "models.blend:Blend",
    "gru4rec": "models.gru4rec:Gru4Rec",
    "sasrec": "models.sasrec:SasRec",
    "m2trec": "models.m2trec:M2TRec",
    "sparsey": "models.sparsey:Sparsey",
    "unirec": "models.unirec:UniRec",
    "lightgcn": "models.lightgcn:LightGcn",
}


_LEARN_BY_GRADIENT = frozenset({"gru4rec", "sasrec", "m2trec", "unirec", "lightgcn"})


def learns_by_gradient(name: str) -> bool:
    """Tell whether a model is trained by torch, without importing it."""
    return name in _LEARN_BY_GRADIENT


def names() -> tuple[str, ...]:
    """Return the names of all models, floors first."""
    return tuple(_MODELS)


def model_class(name: str) -> type[Recommender]:
    """Import a model's class, which holds its `presets`, `label` and `capabilities`; ValueError if there is none."""
    if name not in _MODELS:
        raise ValueError(f"no model {name!r}: {suggestion(name, _MODELS)}")
    module, _, attribute = _MODELS[name].partition(":")
    found: type[Recommender] = getattr(import_module(module), attribute)
    return found


def configure(name: str, preset: str, settings: Mapping[str, Any]) -> ModelConfig:
    """Return a preset of a model with some settings changed. Raises ValueError for what is unknown or not allowed."""
    chosen = model_class(name)
    if preset not in chosen.presets:
        raise ValueError(f"{name} has no preset {preset!r}: {suggestion(preset, chosen.presets)}")
    return chosen.Config.model_validate(chosen.presets[preset].model_dump() | dict(settings))


def build(name: str, preset_or_config: str | ModelConfig, catalogue: Catalogue) -> Recommender:
    """Make an unfitted model from a preset's name (tiny, small, paper) or a configuration of that model.

    Raises ValueError for an unknown model or preset.
    """
    if isinstance(preset_or_config, str):
        preset_or_config = configure(name, preset_or_config, {})
    return model_class(name)(preset_or_config, catalogue)
