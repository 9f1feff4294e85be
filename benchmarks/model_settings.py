"""With what settings each model takes part on each data set: its preset "small", but for what is named here.

All were chosen on the validation parts.
"""

from collections.abc import Mapping
from typing import Any, Final

from models.recommender import ModelConfig
from models.registry import configure

SETTINGS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {}


def settings_of(task: str, model: str) -> ModelConfig:
    """Return the configuration of a model on a data set."""
    return configure(model, "small", SETTINGS.get((task, model), {}))
