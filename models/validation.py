"""How well a model does on its validation part, by which epochs, weights and settings are chosen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.metrics import ndcg_at, relevance
from models.recommender import Recommender, Validation

CUTOFF = 10


def validation_ndcg(model: Recommender[Any], validation: Validation, max_cases: int) -> float:
    """Return the mean NDCG@10 over the validation cases, every item of the vocabulary allowed.

    Of more than ``max_cases`` cases, an evenly spaced selection is asked. The fit of the model need not be over.
    """
    cases = evenly_spaced(validation, max_cases)
    allowed = np.ones(model.num_items, np.bool_)
    items, _ = model.rank(cases.histories, CUTOFF, allowed, exclude_seen=cases.exclude_seen)
    return mean_ndcg(items, cases)


def evenly_spaced(validation: Validation, max_cases: int) -> Validation:
    """Select at most ``max_cases`` cases, evenly spaced."""
    num_cases = min(len(validation.targets), max_cases)
    cases = np.linspace(0, len(validation.targets) - 1, num_cases).astype(np.int64)
    return Validation(validation.histories.take(cases), validation.targets.take(cases), validation.exclude_seen)


def mean_ndcg(items: NDArray[np.int32], cases: Validation) -> float:
    """Return the mean NDCG@10 of a list for each case, int32[C, CUTOFF]."""
    return float(ndcg_at(relevance(items, cases.targets), cases.targets.lengths, CUTOFF).mean())
