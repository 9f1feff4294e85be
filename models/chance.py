"""How familiar a history is by chance: a memory that holds much knows any items together, to some degree.

In every module the best of K units counts. Were the links of each item set at random, as many as there are, a unit of a
bank would know a Poisson-binomial number of the items of a history. What the best of all units of all banks would know
is therefore known, and is taken off; of what is left, 1 is all items.

Shapes: B histories; U = Q * K units of a bank.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.read_out import Fills
from models.sequences import Sequences

MOST_BY_CHANCE = 0.95  # above it, the memory is too full to tell what was together from what was not


def beyond_chance(
    familiarity: NDArray[np.float32], histories: Sequences, fills: Fills, num_units: int
) -> NDArray[np.float32]:
    """Return (G - chance) / (1 - chance), at least 0, of each G, float32[B]; NaN where chance alone gives nearly 1.

    num_units: K. A history without an item that was met has 0, and one of a single item that was is NaN.
    """
    chance = _chance((histories.items, histories.offsets), tuple(fills), num_units)
    excess = np.maximum(familiarity - chance, 0) / np.maximum(1 - chance, 1e-6)
    return np.where(chance > MOST_BY_CHANCE, np.nan, np.minimum(excess, 1)).astype(np.float32)


@njit(cache=True, nogil=True)
def _chance(histories, fills, num_units):  # type: ignore[no-untyped-def]
    """Return the mean share of the items of each history that the best unit of a module knows by chance."""
    (events, event_offsets), (banks, shares, offsets) = histories, fills
    out = np.zeros(len(event_offsets) - 1, np.float32)
    for row in range(len(out)):
        own = np.unique(events[event_offsets[row] : event_offsets[row + 1]])
        size = 0
        for item in own:
            size += offsets[item + 1] - offsets[item]
        found, rates, end = np.empty(size, np.int32), np.empty(size, np.float32), 0
        for item in own:
            for place in range(offsets[item], offsets[item + 1]):
                found[end], rates[end] = banks[place], shares[place]
                end += 1
        order = np.argsort(found)
        none_above = np.zeros(len(own))  # of count or more than that: the sum over banks of log P(no unit knows more)
        first = 0
        while first < size:
            stop = first
            while stop < size and found[order[stop]] == found[order[first]]:
                stop += 1
            _add_bank(rates[order[first:stop]], num_units, none_above)
            first = stop
        if size:
            none_above[0] = -np.inf  # some unit knows an item that was met
            out[row] = (1 - np.exp(none_above)).sum() / len(own)
    return out


@njit(cache=True, nogil=True)
def _add_bank(rates, num_units, none_above):  # type: ignore[no-untyped-def]
    """Add, for each count, the log of the chance that no unit of a module of one bank knows more items than that."""
    number = np.zeros(len(rates) + 1)
    number[0] = 1
    for known in range(len(rates)):
        for count in range(known + 1, 0, -1):
            number[count] = number[count] * (1 - rates[known]) + number[count - 1] * rates[known]
        number[0] *= 1 - rates[known]
    above = 0.0
    for count in range(len(rates) - 1, -1, -1):
        above += number[count + 1]
        none_above[count] += num_units * np.log1p(-min(above, 1 - 1e-12))
