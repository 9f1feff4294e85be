"""What comes next, read from the memory of moments.

For each of the last events of a history, units that know its item speak in their module, together with one voice: those
that know the item before it too with back_off + 1, the others with back_off, as many as num_winners. What they are
linked with is added up, less the crosstalk; what is not above one standard deviation of it is dropped. Older events
count less and less.
The same is read of attributes, for items that nobody has touched: a unit is linked with all that the items have which
follow its moments.

Shapes: U = Q * K units of a bank, B histories, C columns: items, or values of their fields.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.links import Links
from models.moments import Moments
from models.read_out import Fills, Heap, add_links, crosstalk, fills_of, read_in_blocks, take_best
from models.sequences import PADDING, Sequences

UNSURE = 0.4  # of what all modules that speak say, that is added to the sum by which a moment's scores are divided
NOISE = 0.02  # of variance, for each module that speaks, beside that of the crosstalk


class Reading(NamedTuple):
    """How a history asks: with its last num_moments different items, each older one counting decay times the next.

    back_off, num_winners: see above. At the start of a sequence nothing is known of what came before.
    """

    num_moments: int
    decay: float
    back_off: float
    num_winners: int
    is_corrected: bool


class MomentMemory(NamedTuple):
    """The banks side by side, to be read. known, before: Links [num_items, banks * U]; following: Links [banks * U, C].

    num_modules: of each bank. weights: float32[banks], how much each counts.
    """

    known: Links
    before: Links
    following: Links
    fills: Fills
    num_modules: int
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, banks: list[Moments], num_modules: int, weights: NDArray[np.float32]) -> "MomentMemory":
        """Put the banks side by side."""
        following = Links.stacked([bank.following for bank in banks])
        fills = fills_of(following, banks[0].known.num_columns)
        known = Links.side_by_side([bank.known for bank in banks])
        before = Links.side_by_side([bank.before for bank in banks])
        return cls(known, before, following, fills, num_modules, weights)

    def of_attributes(self, attributes: csr_array) -> "MomentMemory":
        """Return the same memory of the columns of attributes, bool[num_items, C], that the items have."""
        following = Links.taken(csr_array(self.following.matrix() @ attributes))
        return self._replace(following=following, fills=fills_of(following, self.bank_units))

    @property
    def bank_units(self) -> int:
        """The number of units of a bank."""
        return self.known.num_columns // len(self.weights)

    def found(self, histories: Sequences, how: Reading, most_found: int) -> csr_array:
        """Return each column's share of the score of all, float32 CSR [B, C], of the best most_found."""

        links = tuple((some.columns, some.offsets) for some in (self.known, self.before, self.following))

        def read(
            block: Sequences, heap: Heap, columns: NDArray[np.int32], shares: NDArray[np.float32]
        ) -> NDArray[np.int64]:
            return _read(
                (block.items, block.offsets),
                links,
                (tuple(self.fills), self.weights, self.bank_units, self.num_modules, how),
                heap,
                columns,
                shares,
            )

        return read_in_blocks(histories, self.following.num_columns, most_found, read)


@njit(cache=True, nogil=True)
def _read(histories, links, memory, heap, out_columns, out_shares):  # type: ignore[no-untyped-def]
    """Write each history's found columns and shares one after the other; return the offsets of the histories."""
    (events, event_offsets), known = histories, links[0]
    num_moments, decay = memory[4].num_moments, memory[4].decay
    num_columns = len(memory[0][2]) - 1
    scores, found = np.zeros(num_columns, np.float32), np.empty(num_columns + 1, np.int32)
    totals, reached = np.zeros(num_columns, np.float32), np.empty(num_columns, np.int32)
    asked_in = np.full(len(known[1]) - 1, -1, np.int64)  # the last history that asked with an item
    offsets = np.zeros(len(event_offsets), np.int64)
    for row in range(len(event_offsets) - 1):
        num_reached, num_asked, event = 0, 0, event_offsets[row + 1]
        while event > event_offsets[row] and num_asked < num_moments:
            event -= 1
            item = events[event]
            if asked_in[item] == row:
                continue
            asked_in[item] = row
            previous = events[event - 1] if event > event_offsets[row] else PADDING
            num_found = _ask(item, previous, links, memory, scores, found)
            share = np.float32(decay**num_asked)
            num_reached = _add(scores, found, num_found, share, totals, reached, num_reached)
            num_asked += 1
        offsets[row + 1] = take_best(totals, reached, num_reached, 0.0, heap, out_columns, out_shares, offsets[row])
    return offsets


@njit(cache=True, nogil=True)
def _ask(item, previous, links, memory, scores, found):  # type: ignore[no-untyped-def]
    """Score what follows one moment, as shares of their sum and of what a full code says for certain."""
    (known, before, following), (fills, weights, bank_units, num_modules, how) = links, memory
    module_units = bank_units // num_modules
    units = known[0][known[1][item] : known[1][item + 1]]
    heard = before[0][before[1][previous] : before[1][previous + 1]]
    sums, num_found, first = np.zeros(len(weights)), 0, 0
    while first < len(units):
        module, stop = units[first] // module_units, first
        while stop < len(units) and units[stop] // module_units == module:
            stop += 1
        bank = units[first] // bank_units
        loudness = sums[bank : bank + 1], weights[bank], how
        some = heard[np.searchsorted(heard, units[first]) :]
        num_found = _speak(units[first:stop], some, loudness, following, scores, found, num_found)
        first = stop
    variances, total = sums * weights, 0.0
    for number in range(num_found):
        column = found[number]
        if how.is_corrected:
            scores[column] -= crosstalk(fills, sums, column)
            if scores[column] < np.sqrt(crosstalk(fills, variances, column) + NOISE * variances.sum()):
                scores[column] = 0
        total += scores[column]
    for number in range(num_found):
        scores[found[number]] /= total + UNSURE * sums.sum()
    return num_found


@njit(cache=True, nogil=True)
def _speak(units, heard, loudness, following, scores, found, num_found):  # type: ignore[no-untyped-def]
    """Let the units of one item in one module speak; return how many columns have a score then.

    units, heard: those that know the item, and those that know the item before it; both rise.
    """
    total, weight, how = loudness
    hears, place = np.zeros(len(units), np.bool_), 0
    for number in range(len(units)):
        while place < len(heard) and heard[place] < units[number]:
            place += 1
        hears[number] = place < len(heard) and heard[place] == units[number]
    loud, quiet = np.float32(how.back_off + 1), np.float32(how.back_off)
    num_loud = min(hears.sum(), how.num_winners)
    num_quiet = min(len(units) - num_loud, how.num_winners - num_loud) if quiet > 0 else 0
    if num_loud + num_quiet == 0:
        return num_found
    total += weight
    share = np.float32(weight / (num_loud * loud + num_quiet * quiet))
    for number in range(len(units)):
        if hears[number] and num_loud > 0:
            num_loud -= 1
            num_found = add_links(following, units[number], loud * share, scores, found, num_found)
        elif not hears[number] and num_quiet > 0:
            num_quiet -= 1
            num_found = add_links(following, units[number], quiet * share, scores, found, num_found)
    return num_found


@njit(cache=True, nogil=True)
def _add(scores, found, num_found, share, totals, reached, num_reached):  # type: ignore[no-untyped-def]
    """Move the scores of a moment to the totals; return how many columns have a total then."""
    for number in range(num_found):
        column = found[number]
        added = share * scores[column]
        if added > 0:
            if totals[column] == 0:
                reached[num_reached] = column
                num_reached += 1
            totals[column] += added
        scores[column] = 0
    return num_reached
