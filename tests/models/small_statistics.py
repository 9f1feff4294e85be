"""Statistics of small training parts, by their definitions: counts, shared subjects, spread of gaps."""

from datetime import date

import numpy as np

from models.sequences import PADDING, Sequences
from models.statistics import Statistics

NUM_NEIGHBOURS = 4


def statistics_of(train: Sequences, num_items: int) -> Statistics:
    """The most frequent third of the items is frequent, the evener half of the subjects uniform."""
    counts = np.bincount(train.items, minlength=num_items)
    is_frequent = (counts > np.quantile(counts[counts > 0], 2 / 3)) & (np.arange(num_items) > 1)
    histories = [train.take(np.array([row])) for row in range(len(train))]
    spread = np.array([np.log1p(np.diff(one.times)).std() if len(one.times) > 2 else np.nan for one in histories])
    is_uniform = spread <= np.nanmedian(spread) if np.isfinite(spread).any() else np.zeros(len(train), bool)
    is_uneven = np.isfinite(spread) & ~is_uniform
    near = neighbours_of(histories, num_items)
    return Statistics(date(2026, 3, 1), is_frequent, np.full(num_items, np.nan), near, is_uniform, is_uneven)


def neighbours_of(histories: list[Sequences], num_items: int) -> np.ndarray:
    """The items that most subjects have beside an item."""
    shared = np.zeros((num_items, num_items), int)
    for one in histories:
        items = np.unique(one.items)
        shared[np.ix_(items, items)] += 1
    shared[:, :2] = 0
    np.fill_diagonal(shared, 0)
    order = np.argsort(-shared, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
    return np.where(np.take_along_axis(shared, order, axis=1) > 0, order, PADDING).astype(np.int32)
