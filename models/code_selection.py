"""What the memories share while they draw codes: how, the units that know each item so far, and random numbers.

The units that know an item are a list for each module. A list that is full moves behind the others, into twice the
room, so four times the room of all units is enough.
"""

from typing import NamedTuple

import numpy as np
from numba import njit


class Selection(NamedTuple):
    """How a code is drawn; see `models.csa`. num_modules, num_units: Q and K. is_contextual: whether there is an H."""

    num_modules: int
    num_units: int
    height: float
    midpoint: float
    slope: float
    is_contextual: bool
    lowest: float = 0.1
    exponent: float = 2.0


@njit(cache=True, nogil=True)
def empty_lists(num_items, num_modules, most_units):  # type: ignore[no-untyped-def]
    """Return lists for each item and module: where they start, their sizes, and room for most_units in all of them."""
    starts, sizes = np.zeros((num_items, num_modules), np.int64), np.zeros((num_items, num_modules), np.int32)
    return starts, sizes, np.empty(4 * most_units, np.int32)


@njit(cache=True, nogil=True)
def append(lists, item, module, unit, end):  # type: ignore[no-untyped-def]
    """Put a unit at the end of the list of an item in a module; return where the lists end then."""
    starts, sizes, units = lists
    size = sizes[item, module]
    if size & (size - 1) == 0:  # a power of two, or empty: it is full
        units[end : end + size] = knowing(lists, item, module)
        starts[item, module] = end
        end += max(1, 2 * size)
    units[starts[item, module] + size] = unit
    sizes[item, module] += 1
    return end


@njit(cache=True, nogil=True)
def knowing(lists, item, module):  # type: ignore[no-untyped-def]
    """Return the units of a module that know an item, in the order in which they learnt it."""
    starts, sizes, units = lists
    return units[starts[item, module] : starts[item, module] + sizes[item, module]]


@njit(cache=True, nogil=True)
def uniform(state):  # type: ignore[no-untyped-def]
    """Return the next state of a splitmix64 generator and its number in [0, 1)."""
    state += np.uint64(0x9E3779B97F4A7C15)
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, float((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) / 2.0**53
