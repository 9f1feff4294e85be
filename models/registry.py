"""Every model by name: one line each, imported when asked for, so that listing them loads no torch."""

from importlib import import_module

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
}


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


def build(name: str, preset_or_config: str | ModelConfig, num_items: int) -> Recommender:
    """Make an unfitted model from a preset's name (tiny, small, paper) or a configuration of that model.

    num_items counts the two special numbers. Raises ValueError for an unknown model or preset.
    """
    chosen = model_class(name)
    if isinstance(preset_or_config, ModelConfig):
        return chosen(preset_or_config, num_items)
    if preset_or_config not in chosen.presets:
        raise ValueError(f"{name} has no preset {preset_or_config!r}: {suggestion(preset_or_config, chosen.presets)}")
    return chosen(chosen.presets[preset_or_config], num_items)
