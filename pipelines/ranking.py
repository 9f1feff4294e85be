"""Full lists: a model's ranking, and the fallback where the model has nothing to go by or runs out of items."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.popular import Popular, PopularConfig
from models.recommender import Recommender
from models.sequences import Sequences

FROM_MODEL: Final = "ranked by the model"
NO_HISTORY: Final = "popular: the subject has no history"
NOTHING_LEFT: Final = "popular: the model had no other item to show"
REASONS: Final = (FROM_MODEL, NO_HISTORY, NOTHING_LEFT)


@dataclass(frozen=True)
class Lists:
    """Ranked lists of C subjects: item numbers int32[C, K] (0 in a slot nothing could fill), scores float32[C, K].

    ``reasons`` int8[C, K] are indices of ``REASONS``; for the first of them a table says what the model does.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    reasons: NDArray[np.int8]


FALLBACK_DAYS: Final = 7


def fit_fallback(train: Sequences, num_items: int) -> Popular:
    """The most popular items of the last week of ``train``, for subjects without a history."""
    fallback = Popular(PopularConfig(window_days=FALLBACK_DAYS), Catalogue(num_items))
    fallback.fit(train, seed=0)
    return fallback


def count_fallback(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> Popular:
    """The same from the counts of the last week and of all events, both [num_items]."""
    fallback = Popular(PopularConfig(window_days=FALLBACK_DAYS), Catalogue(len(counts)))
    fallback.take_counts(counts, totals)
    return fallback


def rank(
    model: Recommender,
    fallback: Recommender,
    histories: Sequences,
    k: int,
    allowed: NDArray[np.bool_],
    *,
    exclude_seen: bool,
) -> Lists:
    """Rank ``k`` allowed items for each history; a list is shorter only if fewer items are allowed at all.

    Seen items come back, from the fallback and last, where excluding them would leave a list short.
    """
    items, scores = model.topk(histories, k, allowed, exclude_seen=exclude_seen)
    reasons = np.where(model.reached(scores), REASONS.index(FROM_MODEL), REASONS.index(NOTHING_LEFT)).astype(np.int8)
    cold = histories.without_unknown().lengths == 0
    if cold.any():
        nobody = Sequences.empty(1)
        items[cold], scores[cold] = (part[0] for part in fallback.topk(nobody, k, allowed))
        reasons[cold] = REASONS.index(NO_HISTORY)
    _fill(items, scores, reasons, fallback, allowed)
    return Lists(items, scores, reasons)


def _fill(
    items: NDArray[np.int32],
    scores: NDArray[np.float32],
    reasons: NDArray[np.int8],
    fallback: Recommender,
    allowed: NDArray[np.bool_],
) -> None:
    """Fill empty slots, in place, with the most popular allowed items that the list does not hold yet."""
    short = np.flatnonzero((items == 0).any(axis=1))
    if not len(short):
        return
    # A list with room for n more holds k - n items, so at least n of the k most popular are not among them.
    popular, popularity = (part[0] for part in fallback.topk(Sequences.empty(1), items.shape[1], allowed))
    for row in short:
        fresh = np.flatnonzero((popular > 0) & ~np.isin(popular, items[row]))
        slots = np.flatnonzero(items[row] == 0)[: len(fresh)]
        chosen = fresh[: len(slots)]
        items[row, slots], scores[row, slots] = popular[chosen], popularity[chosen]
        reasons[row, slots] = REASONS.index(NOTHING_LEFT)
