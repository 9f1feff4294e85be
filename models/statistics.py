"""How items and subjects behave in a training part: what the pipeline's statistics tables say of them, by number."""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.sequences import PADDING

KINDS: Final = {
    "is_frequent": (np.dtype(np.bool_), 1),
    "gap_variance": (np.dtype(np.float64), 1),
    "neighbours": (np.dtype(np.int32), 2),
    "is_uniform": (np.dtype(np.bool_), 1),
    "is_uneven": (np.dtype(np.bool_), 1),
}


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of V items and of the S subjects of a training part, none of which has seen a later event.

    as_of: last day whose events they have seen. is_frequent: bool[V]. gap_variance: float64[V], of the seconds between
    the events on an item, NaN with fewer than two gaps. neighbours: int32[V, K], items that the same subjects touched,
    best first, PADDING where there are fewer. is_uniform, is_uneven: bool[S], subjects who come in even or uneven
    intervals; neither, where too few events are known. Raises ValueError where these do not fit together.
    """

    as_of: date
    is_frequent: NDArray[np.bool_]
    gap_variance: NDArray[np.float64]
    neighbours: NDArray[np.int32]
    is_uniform: NDArray[np.bool_]
    is_uneven: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name, (kind, num_axes) in KINDS.items():
            array = getattr(self, name)
            if (array.dtype, array.ndim) != (kind, num_axes):
                raise ValueError(f"{name} is {array.dtype} of {array.ndim} axes; allowed: {kind} of {num_axes}")
        for name, array in (("gap_variance", self.gap_variance), ("neighbours", self.neighbours)):
            if len(array) != self.num_items:
                raise ValueError(f"{name} has {len(array)} items, is_frequent {self.num_items}")
        if len(self.is_uniform) != len(self.is_uneven):
            raise ValueError(f"is_uniform has {len(self.is_uniform)} subjects, is_uneven {len(self.is_uneven)}")
        if (self.is_uniform & self.is_uneven).any():
            raise ValueError(f"subject {int(np.argmax(self.is_uniform & self.is_uneven))} is both uniform and uneven")
        if not self.neighbours.shape[1]:
            raise ValueError("neighbours has no column; it needs one, of padding where no item has a neighbour")
        lowest, highest = self.neighbours.min(initial=PADDING), self.neighbours.max(initial=PADDING)
        if lowest < PADDING or highest >= self.num_items:
            raise ValueError(f"neighbours are items {lowest} to {highest}; allowed: 0 to {self.num_items - 1}")

    @property
    def num_items(self) -> int:
        """Item numbers, padding and unknown included."""
        return len(self.is_frequent)

    def take(self, subjects: NDArray[np.int64]) -> Self:
        """Select subjects by index, in the order given."""
        uniform, uneven = self.is_uniform[subjects], self.is_uneven[subjects]
        return type(self)(self.as_of, self.is_frequent, self.gap_variance, self.neighbours, uniform, uneven)

    def check(self, num_items: int, num_subjects: int) -> None:
        """Raise ValueError where they are of other items, or of another training part."""
        if self.num_items != num_items:
            raise ValueError(f"statistics as of {self.as_of} are of {self.num_items} items; here there are {num_items}")
        if len(self.is_uniform) != num_subjects:
            raise ValueError(
                f"statistics as of {self.as_of} are of {len(self.is_uniform)} subjects; the training part has "
                f"{num_subjects}: measure them on the part that the model learns from"
            )

    def add_to(self, digest: "hashlib._Hash") -> None:
        """Update a digest with all of them."""
        digest.update(self.as_of.isoformat().encode())
        for array in (self.is_frequent, self.gap_variance, self.neighbours, self.is_uniform, self.is_uneven):
            digest.update(np.ascontiguousarray(array).data)
