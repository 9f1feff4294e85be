"""Kinds of cases that are reported apart: by training events of the target, its category, and the history's length.

A mean over all cases hides on whom a model does well: most targets are frequent items, and most lists short.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.sequences import FIRST_ITEM, Sequences
from models.statistics import Statistics

NO_LIMIT: Final = np.iinfo(np.int64).max
TARGET_EVENTS: Final = {
    "target_0": (0, 0),
    "target_1_10": (1, 10),
    "target_11_50": (11, 50),
    "target_over_50": (51, NO_LIMIT),
}
"""By training events of the target: first and last number of each slice."""
HISTORY_EVENTS: Final = {"history_1_5": (1, 5), "history_6_20": (6, 20), "history_over_20": (21, NO_LIMIT)}
"""By events of the history, likewise; a case without a history is in none."""


def target_slices(targets: Sequences, counts: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return the cases whose rarest target has so many training events, bool[C] by the names of TARGET_EVENTS.

    targets: C sequences, none empty. counts: int64[num_items]; an item outside the vocabulary has 0.

    >>> targets = Sequences(np.array([2, 3, 3], np.int32), np.zeros(3, np.int64), np.array([0, 2, 3]))
    >>> [name for name, chosen in target_slices(targets, np.array([0, 0, 7, 90])).items() if chosen[0]]
    ['target_1_10']
    """
    assert targets.lengths.all(), "a case has a target"
    num_events = np.where(targets.items >= FIRST_ITEM, counts[targets.items], 0)
    rarest = np.minimum.reduceat(num_events, targets.offsets[:-1]) if len(targets) else num_events
    return _within(rarest, TARGET_EVENTS)


def category_slices(
    targets: Sequences, category: NDArray[np.int64], names: Sequence[str], most: int
) -> dict[str, NDArray[np.bool_]]:
    """Return the cases with a target in a category, bool[C] by ``category_`` and its name, for those of most cases.

    category: int64[num_items], the place of an item's category in names, or -1 without one. most: categories to return,
    in the order of their cases; of equal ones, that of names.

    >>> targets = Sequences(np.array([2, 3, 4], np.int32), np.zeros(3, np.int64), np.array([0, 2, 3]))
    >>> category_slices(targets, np.array([-1, -1, 0, 1, 1]), ["hat", "shoe"], most=1)
    {'category_shoe': array([ True,  True])}
    """
    found = np.where(targets.items >= FIRST_ITEM, category[targets.items], -1)
    rows, kinds = targets.rows[found >= 0], found[found >= 0]
    pairs = np.unique(np.column_stack([rows, kinds]), axis=0)
    num_cases = np.bincount(pairs[:, 1], minlength=len(names))
    slices = {}
    for kind in np.argsort(-num_cases, kind="stable")[:most].tolist():
        if num_cases[kind]:
            slices[f"category_{names[kind]}"] = np.isin(np.arange(len(targets)), pairs[pairs[:, 1] == kind, 0])
    return slices


def history_slices(histories: Sequences) -> dict[str, NDArray[np.bool_]]:
    """Return the cases whose history has so many events, bool[C] by the names of HISTORY_EVENTS.

    >>> history_slices(Sequences.empty(1))["history_1_5"]
    array([False])
    """
    return _within(histories.lengths, HISTORY_EVENTS)


def statistics_slices(targets: Sequences, statistics: Statistics) -> dict[str, NDArray[np.bool_]]:
    """Return the cases of uniform and of uneven subjects, and those of frequent and of rare targets, bool[C] by name.

    targets: C sequences in the order of the subjects, none empty; of several the rarest decides. A subject of whom too
    few events are known is neither.
    """
    assert targets.lengths.all(), "a case has a target"
    frequent = np.logical_and.reduceat(statistics.is_frequent[targets.items], targets.offsets[:-1])
    users = {"uniform_users": statistics.is_uniform, "uneven_users": statistics.is_uneven}
    return users | {"frequent_targets": frequent, "rare_targets": ~frequent}


def _within(numbers: NDArray[np.int64], bounds: Mapping[str, tuple[int, int]]) -> dict[str, NDArray[np.bool_]]:
    return {name: (numbers >= first) & (numbers <= last) for name, (first, last) in bounds.items()}
