"""What is known of the items before anything happened: how many there are, and the values of their fields.

A value is a number, given by the vocabulary of the field: 0 is padding, 1 a value outside the vocabulary, real values
start at 2. Numbers of items and values are never taken back, so a model that has learnt from one catalogue can be asked
with a later one, which holds more of both.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.sequences import FIRST_ITEM, PADDING, check_offsets

FIRST_VALUE = FIRST_ITEM


@dataclass(frozen=True, eq=False)
class Values:
    """A field: item i has numbers[offsets[i]:offsets[i + 1]], none, one or several; each is below num_values.

    numbers: int32[N]. offsets: int64[num_items + 1].
    """

    numbers: NDArray[np.int32]
    offsets: NDArray[np.int64]
    num_values: int

    def __post_init__(self) -> None:
        assert self.numbers.dtype == np.int32, f"numbers are {self.numbers.dtype}, not int32"
        assert self.offsets.dtype == np.int64, f"offsets are {self.offsets.dtype}, not int64"
        check_offsets(self.offsets, len(self.numbers), "values")
        if len(self.numbers) and not 0 < self.numbers.min() <= self.numbers.max() < self.num_values:
            raise ValueError(
                f"values are {self.numbers.min()} to {self.numbers.max()}; allowed: 1 to {self.num_values - 1}"
            )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of values of every item, int64[num_items]."""
        return np.diff(self.offsets)

    def first(self) -> NDArray[np.int32]:
        """Return the first value of each item, int32[num_items], PADDING where it has none with a name."""
        first = np.append(self.numbers, np.int32(PADDING))[self.offsets[:-1]]
        return np.where((self.lengths > 0) & (first >= FIRST_VALUE), first, PADDING).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items: `num_items` counts the two special numbers, so real items are 2 to num_items - 1.

    fields: by name; of a category path each level is a field, category_1 the first. quantities: float64[num_items] by
    name, NaN where it is not known. Raises ValueError where these do not fit together.
    """

    num_items: int
    fields: Mapping[str, Values] = field(default_factory=dict)
    quantities: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_items <= FIRST_ITEM:
            raise ValueError(
                f"num_items is {self.num_items}; it counts the two special numbers, so at least {FIRST_ITEM + 1}"
            )
        sizes = {name: len(values.lengths) for name, values in self.fields.items()}
        sizes |= {name: len(quantity) for name, quantity in self.quantities.items()}
        for name, size in sizes.items():
            if size != self.num_items:
                raise ValueError(f"field {name!r} has {size} items; the catalogue has {self.num_items}")

    def add_to(self, digest: "hashlib._Hash") -> None:
        """Update a digest with all that is known of the items."""
        for name, values in sorted(self.fields.items()):
            digest.update(f"{name!r} {values.num_values}".encode())
            digest.update(np.ascontiguousarray(values.numbers).data)
            digest.update(np.ascontiguousarray(values.offsets).data)
        for name, quantity in sorted(self.quantities.items()):
            digest.update(repr(name).encode())
            digest.update(np.ascontiguousarray(quantity).data)
