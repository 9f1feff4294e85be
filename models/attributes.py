"""The memory of attributes: what the items that came next have in common, so that items without an event are found.

A unit of the moments is linked with every value of a field that an item has which followed it. What a history asks for
is then a set of values, and an item without an event scores the mean of its own.

Shapes: A values of all fields, B histories.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.catalogue import Catalogue
from models.field_plan import FIRST_SEEN, Fields, plan_fields
from models.links import Links
from models.moments_recall import MomentMemory, Reading
from models.read_out import Heap, add_links, read_rows, take_best
from models.sequences import UNKNOWN, Sequences

MOST_VALUES = 50  # that a history asks for


def plan_attributes(catalogue: Catalogue, seen: NDArray[np.bool_]) -> Fields:
    """Choose the fields of which the values are attributes; since when an item is known is none."""
    fields, _ = plan_fields(catalogue, seen)
    return tuple(field for field in fields if field.name != FIRST_SEEN)


def link_attributes(catalogue: Catalogue, fields: Fields) -> Links:
    """Link every item with the values of its fields, numbered one field after the other: Links [num_items, A]."""
    rows, columns, num_values = [], [], 0
    for field in fields:
        values = field.values(catalogue)
        named = (values.numbers > UNKNOWN) & (values.numbers < field.num_rows)
        rows.append(np.repeat(np.arange(catalogue.num_items), values.lengths)[named])
        columns.append(values.numbers[named] + num_values)
        num_values += field.num_rows
    return Links.of(np.concatenate(rows), np.concatenate(columns), (catalogue.num_items, num_values))


class AttributeMemory:
    """What follows the moments, by value; items: those to be found, bool[num_items]."""

    def __init__(self, moments: MomentMemory, attributes: Links, items: NDArray[np.bool_]) -> None:
        matrix = attributes.matrix()
        self._moments = moments.of_attributes(matrix)
        self._num_values = np.maximum(attributes.lengths, 1).astype(np.float32)
        self._masses = (matrix.T @ (1 / self._num_values)).astype(np.float32)  # of each value in all items
        chosen = items[attributes.rows]
        shape = (attributes.num_columns, len(items))
        self._items = Links.of(attributes.columns[chosen], attributes.rows[chosen], shape)

    def found(self, histories: Sequences, how: Reading, most_found: int) -> csr_array:
        """Return each one's share of the score of all items, float32 CSR [B, num_items], of the best most_found."""
        values = self._moments.found(histories, how, MOST_VALUES)
        asked = (values.data, values.indices, values.indptr.astype(np.int64))
        links = (self._items.columns, self._items.offsets)

        def read(heap: Heap, items: NDArray[np.int32], shares: NDArray[np.float32]) -> NDArray[np.int64]:
            offsets: NDArray[np.int64] = _read(*asked, links, self._num_values, self._masses, heap, items, shares)
            return offsets

        return read_rows(len(histories), self._items.num_columns, most_found, read)


@njit(cache=True, nogil=True)
def _read(asked, values, value_offsets, links, num_values, masses, heap, out_items, out_shares):  # type: ignore[no-untyped-def]
    """Write each history's found items and shares one after the other; return the offsets of the histories."""
    scores, found = np.zeros(len(num_values), np.float32), np.empty(len(num_values) + 1, np.int32)
    offsets = np.zeros(len(value_offsets), np.int64)
    for row in range(len(value_offsets) - 1):
        num_found, whole = 0, 0.0
        for place in range(value_offsets[row], value_offsets[row + 1]):
            whole += asked[place] * masses[values[place]]
            num_found = add_links(links, values[place], asked[place], scores, found, num_found)
        for number in range(num_found):
            scores[found[number]] /= num_values[found[number]]
        offsets[row + 1] = take_best(scores, found, num_found, whole, heap, out_items, out_shares, offsets[row])
    return offsets
