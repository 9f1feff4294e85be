"""Reading a memory: the activity of units becomes the scores of what they are linked with, less what chance would give.

Jitted pieces that the memories share. The crosstalk of an item is what it would score if the active units were any: the
sum of the activities times the item's share of all units; without taking it off, popular items win everywhere.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from models.best_list import push
from models.links import Links
from models.sequences import Sequences
from models.threads import one_thread_a_block

BLOCK_SUBJECTS = 128

Heap = tuple[NDArray[np.float32], NDArray[np.int32]]
ReadRows = Callable[[Heap, NDArray[np.int32], NDArray[np.float32]], NDArray[np.int64]]
Read = Callable[[Sequences, Heap, NDArray[np.int32], NDArray[np.float32]], NDArray[np.int64]]


class Fills(NamedTuple):
    """The banks in which each column has links, and what share of the bank's units: flat, with offsets by column."""

    banks: NDArray[np.int32]
    shares: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, shares: csr_array) -> "Fills":
        """Take the shares of each column in each bank, [C, banks]."""
        return cls(shares.indices, shares.data, shares.indptr.astype(np.int64))


@njit(cache=True, nogil=True)
def add_links(links, unit, activity, scores, found, num_found):  # type: ignore[no-untyped-def]
    """Give a unit's activity to all it is linked with; return how many have a score then, the new ones in ``found``.

    links: columns and offsets of `models.links.Links`. scores: float32[C], 0 of what is not found; found: int32[C + 1],
    for without a branch, which is faster, the one behind the last is written too.
    """
    columns, offsets = links
    if not activity > 0:  # as of a bank whose weight is too small for a number: what it finds would never have a score
        return num_found
    for place in range(offsets[unit], offsets[unit + 1]):
        column = columns[place]
        score = scores[column]
        found[num_found] = column
        num_found += score == 0
        scores[column] = score + activity
    return num_found


@njit(cache=True, nogil=True)
def crosstalk(fills, sums, column):  # type: ignore[no-untyped-def]
    """Return what a column would score by chance. fills: banks, shares, offsets by column; sums: activity of each."""
    banks, shares, offsets = fills
    expected = 0.0
    for place in range(offsets[column], offsets[column + 1]):
        expected += sums[banks[place]] * shares[place]
    return expected


@njit(cache=True, nogil=True)
def take_best(scores, found, num_found, whole, heap, items, shares, end):  # type: ignore[no-untyped-def]
    """Write the best of what is found, as shares of `whole` or, where that is 0, of the sum of all above 0.

    heap: scores and places for as many as are kept. Clears the scores, and returns the end of what is written.
    """
    best, places = heap
    size, total = 0, 0.0
    for number in range(num_found):
        item = found[number]
        score = scores[item]
        scores[item] = 0
        if score > 0:
            total += score
            size = push(best, places, size, np.float32(score), item)
    for number in range(size):
        items[end + number] = places[number]
        shares[end + number] = best[number] / (whole if whole > 0 else total)
    return end + size


def fills_of(links: Links, bank_units: int) -> Fills:
    """Return the share of each bank's units that every column is linked with; links: [U, C], bank after bank."""
    shares = []
    for first in range(0, links.num_rows, bank_units):
        columns = links.columns[links.offsets[first] : links.offsets[first + bank_units]]
        shares.append(csr_array(np.bincount(columns, minlength=links.num_columns)[None] / np.float32(bank_units)))
    return Fills.of(csr_array(vstack(shares).T))


def read_rows(num_rows: int, num_columns: int, most_found: int, read: ReadRows) -> csr_array:
    """Give `read` room for the best most_found of each row, and return what it finds, float32 CSR."""
    width = min(most_found, num_columns)
    columns, shares = np.empty(num_rows * width, np.int32), np.empty(num_rows * width, np.float32)
    offsets = read((np.empty(width, np.float32), np.empty(width, np.int32)), columns, shares)
    return csr_array((shares[: offsets[-1]], columns[: offsets[-1]], offsets), shape=(num_rows, num_columns))


def read_in_blocks(histories: Sequences, num_columns: int, most_found: int, read: Read) -> csr_array:
    """Read a memory for all histories, a block of them on each core; float32 CSR [B, num_columns].

    read: fills the columns and shares of a block, and returns the offsets of its rows.
    """

    def read_block(start: int) -> csr_array:
        block = histories.take(np.arange(start, min(start + BLOCK_SUBJECTS, len(histories))))
        return read_rows(len(block), num_columns, most_found, partial(read, block))

    with one_thread_a_block() as pool:
        blocks = list(pool.map(read_block, range(0, len(histories), BLOCK_SUBJECTS)))
    return vstack([*blocks, csr_array((0, num_columns), dtype=np.float32)], format="csr")
