"""How well a model does on its validation part, by which epochs, weights and settings are chosen."""

from typing import Any

import numpy as np

from models.metrics import ndcg_at, relevance
from models.recommender import Recommender, Validation

CUTOFF = 10


def validation_ndcg(model: Recommender[Any], validation: Validation, max_cases: int) -> float:
    """Return the mean NDCG@10 over the validation cases, every item of the vocabulary allowed.

    Of more than ``max_cases`` cases, an evenly spaced selection is asked. The fit of the model need not be over.
    """
    num_cases = min(len(validation.targets), max_cases)
    cases = np.linspace(0, len(validation.targets) - 1, num_cases).astype(np.int64)
    histories, targets = validation.histories.take(cases), validation.targets.take(cases)
    allowed = np.ones(model.num_items, np.bool_)
    items, _ = model.rank(histories, CUTOFF, allowed, exclude_seen=validation.exclude_seen)
    return float(ndcg_at(relevance(items, targets), targets.lengths, CUTOFF).mean())
