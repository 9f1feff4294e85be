"""The inner loop of item neighbours: sums over the subjects that two items share, and the most similar items of each.

Compiled with numba. 10 million events make 280 million pairs: some seconds here, a minute in numpy, and as rows of SQL
more memory than there is.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
SmallInts = NDArray[np.int32]
Floats = NDArray[np.float64]
COUNT, WEIGHT, GAP = 0, 1, 2


@njit(cache=True)
def _insert(
    neighbours: Ints, similarities: Floats, sums: Ints, num_found: int, neighbour: int, similarity: float, total: Ints
) -> int:
    """Put a neighbour at its place in a ranked row, whose last one may fall out; return how many there are."""
    place = num_found
    while place > 0 and (
        similarities[place - 1] < similarity
        or (similarities[place - 1] == similarity and neighbours[place - 1] > neighbour)
    ):
        place -= 1
    if place == len(neighbours):
        return num_found
    num_found = min(num_found + 1, len(neighbours))
    for later in range(num_found - 1, place, -1):
        similarities[later], neighbours[later] = similarities[later - 1], neighbours[later - 1]
        sums[later] = sums[later - 1]
    similarities[place], neighbours[place] = similarity, neighbour
    sums[place] = total
    return num_found


@njit(cache=True)
def most_similar(
    own_items: Ints,
    own_begins: Ints,
    own_touches: SmallInts,
    counts: Ints,
    subjects: SmallInts,
    subject_begins: Ints,
    items: SmallInts,
    seconds: SmallInts,
    weights: Ints,
    num_candidates: int,
) -> tuple[Ints, Floats, Ints]:
    """Find up to ``num_candidates`` items for each of O own items, the most similar first, ties by their number.

    Touches are numbered subject by subject: ``items``, ``seconds`` and ``subjects`` [T], and ``subject_begins`` [S + 1]
    the other way. ``weights`` [S] of subjects are whole, in units of 1e-9; ``counts`` [I] are the touches of each item.
    Those of the own items are listed in ``own_touches``, item by item, from ``own_begins`` [O + 1] on.

    Returns neighbours int64[O, C] with -1 where there is none, their similarity float64[O, C], and int64[O, C, 3]: the
    subjects that share the two, the sum of their weights, and the sum of their times between, in seconds.
    """
    num_items = len(counts)
    totals = np.zeros((num_items, 3), np.int64)
    met = np.empty(num_items, np.int64)
    neighbours = np.full((len(own_items), num_candidates), -1, np.int64)
    similarities = np.zeros((len(own_items), num_candidates), np.float64)
    sums = np.zeros((len(own_items), num_candidates, 3), np.int64)
    for row in range(len(own_items)):
        item = own_items[row]
        num_met = 0
        for n in range(own_begins[row], own_begins[row + 1]):
            touch = own_touches[n]
            subject = subjects[touch]
            for other in range(subject_begins[subject], subject_begins[subject + 1]):
                total = totals[items[other]]
                if total[COUNT] == 0:
                    met[num_met] = items[other]
                    num_met += 1
                total[COUNT] += 1
                total[WEIGHT] += weights[subject]
                total[GAP] += abs(np.int64(seconds[other]) - seconds[touch])
        num_found = 0
        for n in range(num_met):
            neighbour = met[n]
            if neighbour != item:
                similarity = totals[neighbour, WEIGHT] / 1e9 / math.sqrt(float(counts[item]) * float(counts[neighbour]))
                num_found = _insert(
                    neighbours[row], similarities[row], sums[row], num_found, neighbour, similarity, totals[neighbour]
                )
            totals[neighbour] = 0
    return neighbours, similarities, sums
