import hashlib

import numpy as np
import pytest

from models.catalogue import Catalogue, Values
from tests.models.small_catalogue import values


def test_an_item_has_none_one_or_several_values() -> None:
    found = values([], [], [3], [4, 8], [])
    assert found.lengths.tolist() == [0, 0, 1, 2, 0]
    assert Catalogue(5, {"brand": found}, {"price": np.full(5, np.nan)}).num_items == 5


@pytest.mark.parametrize("number", [0, 9, -1])
def test_a_value_is_a_number_of_its_field(number: int) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 8"):
        values([], [], [number])


def test_offsets_begin_at_0_grow_and_end_with_the_values() -> None:
    numbers = np.array([2, 3], np.int32)
    for offsets, words in (
        ([1, 2], "from 0 to the number of values, 2"),
        ([0, 1], "from 0 to the number of values, 2"),
        ([0, 2, 1, 2], "fall at sequence 1"),
    ):
        with pytest.raises(ValueError, match=words):
            Values(numbers, np.array(offsets, np.int64), 9)


def test_every_field_is_of_all_items() -> None:
    with pytest.raises(ValueError, match="field 'brand' has 3 items; the catalogue has 4"):
        Catalogue(4, {"brand": values([], [], [2])})
    with pytest.raises(ValueError, match="field 'price' has 5 items; the catalogue has 4"):
        Catalogue(4, {}, {"price": np.zeros(5)})
    with pytest.raises(ValueError, match="num_items is 2; it counts the two special numbers, so at least 3"):
        Catalogue(2)


def test_a_digest_tells_catalogues_apart() -> None:
    def digest(catalogue: Catalogue) -> str:
        found = hashlib.sha256()
        catalogue.add_to(found)
        return found.hexdigest()

    brand, price = values([], [], [2], [3]), np.array([np.nan, np.nan, 1, 2])
    plain = Catalogue(4, {"brand": brand}, {"price": price})
    others = [
        Catalogue(4, {"colour": brand}, {"price": price}),
        Catalogue(4, {"brand": values([], [], [2, 3], [])}, {"price": price}),
        Catalogue(4, {"brand": values([], [], [2], [4])}, {"price": price}),
        Catalogue(4, {"brand": values([], [], [2], [3], num_values=10)}, {"price": price}),
        Catalogue(4, {"brand": brand}, {"price": price + 1}),
        Catalogue(4, {"brand": brand}, {"size": price}),
    ]
    assert digest(plain) == digest(Catalogue(4, {"brand": brand}, {"price": price}))
    assert len({digest(catalogue) for catalogue in [plain, *others]}) == 7
