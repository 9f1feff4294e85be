"""Binary synapses: which units are linked with which items, none twice; a weight is 1 where there is a link, else 0.

Shapes: R rows, C columns, L links.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, vstack

PACKED = ("rows", "lengths", "columns")


@dataclass(frozen=True, eq=False)
class Links:
    """Row r is linked with columns[offsets[r]:offsets[r + 1]], which rise; columns int32[L], offsets int64[R + 1]."""

    columns: NDArray[np.int32]
    offsets: NDArray[np.int64]
    num_columns: int

    @property
    def num_rows(self) -> int:
        """The number of rows, R."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of links of every row, int64[R]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row to which every link belongs, int64[L]."""
        return np.repeat(np.arange(self.num_rows), self.lengths)

    @property
    def fill(self) -> float:
        """The share of all possible links that there are."""
        return len(self.columns) / max(1, self.num_rows * self.num_columns)

    @classmethod
    def of(cls, rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> Self:
        """Link each row with the column beside it; the same pair again changes nothing."""
        return cls.taken(csr_array((np.ones(len(rows), np.bool_), (rows, columns)), shape=shape))

    @classmethod
    def taken(cls, matrix: csr_array) -> Self:
        """Take the entries of a sparse matrix as links."""
        matrix.sum_duplicates()
        return cls(matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64), matrix.shape[1])

    def packed(self) -> dict[str, NDArray[np.int32]]:
        """Return the rows that have links, how many, and their columns, by the names of PACKED."""
        rows = np.flatnonzero(self.lengths)
        return {"rows": rows.astype(np.int32), "lengths": self.lengths[rows].astype(np.int32), "columns": self.columns}

    @classmethod
    def unpacked(cls, packed: Mapping[str, NDArray[np.int32]], shape: tuple[int, int]) -> Self:
        """Take what `packed` returned."""
        lengths = np.zeros(shape[0] + 1, np.int64)
        lengths[packed["rows"] + 1] = packed["lengths"]
        return cls(packed["columns"], np.cumsum(lengths), shape[1])

    def matrix(self) -> csr_array:
        """Return the links as a sparse matrix, bool[R, C]."""
        shape = (self.num_rows, self.num_columns)
        return csr_array((np.ones(len(self.columns), np.bool_), self.columns, self.offsets), shape=shape)

    def transposed(self) -> Self:
        """Return the same links with rows and columns exchanged."""
        return type(self).taken(csr_array(self.matrix().T))

    def widened(self, num_rows: int, num_columns: int) -> Self:
        """Return the same links with rows and columns behind that have none."""
        more = np.full(num_rows - self.num_rows, self.offsets[-1])
        return type(self)(self.columns, np.concatenate([self.offsets, more]), num_columns)

    @classmethod
    def side_by_side(cls, parts: Sequence[Self]) -> Self:
        """Put the columns of some behind one another; all have the same rows."""
        return parts[0] if len(parts) == 1 else cls.taken(csr_array(hstack([part.matrix() for part in parts])))

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """Put the rows of some behind one another; all have the same columns."""
        return parts[0] if len(parts) == 1 else cls.taken(csr_array(vstack([part.matrix() for part in parts])))
