"""Metrics of lists by themselves, whatever was chosen: how much of the catalogue they show, and how they lean.

Functions take `items`, int32[C, K]: one list a case, best first, 0 in unfilled slots, and look at the first k. Special
numbers never count as shown. Where nothing can be measured the value is NaN.
"""

import numpy as np
from numpy.typing import NDArray

from models.sequences import FIRST_ITEM, Sequences


def coverage_at(items: NDArray[np.int32], allowed: NDArray[np.bool_], k: int) -> float:
    """Return the share of the allowed items that stand in the first k of any list.

    items: int32[C, K]. allowed: bool[num_items], special numbers never count.

    >>> coverage_at(np.array([[2, 3], [3, 0]], np.int32), np.array([True, True, True, True, True, False]), 2)
    0.6666666666666666
    """
    possible = _real(allowed)
    shown = np.zeros_like(possible)
    shown[items[:, :k]] = True
    return float((shown & possible).sum() / possible.sum()) if possible.any() else float("nan")


def novelty_at(items: NDArray[np.int32], counts: NDArray[np.int64], k: int) -> float:
    """Return the mean -log2 of the popularity share of the items in the first k, in bits; NaN without any.

    counts: int64[num_items], training events of each item. Share with add-one: (count + 1) / (events + real items), so
    an item never seen is rare, not impossible.

    >>> novelty_at(np.array([[2, 3]], np.int32), np.array([0, 0, 3, 0, 1]), 2)  # shares 4/7 and 1/7
    1.8073549220576042
    """
    share = (counts + 1) / (counts[FIRST_ITEM:].sum() + len(counts) - FIRST_ITEM)
    shown = items[:, :k]
    shown = shown[shown >= FIRST_ITEM]
    return float(-np.log2(share[shown]).mean()) if len(shown) else float("nan")


def gini_at(items: NDArray[np.int32], allowed: NDArray[np.bool_], k: int) -> float:
    """Return how unevenly the allowed items share the places in the first k of all lists.

    0: each stands there equally often, 1: one item has every place. Few lists cannot show many items: like coverage,
    compare it between models, not between slices. allowed: bool[num_items]; items that are not are left out.
    Sum over j of (2j - n - 1) p(j) / (n - 1), where p(j) is the j-th smallest share of the n allowed items
    (Shani and Gunawardana 2011, "Evaluating Recommendation Systems").

    Two of three items in shares 0, 1/4 and 3/4: (-2 * 0 + 0 * 1/4 + 2 * 3/4) / 2.

    >>> gini_at(np.array([[2, 3], [2, 0], [2, 0]], np.int32), np.array([True, True, True, True, True]), 2)
    0.75
    """
    possible = _real(allowed)
    times_shown = np.sort(np.bincount(items[:, :k].ravel(), minlength=len(possible))[possible])
    num_items, num_shown = len(times_shown), int(times_shown.sum())
    if not num_shown:
        return float("nan")
    ranks = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(ranks @ times_shown / (num_shown * max(num_items - 1, 1)))


def diversity_at(items: NDArray[np.int32], category: NDArray[np.int64], k: int) -> float:
    """Return the share of pairs of items in a list's first k that differ in category, averaged over lists.

    category: int64[num_items], -1 where unknown: a pair with an unknown is left out, and so is a list without a pair.
    The intra-list dissimilarity of Smyth and McClave (2001) for a distance of 0 or 1. Memory: a few times C x k cells.

    Categories 0, 0 and 1: two of three pairs differ.

    >>> diversity_at(np.array([[2, 3, 4]], np.int32), np.array([-1, -1, 0, 0, 1]), 3)
    0.6666666666666666
    """
    known_category = category.copy()
    known_category[:FIRST_ITEM] = -1
    listed = known_category[items[:, :k]]
    num_pairs, num_different = np.zeros(len(items), np.int64), np.zeros(len(items), np.int64)
    for distance in range(1, listed.shape[1]):  # every pair of ranks, those of one distance at a time
        first, second = listed[:, :-distance], listed[:, distance:]
        is_pair = (first >= 0) & (second >= 0)
        num_pairs += is_pair.sum(axis=1)
        num_different += (is_pair & (first != second)).sum(axis=1)
    has_pair = num_pairs > 0
    return float((num_different[has_pair] / num_pairs[has_pair]).mean()) if has_pair.any() else float("nan")


def popularity_lift_at(items: NDArray[np.int32], counts: NDArray[np.int64], histories: Sequences, k: int) -> float:
    """Return by which share the first k are more popular than what the same subjects chose before: 0 is no lift.

    (GAP_rec - GAP_profile) / GAP_profile of Abdollahpouri et al. (2019), "The Unfairness of Popularity Bias in
    Recommendation": GAP is the mean over cases of the mean popularity of a case's items, each item once. The ratio is
    one of means, not a mean of ratios, which a few histories of rare items would decide. Popularity is
    counts, int64[num_items]: training events. histories: C sequences. A case counts that has a real item in both.

    Lists of popularity 4 and 2, histories of (4 + 0) / 2 and 2: (3 - 2) / 2.

    >>> histories = Sequences(np.array([2, 2, 4, 3], np.int32), np.zeros(4, np.int64), np.array([0, 3, 4]))
    >>> popularity_lift_at(np.array([[2], [3]], np.int32), np.array([0, 0, 4, 2, 0]), histories, 1)
    0.5
    """
    if len(items) != len(histories):
        raise ValueError(f"{len(items)} lists but {len(histories)} histories: align them")
    shown = items[:, :k]
    rows = np.repeat(np.arange(len(items)), shown.shape[1])
    listed = _mean_popularity(rows, shown.ravel(), counts, len(items))
    chosen = _mean_popularity(histories.rows, histories.items, counts, len(items))
    both = np.isfinite(listed) & np.isfinite(chosen)
    before = chosen[both].mean() if both.any() else 0.0
    return float(listed[both].mean() / before - 1) if before else float("nan")


def _mean_popularity(
    rows: NDArray[np.int64], items: NDArray[np.int32], counts: NDArray[np.int64], num_cases: int
) -> NDArray[np.float64]:
    """Mean count of the distinct real items of each case, float64[C]; NaN without one."""
    real = items >= FIRST_ITEM
    case, item = np.divmod(np.unique(rows[real] * len(counts) + items[real]), len(counts))
    num_distinct = np.bincount(case, minlength=num_cases)
    totals = np.bincount(case, weights=counts[item], minlength=num_cases)
    return np.divide(totals, num_distinct, out=np.full(num_cases, np.nan), where=num_distinct > 0)


def _real(allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The allowed items without the special numbers."""
    possible = allowed.copy()
    possible[:FIRST_ITEM] = False
    return possible
