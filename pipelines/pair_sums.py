"""The inner loop of item neighbours: sums over the subjects that two items share, and the most similar items of each.

Compiled with numba. 10 million events make 280 million pairs: some seconds here, a minute in numpy, and as rows of SQL
more memory than there is.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
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
    touches_of_item: Ints,
    item_begins: Ints,
    subject_of: Ints,
    subject_begins: Ints,
    items: Ints,
    times: Ints,
    weights: Ints,
    num_candidates: int,
) -> tuple[Ints, Floats, Ints]:
    """Find up to ``num_candidates`` items for each of O own items, the most similar first, ties by their number.

    Touches are numbered subject by subject: ``items`` and ``times`` [T], ``subject_begins`` [S + 1]; ``subject_of`` [T]
    is the other way. ``weights`` [S] are whole, in units of 1e-9. ``touches_of_item`` [T] lists the touches item by
    item, from ``item_begins`` [I + 1].

    Returns neighbours int64[O, C] with -1 where there is none, their similarity float64[O, C], and int64[O, C, 3]: the
    subjects that share the two, the sum of their weights, and the sum of their times between.
    """
    num_items = len(item_begins) - 1
    totals = np.zeros((num_items, 3), np.int64)
    met = np.empty(num_items, np.int64)
    neighbours = np.full((len(own_items), num_candidates), -1, np.int64)
    similarities = np.zeros((len(own_items), num_candidates), np.float64)
    sums = np.zeros((len(own_items), num_candidates, 3), np.int64)
    for row in range(len(own_items)):
        item = own_items[row]
        num_met = 0
        for n in range(item_begins[item], item_begins[item + 1]):
            touch = touches_of_item[n]
            subject = subject_of[touch]
            for other in range(subject_begins[subject], subject_begins[subject + 1]):
                total = totals[items[other]]
                if total[COUNT] == 0:
                    met[num_met] = items[other]
                    num_met += 1
                total[COUNT] += 1
                total[WEIGHT] += weights[subject]
                total[GAP] += abs(times[other] - times[touch])
        num_own = item_begins[item + 1] - item_begins[item]
        num_found = 0
        for n in range(num_met):
            neighbour = met[n]
            if neighbour != item:
                shared = float(num_own) * float(item_begins[neighbour + 1] - item_begins[neighbour])
                similarity = totals[neighbour, WEIGHT] / 1e9 / math.sqrt(shared)
                num_found = _insert(
                    neighbours[row], similarities[row], sums[row], num_found, neighbour, similarity, totals[neighbour]
                )
            totals[neighbour] = 0
    return neighbours, similarities, sums
