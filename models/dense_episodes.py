"""The memory of episodes as bits: every synapse that could be, from the start on, in memory of a fixed size.

It holds and answers what `models.episodes` does, whose memory is the links that there are and whose time grows with
them. Here, what a history costs does not depend on how much is stored: for each item a row of units is read, and for
each of the winners, of which every module always has num_winners, a row of items. Worth it where banks are full.

Shapes: U = Q * K units of a bank, of `num_banks` banks; B histories. Rows of bits are padded to words of 64.
"""

from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.links import Links
from models.read_out import Fills, Heap, read_in_blocks, take_best
from models.sequences import Sequences

WORD = 64


class Operations(NamedTuple):
    """What a memory has done so far: bits set, two for each link, rows of bits read, words of those rows."""

    bits_set: int
    rows_read: int
    words_read: int


class DenseEpisodes:
    """The banks side by side; weights: float32[banks], how much each counts.

    Memory: num_items * banks * U / 4 bytes, half of them each way around, and 8 an item and bank.
    """

    def __init__(self, num_items: int, num_modules: int, bank_units: int, weights: NDArray[np.float32]) -> None:
        num_units = len(weights) * bank_units
        try:
            self._units = np.zeros((num_items, -(-num_units // WORD)), np.uint64)
            self._items = np.zeros((num_units, -(-num_items // WORD)), np.uint64)
        except MemoryError as error:
            raise MemoryError(
                f"{len(weights)} dense banks of {bank_units} units need {num_items * num_units / 2**32:.1f} GiB for "
                f"{num_items} items: take storage = sparse, fewer num_units or a larger generation_days"
            ) from error
        self._numbers = np.zeros((len(weights), num_items), np.int64)  # of each bank's units, with each item
        self._num_modules, self._bank_units, self._weights = num_modules, bank_units, weights
        self._done, self._lock = np.zeros(len(Operations._fields), np.int64), Lock()

    @classmethod
    def of(cls, banks: list[Links], num_modules: int, weights: NDArray[np.float32]) -> Self:
        """Store the links of each bank, [num_items, U]."""
        memory = cls(banks[0].num_rows, num_modules, banks[0].num_columns, weights)
        for number, bank in enumerate(banks):
            memory.store(bank.rows, bank.columns, number)
        return memory

    def store(self, items: NDArray[np.integer], units: NDArray[np.integer], bank: int = 0) -> None:
        """Link each item with the unit of a bank that stands beside it, whether or not it is."""
        _store(items, units + bank * self._bank_units, self._units, self._items, self._numbers[bank])
        self._add([2 * len(items), 0, 0])

    @property
    def nbytes(self) -> int:
        """The bytes of the memory."""
        return self._units.nbytes + self._items.nbytes + self._numbers.nbytes

    @property
    def fill(self) -> float:
        """The share of all possible links that there are."""
        return float(self._numbers.sum()) / max(1, self._numbers.size * self._bank_units)

    @property
    def fills(self) -> Fills:
        """The share of each bank's units that every item is linked with."""
        return Fills.of(csr_array(self._numbers.T / np.float32(self._bank_units)))

    @property
    def operations(self) -> Operations:
        """What was done since the beginning."""
        return Operations(*self._done.tolist())

    def found(
        self, histories: Sequences, power: float, num_winners: int, most_found: int, *, is_corrected: bool = True
    ) -> csr_array:
        """Answer as `Episodes.found` does, but for the rounding of sums."""
        num_winners = min(num_winners, self._bank_units // self._num_modules)
        how = (self._bank_units, self._num_modules, power, num_winners)
        shares = (self._numbers / self._bank_units).astype(np.float32) if is_corrected else np.zeros((0, 0), np.float32)

        def read(
            block: Sequences, heap: Heap, items: NDArray[np.int32], answers: NDArray[np.float32]
        ) -> NDArray[np.int64]:
            done = np.zeros(2, np.int64)
            memory = self._units, self._items, shares, self._weights
            offsets: NDArray[np.int64] = _read((block.items, block.offsets), memory, how, done, heap, items, answers)
            self._add([0, *done])
            return offsets

        return read_in_blocks(histories, len(self._units), most_found, read)

    def familiarity(self, histories: Sequences) -> NDArray[np.float32]:
        """Return G of each history, float32[B], as `Episodes.familiarity` does."""
        banks = (len(self._weights), self._bank_units, self._num_modules)
        return _familiarity((histories.items, histories.offsets), self._units, *banks)

    def _add(self, done: Iterable[int]) -> None:
        with self._lock:
            self._done += np.fromiter(done, np.int64)


@njit(cache=True, nogil=True)
def _store(some_items, some_units, units, items, numbers):  # type: ignore[no-untyped-def]
    one = np.uint64(1)
    for place in range(len(some_items)):
        item, unit = some_items[place], some_units[place]
        bit = one << np.uint64(unit % WORD)
        numbers[item] += units[item, unit // WORD] & bit == 0
        units[item, unit // WORD] |= bit
        items[unit, item // WORD] |= one << np.uint64(item % WORD)


@njit(cache=True, nogil=True)
def _read(histories, memory, how, done, heap, out_items, out_shares):  # type: ignore[no-untyped-def]
    """Write each history's found items and shares one after the other; return the offsets of the histories."""
    (events, event_offsets), (units, items, shares, weights) = histories, memory
    bank_units, num_modules, power, num_winners = how
    num_items, num_modules = len(units), num_modules * len(weights)
    support, newest = np.empty(units.shape[1] * WORD, np.int32), np.empty(units.shape[1] * WORD, np.int32)
    scores, found = np.empty(items.shape[1] * WORD, np.float32), np.empty(num_items, np.int32)
    asked_in = np.full(num_items, -1, np.int64)  # the last history that asked with an item
    winners, sums = np.empty((num_modules, num_winners), np.int32), np.empty(len(weights))
    offsets = np.zeros(len(event_offsets), np.int64)
    for row in range(len(event_offsets) - 1):
        first, stop, total = event_offsets[row], event_offsets[row + 1], 0
        support[:], newest[:], scores[:], sums[:] = 0, 0, 0, 0
        for event in range(stop - 1, first - 1, -1):  # the newest first: a repeat has the weight of the last time
            if asked_in[events[event]] != row:
                asked_in[events[event]] = row
                total += event - first + 1
                _hear(units[events[event]], event - first + 1, support, newest, done)
        _choose(support, newest, total + 1, winners, bank_units * len(weights) // num_modules)
        for unit in winners.ravel():
            heard, weight = support[unit] / max(total, 1), weights[unit // bank_units]
            activity = np.float32(weight * heard**power) if heard > 0 else np.float32(0)
            sums[unit // bank_units] += activity
            _speak(items[unit], activity, scores, done)
        num_found = _find(scores, shares, sums, found)
        offsets[row + 1] = take_best(scores, found, num_found, 0.0, heap, out_items, out_shares, offsets[row])
    return offsets


@njit(cache=True, nogil=True)
def _hear(words, weight, support, newest, done):  # type: ignore[no-untyped-def]
    """Give an item's weight to the units that know it; the first to do so is the newest."""
    for number in range(len(words)):
        for bit in range(WORD):
            unit, heard = number * WORD + bit, np.int32((words[number] >> np.uint64(bit)) & np.uint64(1)) * weight
            support[unit] += heard
            newest[unit] = max(newest[unit], heard)
    done[0] += 1
    done[1] += len(words)


@njit(cache=True, nogil=True)
def _choose(support, newest, base, winners, module_units):  # type: ignore[no-untyped-def]
    """List the winners of each module: of the most support, of equal ones the newest, and of those the first."""
    num_modules, num_winners = winners.shape
    for module in range(num_modules):
        first = module * module_units
        keys = support[first : first + module_units].astype(np.int64) * base + newest[first : first + module_units]
        limit = np.partition(keys, module_units - num_winners)[module_units - num_winners]
        room, place = num_winners - (keys > limit).sum(), 0
        for unit in range(module_units):
            if keys[unit] > limit or (keys[unit] == limit and room > 0):
                room -= keys[unit] == limit
                winners[module, place] = first + unit
                place += 1


@njit(cache=True, nogil=True)
def _speak(words, activity, scores, done):  # type: ignore[no-untyped-def]
    """Give a unit's activity to the items that it is linked with."""
    for number in range(len(words)):
        for bit in range(WORD):
            is_linked = np.int32((words[number] >> np.uint64(bit)) & np.uint64(1))
            scores[number * WORD + bit] += np.float32(is_linked) * activity
    done[0] += 1
    done[1] += len(words)


@njit(cache=True, nogil=True)
def _find(scores, shares, sums, found):  # type: ignore[no-untyped-def]
    """Take the crosstalk off, and list the items that have a score; return how many there are."""
    for bank in range(len(shares)):
        for item in range(len(found)):
            scores[item] -= np.float32(sums[bank]) * shares[bank, item]
    num_found = 0
    for item in range(len(found)):
        found[num_found] = item
        num_found += scores[item] > 0
    return num_found


@njit(cache=True, nogil=True)
def _familiarity(histories, units, num_banks, bank_units, num_modules):  # type: ignore[no-untyped-def]
    events, event_offsets = histories
    support, newest = np.empty(units.shape[1] * WORD, np.int32), np.empty(units.shape[1] * WORD, np.int32)
    asked_in, done = np.full(len(units), -1, np.int64), np.zeros(2, np.int64)
    out = np.zeros(len(event_offsets) - 1, np.float32)
    module_units = bank_units // num_modules
    for row in range(len(out)):
        num_items = 0
        support[:] = 0
        for event in range(event_offsets[row], event_offsets[row + 1]):
            if asked_in[events[event]] != row:
                asked_in[events[event]] = row
                num_items += 1
                _hear(units[events[event]], 1, support, newest, done)
        for bank in range(num_banks if num_items else 0):
            total = 0
            for module in range(bank * num_modules, (bank + 1) * num_modules):
                total += support[module * module_units : (module + 1) * module_units].max()
            out[row] = max(out[row], total / num_modules / num_items)
    return out
