"""The memory of moments: what came next after an item, told apart by the item before it.

A moment is an event. The code selection algorithm (`models.csa`) draws its code, one of the K units in each of Q
modules: U, from below, is the item; H, from the moment before, is the item before it. A unit that knows neither may be
drawn as well, so what is new gets a code of its own and what is familiar the code it had. A code stays on for some
moments ("persistence"), so it is linked with what follows up to so many events later.

Changed from the papers: H comes from the item before, not from its code, which is the same in the first order and Q
times cheaper. Reading is graded, not by the winners alone: many units of the item speak, those that know the item
before it too the loudest; and the crosstalk that items of many links have by chance is taken off.

Shapes: N events, Q modules, K units of each, U = Q * K.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.code_selection import Selection, append, empty_lists, knowing, uniform
from models.csa import activation, expansivity
from models.links import Links
from models.sequences import Sequences

FAN_OUT = 0.1  # of a module's units: an item that has so many gets no more
CONTEXT_ROWS = 8192  # of the bits that tell, while learning, which units know an item before; more items share them


@dataclass(frozen=True, eq=False)
class Moments:
    """What was learnt: the units of each item, those that know an item before, and what follows each unit's moments.

    known, before: Links [num_items, U]; the first moment of a sequence has none before it. following: Links
    [U, num_items]. familiarity: mean G while learning.
    """

    known: Links
    before: Links
    following: Links
    familiarity: float


def learn_moments(
    pieces: Sequences,
    is_own: NDArray[np.bool_],
    num_items: int,
    how: Selection,
    persistence: int,
    link_rate: float,
    generator: np.random.Generator,
) -> Moments:
    """Draw a code for every event, in the order of the pieces, and set its links.

    is_own: bool[N], which events are new here; of the others is only learnt which new ones follow on them. link_rate:
    how often a link to what follows is set, divided by the distance; 1 or more: always. Cost: Q * (units of
    the item) an event. Memory: up to 20 * Q bytes an event, Q * K / 8 an item, up to CONTEXT_ROWS of them.
    """
    num_units = how.num_modules * how.num_units
    codes, familiarity = _draw_codes(pieces, how, int(generator.integers(2**63)))
    shape, later = (num_items, num_units), np.flatnonzero(pieces.positions > 0)
    return Moments(
        Links.of(np.repeat(pieces.items, how.num_modules), codes.ravel(), shape),
        Links.of(np.repeat(pieces.items[later - 1], how.num_modules), codes[later].ravel(), shape),
        _following(pieces, is_own, codes, (num_units, num_items), persistence, link_rate, generator),
        familiarity,
    )


def _following(
    pieces: Sequences,
    is_own: NDArray[np.bool_],
    codes: NDArray[np.int32],
    shape: tuple[int, int],
    persistence: int,
    link_rate: float,
    generator: np.random.Generator,
) -> Links:
    """Link the units of every code with the items of the next moments, a module at a time to bound memory."""
    rows, num_modules = pieces.rows, codes.shape[1]
    units_of_module = shape[0] // num_modules
    distances = range(1, persistence + 1)
    followed = [np.flatnonzero((rows[distance:] == rows[:-distance]) & is_own[distance:]) for distance in distances]
    links = []
    for module in range(num_modules):
        units, items = [], []
        for distance, events in zip(distances, followed, strict=True):
            if link_rate < distance:
                events = events[generator.random(len(events)) < link_rate / distance]
            units.append(codes[events, module] - module * units_of_module)
            items.append(pieces.items[events + distance])
        links.append(Links.of(np.concatenate(units), np.concatenate(items), (units_of_module, shape[1])))
    return Links.stacked(links)


def _draw_codes(pieces: Sequences, how: Selection, seed: int) -> tuple[NDArray[np.int32], float]:
    """Return the units of every event's code, int32[N, Q], and the mean familiarity."""
    present, numbers = np.unique(pieces.items, return_inverse=True)
    codes = np.empty((len(numbers), how.num_modules), np.int32)
    rows = min(len(present), CONTEXT_ROWS) + 1 if how.is_contextual else 1
    context = np.zeros((rows, -(-how.num_modules * how.num_units // 8)), np.uint8)
    total = _select(numbers, pieces.offsets, len(present), context, how, np.uint64(seed), codes)
    return codes, total / max(1, len(numbers))


@njit(cache=True, nogil=True)
def _select(items, offsets, num_items, context, how, state, codes):  # type: ignore[no-untyped-def]
    """Fill the codes of all events in their order; return the sum of their familiarities.

    Support is 1 of a unit that knows the item and what came before, and 0 of all others, so there are two activations.
    """
    num_modules, num_units, height, midpoint, slope, is_contextual, lowest, exponent = how
    lists = empty_lists(num_items, num_modules, codes.size)
    supported, numbers = np.empty((num_modules, num_units), np.int32), np.empty(num_modules, np.int64)
    end, total = 0, 0.0
    for row in range(len(offsets) - 1):
        for event in range(offsets[row], offsets[row + 1]):
            item, heard = items[event], context[0]
            if is_contextual and event > offsets[row]:
                heard = context[1 + items[event - 1] % (len(context) - 1)]
            familiarity = _support(lists, item, heard, is_contextual, supported, numbers)
            total += familiarity
            eta = expansivity(familiarity, lowest, exponent, height, num_units)
            low, high = activation(0.0, eta, midpoint, slope), activation(1.0, eta, midpoint, slope)
            for module in range(num_modules):
                is_full = lists[1][item, module] >= max(1, FAN_OUT * num_units)
                others = (lists[1][item, module] if is_full else num_units) - numbers[module]
                state, drawn = uniform(state)
                drawn *= numbers[module] * high + others * low
                state, again = uniform(state)
                if drawn < numbers[module] * high:
                    unit = supported[module, int(again * numbers[module])]
                elif is_full:
                    unit = _other_known(lists, item, module, heard, int(again * others))
                else:
                    unit, is_known, state = _other(lists, item, module, heard, is_contextual, num_units, state)
                    if not is_known:
                        end = append(lists, item, module, unit, end)
                codes[event, module] = unit
                if is_contextual:
                    heard[unit >> 3] |= np.uint8(1 << (unit & 7))
    return total


@njit(cache=True, nogil=True)
def _support(lists, item, heard, is_contextual, supported, numbers):  # type: ignore[no-untyped-def]
    """List the units of full support in each module, and return the share of modules that have one."""
    familiar = 0
    for module in range(len(numbers)):
        number = 0
        for unit in knowing(lists, item, module):
            supported[module, number] = unit
            number += not is_contextual or _hears(heard, unit)
        numbers[module] = number
        familiar += number > 0
    return familiar / len(numbers)


@njit(cache=True, nogil=True)
def _other(lists, item, module, heard, is_contextual, num_units, state):  # type: ignore[no-untyped-def]
    """Draw any unit of a module but those of full support, which are few; tell whether it knows the item."""
    while True:
        state, drawn = uniform(state)
        unit = module * num_units + int(drawn * num_units)
        is_known = (knowing(lists, item, module) == unit).any()
        if not is_known or (is_contextual and not _hears(heard, unit)):
            return unit, is_known, state


@njit(cache=True, nogil=True)
def _other_known(lists, item, module, heard, place):  # type: ignore[no-untyped-def]
    """Return one of the units that know the item but not what came before."""
    units = knowing(lists, item, module)
    return units[np.array([not _hears(heard, unit) for unit in units])][place]


@njit(cache=True, nogil=True)
def _hears(heard, unit):  # type: ignore[no-untyped-def]
    return (heard[unit >> 3] >> (unit & 7)) & 1 != 0
