"""Ranking metrics, one value per case, and their bootstrap intervals; metrics of lists alone are in `list_metrics`.

A case is one list of k items and the distinct items that were then chosen (its targets). Functions take
`relevant`, bool[C, K]: whether the item at each rank is a target (see `relevance`), and `num_targets`, int64[C].
Definitions that differ between papers: recall divides by the number of targets, also where that exceeds k; the ideal
DCG and the divisor of MAP run over min(k, number of targets).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.sequences import FIRST_ITEM, Sequences

RESAMPLE_CELLS = 4_000_000  # resamples x distinct values drawn at a time


def relevance(items: NDArray[np.int32], targets: Sequences) -> NDArray[np.bool_]:
    """Mark the list items that are targets, bool[C, K].

    items: int32[C, K], 0 in unfilled slots. targets: C sequences. Unknown targets are misses, each counted.
    Raises ValueError for a case without target or with a target twice.

    >>> targets = Sequences(np.array([7, 3], np.int32), np.zeros(2, np.int64), np.array([0, 2]))
    >>> relevance(np.array([[3, 5, 7]], np.int32), targets)
    array([[ True, False,  True]])
    """
    if len(items) != len(targets):
        raise ValueError(f"{len(items)} lists but {len(targets)} cases: align them")
    if not targets.lengths.all():
        raise ValueError(f"case {int(np.argmin(targets.lengths))} has no target; leave such cases out")
    width = np.int64(max(items.max(initial=0), targets.items.max(initial=0)) + 1)
    known = targets.items >= FIRST_ITEM
    wanted = np.sort(targets.rows[known] * width + targets.items[known])
    twice = np.flatnonzero(wanted[1:] == wanted[:-1])
    if len(twice):
        case, item = divmod(int(wanted[twice[0]]), int(width))
        raise ValueError(f"case {case} has target {item} twice; targets are distinct items")
    shown = np.arange(len(items))[:, None] * width + items
    return np.isin(shown, wanted)


def hit_at(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return 1 where a target is among the first k, else 0: float64[C].

    >>> hit_at(np.array([[False, True, True], [False, False, True]]), 2)
    array([1., 0.])
    """
    return np.asarray(relevant[:, :k].any(axis=1), np.float64)


def recall_at(relevant: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return the share of the case's targets among the first k: float64[C].

    >>> recall_at(np.array([[False, True, True]]), np.array([4]), 3)
    array([0.5])
    """
    share: NDArray[np.float64] = relevant[:, :k].sum(axis=1) / num_targets
    return share


def ndcg_at(relevant: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return the discounted gain of the first k over that of an ideal list: float64[C].

    With one of two targets at rank 3: (1 / log2 4) / (1 / log2 2 + 1 / log2 3) = .5 / 1.6309.

    >>> ndcg_at(np.array([[False, False, True]]), np.array([2]), 3).round(4)
    array([0.3066])
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(k, num_targets) - 1]
    gains = relevant[:, :k]
    share: NDArray[np.float64] = gains @ discounts[: gains.shape[1]] / ideal
    return share


def map_at(relevant: NDArray[np.bool_], num_targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return the mean, over min(k, targets), of the precision at each rank that holds a target: float64[C].

    Targets at ranks 1 and 3 of two: (1/1 + 2/3) / 2.

    >>> map_at(np.array([[True, False, True]]), np.array([2]), 3).round(4)
    array([0.8333])
    """
    hits = relevant[:, :k]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    mean: NDArray[np.float64] = (precision * hits).sum(axis=1) / np.minimum(k, num_targets)
    return mean


def mrr_at(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return 1 / rank of the first target among the first k, 0 without one: float64[C].

    >>> mrr_at(np.array([[False, True, True], [False, False, False]]), 3)
    array([0.5, 0. ])
    """
    hits = relevant[:, :k]
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def case_metrics(items: NDArray[np.int32], targets: Sequences, ks: Iterable[int]) -> dict[str, NDArray[np.float64]]:
    """Compute every metric at every k, keyed "hit@10", "recall@10", ...: float64[C] each.

    items: int32[C, K] with K at least the largest k; targets: C sequences.
    """
    relevant, num_targets = relevance(items, targets), targets.lengths
    values: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        if not 1 <= k <= items.shape[1]:
            raise ValueError(f"k is {k}, but the lists hold {items.shape[1]} items")
        values[f"hit@{k}"] = hit_at(relevant, k)
        values[f"recall@{k}"] = recall_at(relevant, num_targets, k)
        values[f"ndcg@{k}"] = ndcg_at(relevant, num_targets, k)
        values[f"map@{k}"] = map_at(relevant, num_targets, k)
        values[f"mrr@{k}"] = mrr_at(relevant, k)
    return values


def bootstrap_interval(values: NDArray[np.float64], num_resamples: int = 1000, *, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over cases.

    Cases with the same value are interchangeable, so a resample is one multinomial draw over the distinct values:
    exact, and fast where a metric takes few of them. Memory: RESAMPLE_CELLS numbers, whatever the number of cases.
    To compare two models use `paired_interval`.

    >>> bootstrap_interval(np.full(50, 0.25), seed=0)
    (0.25, 0.25)
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"an interval needs at least one case and finite values; got {len(values)} cases")
    generator = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    step = max(1, RESAMPLE_CELLS // len(distinct))
    means = [
        generator.multinomial(len(values), counts / len(values), size=min(step, num_resamples - start)) @ distinct
        for start in range(0, num_resamples, step)
    ]
    low, high = np.quantile(np.concatenate(means) / len(values), [0.025, 0.975])
    return float(low), float(high)


def paired_interval(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], num_resamples: int = 1000, *, seed: int
) -> tuple[float, float, float]:
    """Return by how much our mean is above theirs, and the 95 % bootstrap interval (low, high) of that difference.

    ours, theirs: float64[C], one metric of two models on the same cases in the same order. A resample draws cases, so
    what makes a case hard for both cancels. Raises ValueError for unequal lengths, no case, or a value not finite.

    >>> paired_interval(np.array([0.5, 1.0, 0.25]), np.array([0.25, 0.75, 0.0]), seed=0)
    (0.25, 0.25, 0.25)
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"ours has {ours.shape} values, theirs {theirs.shape}: both need one for each case")
    difference = ours - theirs
    low, high = bootstrap_interval(difference, num_resamples, seed=seed)
    return float(difference.mean()), low, high
