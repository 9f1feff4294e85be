"""Which fields of a catalogue a model reads, and how each is numbered; fixed when the model is fitted.

A later catalogue has more items and more values. A value that the fitted model has no row for is unknown to it; a field
that has lost values, or is gone, is refused: its numbers would mean other values.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter

from models.catalogue import FIRST_VALUE, Catalogue, Values
from models.recommender import UnfitStart
from models.sequences import FIRST_ITEM, UNKNOWN

LEAST_BUCKETS, MOST_BUCKETS = 20, 100  # of a quantity, each with as many of the items that were seen
BUCKET_ITEMS = 50  # that a bucket has at least, where there are more than LEAST_BUCKETS
CATEGORY = "category_"  # before the level of a category path, each of which is a field
ATTRIBUTE = "attribute:"  # before the name of an attribute
FIRST_SEEN = "first_seen"  # the quantity that says since when an item is known


class Field(BaseModel):
    """A field that a model reads. num_rows: how many values its table has, the two special numbers included.

    edges: of a quantity, the bounds between its buckets; None for a field of values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_rows: int
    edges: tuple[float, ...] | None = None

    def values(self, catalogue: Catalogue) -> Values:
        """Return what each item has in this field, by number. Raises ValueError where the catalogue does not fit."""
        known = catalogue.fields if self.edges is None else catalogue.quantities
        if self.name not in known:
            raise ValueError(f"the catalogue has lost field {self.name!r}, which the model has learnt: fit it anew")
        if self.edges is not None:
            return _buckets(catalogue.quantities[self.name], self.edges)
        values = catalogue.fields[self.name]
        if values.num_values < self.num_rows:
            raise ValueError(
                f"field {self.name!r} has {values.num_values} values, and the model has learnt {self.num_rows}: a "
                "vocabulary only grows, so these numbers mean other values; fit the model anew"
            )
        return values

    def grown(self, catalogue: Catalogue, planned: Self) -> Self:
        """Return the field with a row for every value of a later catalogue, and with the edges planned for that one."""
        self.values(catalogue)
        return planned.model_copy(update={"num_rows": max(self.num_rows, planned.num_rows)})

    @property
    def level(self) -> int:
        """The level of a category path, from 1; 0 for another field."""
        level = self.name.removeprefix(CATEGORY)
        return int(level) if level != self.name and level.isdigit() else 0


Fields = tuple[Field, ...]
_JSON = TypeAdapter(Fields)


def plan_fields(catalogue: Catalogue, seen: NDArray[np.bool_]) -> tuple[Fields, list[str]]:
    """Choose the fields that tell items apart without telling each of them alone; say what is left out, and why.

    seen: bool[num_items], the items with an event. Buckets of quantities are made for them, so that something is learnt
    of every bucket: an article of tomorrow is in that of the newest articles that were read.
    """
    fields, notes = [], []
    for name, values in sorted(catalogue.fields.items()):
        useless = _why_useless(values)
        if useless:
            notes.append(f"field {name!r} is not used: {useless}")
        else:
            fields.append(Field(name=name, num_rows=values.num_values))
    for name, quantity in sorted(catalogue.quantities.items()):
        edges = _edges(quantity[seen])
        if edges:
            fields.append(Field(name=name, num_rows=FIRST_VALUE + len(edges) + 1, edges=edges))
        elif np.isfinite(quantity).any():
            notes.append(f"field {name!r} is not used: it is the same for all items with an event, or known of none")
    without = count_without(fields, catalogue)
    if fields and without:
        notes.append(
            f"{without:,} of {catalogue.num_items - FIRST_ITEM:,} items have no value in any field: no metadata tells "
            "them from one another"
        )
    return tuple(fields), notes


def count_without(fields: Sequence[Field], catalogue: Catalogue) -> int:
    """Return how many items have no value in any of some fields; since when they are known is none that counts."""
    known = np.zeros(catalogue.num_items, np.bool_)
    for field in fields:
        if field.name != FIRST_SEEN:
            known |= has_value(field.values(catalogue))
    return int(np.count_nonzero(~known[FIRST_ITEM:]))


def has_value(values: Values) -> NDArray[np.bool_]:
    """Tell which items have a value that has a name, bool[num_items]."""
    named = np.concatenate([[0], np.cumsum(values.numbers > UNKNOWN)])
    return np.diff(named[values.offsets]) > 0


def adopt_fields(known: Fields, planned: Fields, catalogue: Catalogue) -> Fields:
    """Go on with the fields of an earlier night, grown to this night's values; planned: those of this night alone.

    A quantity takes this night's buckets, so that the last one is always that of the newest or the dearest items.
    Raises UnfitStart where a field came or went, or its values are not those of then.
    """
    changed = {field.name for field in known} ^ {field.name for field in planned}
    if changed:
        names = ", ".join(sorted(changed))
        raise UnfitStart(f"cannot start from these weights: field {names} is in one of the networks only")
    try:
        return tuple(field.grown(catalogue, same) for field, same in zip(known, planned, strict=True))
    except ValueError as error:
        raise UnfitStart(f"cannot start from these weights: {error}") from error


def write_fields(fields: Fields) -> NDArray[np.uint8]:
    """Return the fields as an array, to lie among a model's weights."""
    return np.frombuffer(_JSON.dump_json(fields), np.uint8)


def read_fields(array: NDArray[np.uint8]) -> Fields:
    """Read what `write_fields` wrote."""
    return _JSON.validate_json(array.tobytes())


def _why_useless(values: Values) -> str:
    """Return why a field tells nothing that a model could use, or nothing if it does."""
    counts = np.bincount(values.numbers, minlength=FIRST_VALUE)[FIRST_VALUE:]
    counts = counts[counts > 0]
    if not len(counts):
        return "no item has a value"
    if len(counts) == 1 and has_value(values)[FIRST_ITEM:].all():
        return "all items have the same value"
    if counts.max() == 1:
        return "no two items share a value, so what is learnt of one says nothing of another"
    return ""


def _edges(quantity: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the bounds between buckets of as many items each; fewer where many items have the same quantity."""
    known = quantity[np.isfinite(quantity)]
    if not len(known):
        return ()
    num_buckets = min(max(LEAST_BUCKETS, len(known) // BUCKET_ITEMS), MOST_BUCKETS)
    bounds, most = np.unique(np.quantile(known, np.arange(1, num_buckets) / num_buckets)), known.max()
    bounds = bounds[bounds < most]
    if not len(bounds):  # nearly all have the most there is, or all
        bounds = np.unique(known[known < most])[-1:]
    filled = np.unique(np.searchsorted(bounds, known))  # bounds may lie between quantities, with nothing in between
    return tuple(bounds[filled[:-1]].tolist())


def _buckets(quantity: NDArray[np.float64], edges: tuple[float, ...]) -> Values:
    """Number an item's quantity by its bucket; one without is in none."""
    known = np.isfinite(quantity)
    numbers = FIRST_VALUE + np.searchsorted(np.array(edges), quantity[known], side="left")
    offsets = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
    return Values(numbers.astype(np.int32), offsets, FIRST_VALUE + len(edges) + 1)
