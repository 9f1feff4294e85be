"""The stages of a night, in order: which assets a stage makes, from what, and by which function of the pipeline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.registry import learns_by_gradient, model_class
from pipelines.evaluation import build_metrics
from pipelines.log_stages import build_interactions, build_items, build_sessions
from pipelines.night import Night
from pipelines.scoring import build_recommendations, build_related_items
from pipelines.settings import Settings
from pipelines.statistics_stages import (
    build_interval_uniformity,
    build_item_frequency,
    build_item_neighbours,
    build_metadata_vocabulary,
    build_training_sequences,
)
from pipelines.store import Write
from pipelines.training import train_model


@dataclass(frozen=True)
class Stage:
    """One step of a night.

    ``tables`` maps the name of each asset to the table it is a part of. ``takes_range`` stages write a whole range of
    days in one run; the others go night by night, for each night reads the one before.
    """

    name: str
    tables: Mapping[str, str]
    build: Callable[[Night], list[Write]]
    after: tuple[str, ...]
    group: str
    kinds: frozenset[str] = frozenset({"duckdb", "parquet"})
    takes_range: bool = False
    descriptions: Mapping[str, str] = field(default_factory=dict)


DATA_STAGES = (
    Stage(
        "interactions",
        {name: name for name in ("source_files", "interactions", "quarantine", "item_observations")},
        build_interactions,
        (),
        "data",
        takes_range=True,
    ),
    Stage("items", {"items": "items"}, build_items, ("item_observations",), "data", takes_range=True),
    Stage("sessions", {"sessions": "sessions"}, build_sessions, ("interactions",), "data", takes_range=True),
    Stage(
        "item_frequency",
        {name: name for name in ("item_frequency", "item_users")},
        build_item_frequency,
        ("sessions", "items"),
        "statistics",
        takes_range=True,
    ),
    Stage(
        "interval_uniformity",
        {"interval_uniformity": "interval_uniformity"},
        build_interval_uniformity,
        ("sessions",),
        "statistics",
        takes_range=True,
    ),
    Stage(
        "item_neighbours",
        {"item_neighbours": "item_neighbours"},
        build_item_neighbours,
        ("item_frequency",),
        "statistics",
        takes_range=True,
    ),
)

VOCABULARY_STAGES = (
    Stage(
        "metadata_vocabulary",
        {"metadata_vocabulary": "metadata_vocabulary"},
        build_metadata_vocabulary,
        ("items",),
        "statistics",
    ),
    Stage(
        "training_sequences",
        {"training_sequences": "training_sequences"},
        build_training_sequences,
        ("sessions", "metadata_vocabulary"),
        "training",
    ),
)


def all_stages(settings: Settings) -> tuple[Stage, ...]:
    """Every stage, with one training stage for each model of the settings."""
    trained = tuple(_training_stage(name) for name in settings.training.models)
    names = tuple(stage.name for stage in trained)
    return (
        *DATA_STAGES,
        *VOCABULARY_STAGES,
        *trained,
        Stage(
            "metrics",
            {"metrics": "metrics"},
            build_metrics,
            ("interval_uniformity", *names),
            "evaluation",
            frozenset({"python", "parquet"}),
        ),
        _publishing_stage("recommendations", build_recommendations, names),
        _publishing_stage("related_items", build_related_items, names),
    )


def _training_stage(name: str) -> Stage:
    statistics = ("item_neighbours", "interval_uniformity") if model_class(name).capabilities.uses_statistics else ()
    return Stage(
        f"trained_{name}",
        {f"trained_{name}": "training_runs"},
        lambda night: train_model(night, name),
        ("training_sequences", *statistics),
        "training",
        frozenset({"python", "torch"} if learns_by_gradient(name) else {"python"}),
        descriptions={f"trained_{name}": f"The model {name}: its checkpoints of both chains, and its training_runs."},
    )


def _publishing_stage(name: str, build: Callable[[Night], list[Write]], models: tuple[str, ...]) -> Stage:
    return Stage(name, {name: name}, build, models, "recommendations", frozenset({"python", "parquet"}))
