"""The memory of episodes: what was together in one sequence.

An episode is a sequence as a whole; its code, one of K units in each of Q modules, is linked with all its items. In a
history a unit's support V is the share of its items that the unit is linked with, the newer the more; each unit speaks
for its items with V^power. So each module is a random partition of the past sequences into K classes, and the memory is
session-kNN with a fixed number of neighbours' classes instead of the neighbours. The units of the most support speak,
a fixed number in each module, as the nearest neighbours do.

Changed from the papers: a code is drawn at random, as the selection of `models.csa` does where the height of its
expansivity is 0. Codes that lean to familiar units (`models.episode_codes`) save links and find less, and reading by
one winner a module finds much less.

Shapes: S sequences, U = Q * K units of a bank, B histories.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.links import Links
from models.read_out import Fills, Heap, add_links, crosstalk, fills_of, read_in_blocks, take_best
from models.sequences import Sequences


def learn_episodes(
    pieces: Sequences, num_items: int, num_modules: int, num_units: int, generator: np.random.Generator
) -> Links:
    """Draw a code for every sequence and link it with its items: Links [num_items, U]."""
    return Links.of(*draw_links(pieces, num_modules, num_units, generator), (num_items, num_modules * num_units))


def draw_links(
    pieces: Sequences, num_modules: int, num_units: int, generator: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw a code for every sequence; return its items and, beside each, one of the units of the code."""
    codes = generator.integers(0, num_units, (len(pieces), num_modules)) + np.arange(num_modules) * num_units
    return np.repeat(pieces.items, num_modules), codes[pieces.rows].astype(np.int32).ravel()


class Episodes(NamedTuple):
    """The banks side by side, to be read. units: Links [num_items, banks * U], items: the same the other way around.

    num_modules: of each bank. weights: float32[banks], how much each counts.
    """

    units: Links
    items: Links
    fills: Fills
    num_modules: int
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, banks: list[Links], num_modules: int, weights: NDArray[np.float32]) -> "Episodes":
        """Put the banks side by side."""
        units = Links.side_by_side(banks)
        items = units.transposed()
        return cls(units, items, fills_of(items, banks[0].num_columns), num_modules, weights)

    @property
    def bank_units(self) -> int:
        """The number of units of a bank."""
        return self.units.num_columns // len(self.weights)

    def found(
        self, histories: Sequences, power: float, num_winners: int, most_found: int, *, is_corrected: bool = True
    ) -> csr_array:
        """Return each item's share of the score of all, float32 CSR [B, num_items], of the best most_found.

        num_winners: of each module, the units of the most support that speak; of equal ones those that the newer item
        has activated, and of those the first.
        """

        def read(
            block: Sequences, heap: Heap, items: NDArray[np.int32], shares: NDArray[np.float32]
        ) -> NDArray[np.int64]:
            return _read(
                (block.items, block.offsets),
                (self.units.columns, self.units.offsets),
                (self.items.columns, self.items.offsets),
                (tuple(self.fills), self.weights, self.bank_units, self.num_modules, power, num_winners, is_corrected),
                heap,
                items,
                shares,
            )

        return read_in_blocks(histories, self.units.num_rows, most_found, read)

    def familiarity(self, histories: Sequences) -> NDArray[np.float32]:
        """Return G of each history, float32[B]: the mean over modules of the largest V, in the bank where that is most.

        V of a unit is here the share of the different items that it is linked with: 1 where all were together before.
        A history without an item has 0.
        """
        units = (self.units.columns, self.units.offsets)
        banks = (len(self.weights), self.bank_units, self.num_modules)
        return _familiarity((histories.items, histories.offsets), units, *banks)


@njit(cache=True, nogil=True)
def _read(histories, units, items, how, heap, out_items, out_shares):  # type: ignore[no-untyped-def]
    """Write each history's found items and shares one after the other; return the offsets of the histories."""
    events, event_offsets = histories
    fills, weights, is_corrected = how[0], how[1], how[-1]
    num_items, num_units = len(units[1]) - 1, len(items[1]) - 1
    support, active = np.zeros(num_units, np.float32), np.empty(num_units + 1, np.int32)
    scores, found = np.zeros(num_items, np.float32), np.empty(num_items + 1, np.int32)
    asked_in = np.full(num_items, -1, np.int64)  # the last history that asked with an item
    sums = np.empty(len(weights))
    offsets = np.zeros(len(event_offsets), np.int64)
    for row in range(len(event_offsets) - 1):
        first, stop = event_offsets[row], event_offsets[row + 1]
        num_active, total, num_found = 0, 0, 0
        for event in range(stop - 1, first - 1, -1):  # the newest first: a repeat has the weight of the last time
            if asked_in[events[event]] != row:
                asked_in[events[event]] = row
                total += event - first + 1
                num_active = add_links(units, events[event], event - first + 1, support, active, num_active)
        _activate(support, active[:num_active], total, how, sums)
        for unit in active[:num_active]:
            if support[unit] > 0:
                num_found = add_links(items, unit, support[unit], scores, found, num_found)
            support[unit] = 0
        if is_corrected:
            for number in range(num_found):
                scores[found[number]] -= crosstalk(fills, sums, found[number])
        offsets[row + 1] = take_best(scores, found, num_found, 0.0, heap, out_items, out_shares, offsets[row])
    return offsets


@njit(cache=True, nogil=True)
def _activate(support, active, total, how, sums):  # type: ignore[no-untyped-def]
    """Turn the support of active units, whole numbers of `total`, into activity; sum it by bank."""
    _, weights, bank_units, num_modules, power, num_winners, _ = how
    activities = ((np.arange(total + 1) / total) ** power).astype(np.float32)
    module_units = bank_units // num_modules
    lowest, room = _limits(support, active, total, module_units, num_modules * len(weights), num_winners)
    sums[:] = 0
    for unit in active:
        module, heard = unit // module_units, int(support[unit])
        support[unit] = 0
        if heard == lowest[module]:
            room[module] -= 1
        if heard > lowest[module] or (heard == lowest[module] and room[module] >= 0):
            support[unit] = weights[unit // bank_units] * activities[heard]
            sums[unit // bank_units] += support[unit]


@njit(cache=True, nogil=True)
def _limits(support, active, total, module_units, num_modules, num_winners):  # type: ignore[no-untyped-def]
    """Return the least support that speaks in each module, and how many units of just that support do."""
    numbers = np.zeros((num_modules, total + 1), np.int32)
    for unit in active:
        numbers[unit // module_units, int(support[unit])] += 1
    lowest, room = np.ones(num_modules, np.int32), np.zeros(num_modules, np.int32)
    for module in range(num_modules):
        left, level = num_winners, total
        while level > 1 and numbers[module, level] < left:
            left -= numbers[module, level]
            level -= 1
        lowest[module], room[module] = level, left
    return lowest, room


@njit(cache=True, nogil=True)
def _familiarity(histories, units, num_banks, bank_units, num_modules):  # type: ignore[no-untyped-def]
    events, event_offsets = histories
    module_units = bank_units // num_modules
    support = np.zeros(num_banks * bank_units, np.float32)
    active = np.empty(len(support) + 1, np.int32)
    asked_in = np.full(len(units[1]) - 1, -1, np.int64)  # the last history that had an item
    largest = np.empty(num_banks * num_modules, np.float32)
    out = np.zeros(len(event_offsets) - 1, np.float32)
    for row in range(len(out)):
        num_active, num_items = 0, 0
        for event in range(event_offsets[row], event_offsets[row + 1]):
            if asked_in[events[event]] != row:
                asked_in[events[event]] = row
                num_items += 1
                num_active = add_links(units, events[event], 1, support, active, num_active)
        largest[:] = 0
        for unit in active[:num_active]:
            module = unit // module_units
            largest[module] = max(largest[module], support[unit])
            support[unit] = 0
        for bank in range(num_banks if num_items else 0):
            mean = largest[bank * num_modules : (bank + 1) * num_modules].mean() / num_items
            out[row] = max(out[row], mean)
    return out
