"""With what settings each model takes part on each data set: its preset "small", but for what is named here.

All were chosen on the validation parts.
"""

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.category_floor import CategoryFloor, CategoryFloorConfig
from models.recommender import ModelConfig, Recommender
from models.registry import configure, model_class, names
from pipelines.settings import Statistics

_CLICKS: Final = {  # chosen on diginetica, taken for all sets of short sessions
    "length": 20,
    "batch_size": 512,
    "learning_rate": 0.003,
    "schedule": "cosine",
    "num_epochs": 12,
    "weight_decay": 0.1,
    "warmup_steps": 100,
    "loss": "sampled_softmax",
    "num_negatives": 2048,
    "negatives": "popularity",
}
_CLICKS_M2TREC: Final = {  # likewise
    "pooling": "last",
    "dropout": 0,
    "learning_rate": 0.006,
    "schedule": "cosine",
    "num_epochs": 5,
    "loss": "sampled_softmax",
    "num_negatives": 2048,
    "negatives": "popularity",
}
_MOVIELENS: Final = {  # of sasrec and unirec
    "dim": 128,
    "dropout": 0.3,
    "num_epochs": 40,
    "patience": 12,
    "schedule": "cosine",
    "warmup_steps": 200,
    "learning_rate": 0.0015,
}
_MOVIELENS_SHORT: Final = {"dim": 64, "num_epochs": 14, "patience": 14}  # of what is compared part by part there
_BEAUTY_ALIKE: Final = {  # of unirec, and of the sasrec beside it
    "dim": 128,
    "num_blocks": 1,
    "dropout": 0.6,
    "num_epochs": 12,
    "patience": 12,
    "schedule": "cosine",
    "warmup_steps": 100,
    "weight_decay": 0.5,
}
_SHOP: Final = {"learning_rate": 0.0003, "num_epochs": 10}  # of both: fast learners soon know the next click alone
_NEWS_EPOCHS: Final = 5  # of all networks: the most sessions, of articles that are read for a day or two
_CLICK_TASKS: Final = ("diginetica", "retailrocket", "yoochoose_100k", "globo_news")
_NO_ENHANCEMENT: Final = {"sequence_weight": 0, "tail_weight": 0}
_UNIREC: Final[Mapping[str, Mapping[str, Any]]] = {
    "short": {},
    "no_time": {"time_module": False},
    "no_sequences": {"sequence_weight": 0},
    "no_items": {"tail_weight": 0},
    "head": {"head_weight": 0.3},
    "no_taste": {"taste": False},
    "backbone": _NO_ENHANCEMENT,
    "product": {"score": "product"},
    "inject": {"ie_mode": "inject"},
    "uneven": {"teachers": "uneven"},
    "count_by_gaps": {},
    "bce": {"loss": "bce"},
    "published": {
        "loss": "bce",
        "score": "product",
        "teachers": "uneven",
        "curriculum": "published",
        "head_weight": 0.3,
        "tail_weight": 0.1,
    },
}
SETTINGS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("movielens_1m", "blend"): {
        "first": {"model": "markov", "settings": {"num_steps": 3, "query_decay": 0.6}},
        "second": {"model": "session_knn", "settings": {"query_events": 5}},
    },
    ("movielens_1m", "sasrec"): {**_MOVIELENS, "num_heads": 2},
    ("movielens_1m", "unirec"): {
        **_MOVIELENS,
        "context_dim": 16,
        "score": "product",
        "tail_weight": 0.1,
        "ramp_epochs": 5,
    },
    ("movielens_1m", "sasrec_alike"): _MOVIELENS_SHORT,
    **{("movielens_1m", f"unirec_{name}"): _MOVIELENS_SHORT for name in _UNIREC},
    ("planted_shop", "sasrec"): _SHOP,
    ("planted_shop", "unirec"): {**_SHOP, "score": "product", "tail_weight": 0.1},
    ("amazon_beauty", "gru4rec"): {"num_epochs": 40, "patience": 5, "dropout": 0.5},
    ("amazon_beauty", "sasrec"): {"num_epochs": 40, "patience": 5, "dropout": 0.5, "weight_decay": 0.1},
    ("amazon_beauty", "unirec"): {**_BEAUTY_ALIKE, "ramp_epochs": 5},
    ("amazon_beauty", "sasrec_alike"): _BEAUTY_ALIKE,
    ("amazon_beauty", "sasrec_cosine"): _BEAUTY_ALIKE,
    ("amazon_beauty", "m2trec"): {"length": 50, "num_epochs": 12, "batch_size": 256, "dropout": 0.3},
    **{(task, "sasrec"): _CLICKS for task in _CLICK_TASKS},
    **{(task, "m2trec"): _CLICKS_M2TREC for task in _CLICK_TASKS},
    ("globo_news", "sasrec"): {**_CLICKS, "num_epochs": _NEWS_EPOCHS},
    ("globo_news", "m2trec_hashed_ids"): {"num_epochs": _NEWS_EPOCHS},
}


_HASHED_IDS: Final = {"hashed_ids": True, "hashed_rows": 32_768, "num_epochs": 12, "weight_decay": 0.1}
_ABLATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "no_heads": {"category_levels": 0},
    "no_metadata": {"metadata": False},
    "no_popularity": {"popularity": False},
    "free_head": {"item_head": "free"},
    "average": {"pooling": "average"},
    "fast": {"pooling": "average", "num_epochs": 4},
    "faithful": {"pooling": "average", "num_epochs": 4, "attention": "bidirectional"},
}
_ONE_BANK_OF_THREE: Final = {"attributes_weight": 0, "choose_weight": False}
_MOMENTS: Final = {**_ONE_BANK_OF_THREE, "moments_weight": 1}
_EPISODES: Final = {**_ONE_BANK_OF_THREE, "moments_weight": 0}
_ALL: Final = {"num_winners": 1_000_000}
_HARD: Final = {"num_winners": 1, "power": 0, "is_corrected": False}
_ONE_STEP: Final = {"persistence": 1, "num_moments": 1}
_SPARSEY: Final[Mapping[str, Mapping[str, Any]]] = {
    "moments": _MOMENTS,
    "moments_all": {**_MOMENTS, **_ALL},
    "moments_one_step": {**_MOMENTS, **_ONE_STEP},
    "moments_one_step_raw": {**_MOMENTS, **_ONE_STEP, "is_corrected": False},
    "moments_published": {**_MOMENTS, **_ONE_STEP, **_HARD},
    "moments_raw": {**_MOMENTS, "is_corrected": False},
    "moments_by_item": {**_MOMENTS, "is_contextual": False, "link_rate": 0.2},
    "episodes": _EPISODES,
    "episodes_all": {**_EPISODES, **_ALL},
    "episodes_alike": {**_EPISODES, "episodes_height": 10, "midpoint": 0.75, "slope": 0.05},
    "episodes_raw": {**_EPISODES, "is_corrected": False},
    "episodes_published": {**_EPISODES, **_HARD},
}
_BY_GAPS: Final = {"frequent_by": "gap_variance"}
STATISTICS: Final[Mapping[str, Mapping[str, Any]]] = {
    "amazon_beauty": {"time_granularity": "day"},
    "unirec_count_by_gaps": _BY_GAPS,
    "unirec_published": {**_BY_GAPS, "uniform_by": "gap_variance"},
}
"""By data set, and by what takes part: how items and subjects are measured, where it is not as in the pipeline."""
DENSITIES: Final = (50, 30, 20, 10, 5)  # percent
_SPARSE: Final[Mapping[str, Mapping[str, Any]]] = {
    **{f"density_{percent}": {"density": percent / 100} for percent in DENSITIES},
    "static": {"density": 0.2, "num_updates": 0},
    "random": {"density": 0.2, "growth": "random"},
    "degree": {"density": 0.2, "start": "degree"},
    "one_batch": {"density": 0.2, "window": 1, "explore": 1},
}
ALIKE_DIMS: Final = {50: 41, 30: 25, 20: 17, 10: 9, 5: 5}
"""Features of dense vectors that take about as many bytes as sparse ones of 64 features at each density."""
_LIGHTGCN: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"sparsity": settings} for name, settings in _SPARSE.items()},
    **{f"dim_{dim}": {"dim": dim} for dim in ALIKE_DIMS.values()},
    "mf": {"num_layers": 0},
    **{f"mf_{name}": {"num_layers": 0, "sparsity": _SPARSE[name]} for name in ("density_20", "density_10")},
}
VARIANTS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    **{f"lightgcn_{name}": ("lightgcn", change) for name, change in _LIGHTGCN.items()},
    **{f"{name}_density_20": (name, {"sparsity": _SPARSE["density_20"]}) for name in ("sasrec", "m2trec")},
    "sasrec_alike": ("sasrec", {}),
    "sasrec_cosine": ("sasrec", {"score": "cosine"}),
    "m2trec_hashed_ids": ("m2trec", _HASHED_IDS),
    **{f"sparsey_{name}": ("sparsey", change) for name, change in _SPARSEY.items()},
    **{f"unirec_{name}": ("unirec", change) for name, change in _UNIREC.items()},
    **{f"m2trec_hashed_ids_{name}": ("m2trec", {**_HASHED_IDS, **change}) for name, change in _ABLATIONS.items()},
}
"""Models that take part more than once: by another name, with other settings."""

FLOORS: Final[Mapping[str, ModelConfig]] = {
    "category_popular": CategoryFloorConfig(),
    "category_random": CategoryFloorConfig(order="random"),
}
"""What takes part and is no model of the product."""

_DRAWN: Final = frozenset({"category_random", "sparsey"})


def entrants() -> tuple[str, ...]:
    """Return the names of all that can take part."""
    return *names(), *VARIANTS, *FLOORS


def statistics_settings(task: str, name: str) -> Statistics:
    """Return how the training part of a data set is measured for what takes part by some name."""
    return Statistics.model_validate({**STATISTICS.get(task, {}), **STATISTICS.get(name, {})})


def draws(task: str, name: str) -> bool:
    """Tell whether what takes part by some name has other lists with another seed."""
    model, _ = VARIANTS.get(name, (name, {}))
    return model in _DRAWN or not entrant(task, name)[0].capabilities.trains_without_gradient


def entrant(task: str, name: str) -> tuple[type[Recommender], ModelConfig]:
    """Return the class of what takes part in a data set by some name, and its configuration."""
    if name in FLOORS:
        return CategoryFloor, FLOORS[name]
    model, variation = VARIANTS.get(name, (name, {}))
    settings = {**SETTINGS.get((task, model), {}), **variation, **SETTINGS.get((task, name), {})}
    return model_class(model), configure(model, "small", settings)
