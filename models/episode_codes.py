"""Codes of episodes by the selection algorithm: sequences like one another get codes like one another.

U, from below, are the different items of a sequence; support V of a unit is the share of them that it is linked with.
What is new gets a code of its own; what is familiar, to some degree, keeps that much of the code it is familiar by. So
sequences that are alike share links, and repeats need none.
"""

import numpy as np
from numba import njit

from models.code_selection import Selection, append, empty_lists, knowing, uniform
from models.csa import activation, expansivity
from models.links import Links
from models.sequences import Sequences


def learn_alike(pieces: Sequences, num_items: int, how: Selection, generator: np.random.Generator) -> Links:
    """Draw a code for every sequence, in their order, and link it with its items: Links [num_items, U].

    Cost: the units of the items of a sequence, in each module. Memory: as for moments (`models.moments`).
    """
    present, numbers = np.unique(pieces.items, return_inverse=True)
    codes = np.empty((len(pieces), how.num_modules), np.int32)
    most_units = len(numbers) * how.num_modules
    _select(numbers, pieces.offsets, len(present), most_units, how, np.uint64(generator.integers(2**63)), codes)
    shape = (num_items, how.num_modules * how.num_units)
    return Links.of(np.repeat(pieces.items, how.num_modules), codes[pieces.rows].ravel(), shape)


@njit(cache=True, nogil=True)
def _select(items, offsets, num_items, most_units, how, state, codes):  # type: ignore[no-untyped-def]
    """Fill the codes of all sequences in their order."""
    num_modules, num_units = how.num_modules, how.num_units
    lists, end = empty_lists(num_items, num_modules, most_units), 0
    counts = np.zeros(num_modules * num_units, np.int32)  # of the items of the sequence that each unit knows
    active, numbers = np.empty((num_modules, num_units), np.int32), np.zeros(num_modules, np.int64)
    for row in range(len(codes)):
        own = np.unique(items[offsets[row] : offsets[row + 1]])
        if not len(own):
            codes[row] = 0
            continue
        familiarity = _count(lists, own, counts, active, numbers)
        eta = expansivity(familiarity, how.lowest, how.exponent, how.height, num_units)
        chances = np.array(
            [activation(count / len(own), eta, how.midpoint, how.slope) for count in range(len(own) + 1)]
        )
        for module in range(num_modules):
            units = active[module, : numbers[module]]
            unit, state = _draw(units, counts, chances, module * num_units, num_units, state)
            codes[row, module] = unit
            for item in own:
                if counts[unit] == 0 or not (knowing(lists, item, module) == unit).any():
                    end = append(lists, item, module, unit, end)
            counts[units] = 0


@njit(cache=True, nogil=True)
def _count(lists, own, counts, active, numbers):  # type: ignore[no-untyped-def]
    """Count the items that each unit knows, list those that know one; return the mean of the modules' largest V."""
    total = 0
    for module in range(len(numbers)):
        number, largest = 0, 0
        for item in own:
            for unit in knowing(lists, item, module):
                if counts[unit] == 0:
                    active[module, number] = unit
                    number += 1
                counts[unit] += 1
                largest = max(largest, counts[unit])
        numbers[module] = number
        total += largest
    return total / len(own) / len(numbers)


@njit(cache=True, nogil=True)
def _draw(units, counts, chances, first, num_units, state):  # type: ignore[no-untyped-def]
    """Draw a unit of a module, each with its chance; return it and the next state."""
    total = (num_units - len(units)) * chances[0]
    for unit in units:
        total += chances[counts[unit]]
    state, drawn = uniform(state)
    drawn *= total
    for unit in units:
        drawn -= chances[counts[unit]]
        if drawn < 0:
            return unit, state
    while len(units) < num_units:
        state, drawn = uniform(state)
        unit = first + np.int32(drawn * num_units)
        if counts[unit] == 0:
            return unit, state
    return units[-1], state
