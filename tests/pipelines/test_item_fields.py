from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from models.catalogue import Values
from pipelines.item_fields import catalogue_arrays, read_catalogue
from pipelines.night import Night
from pipelines.store import Store
from tests.pipelines.small_store import Row, day, publish, shop_settings

EVIL = "../o'brien\"; drop table items; --"


def item(name: str, **known: Any) -> Row:
    empty = dict.fromkeys(("title", "description", "brand", "price")) | {"category": [], "attributes": {}}
    return {"as_of_date": day(0), "item_id": name, "first_seen": day(0), "is_listed": True, **empty, **known}


def token(field: str, number: int, name: str) -> Row:
    return {"first_night": day(0), "field": field, "token": name, "number": number, "count": 1}


def values_of(values: Values) -> list[list[int]]:
    return [part.tolist() for part in np.split(values.numbers, values.offsets[1:-1])]


def shop(root: Path, items: list[Row]) -> Night:
    """Items a, b, c are 2, 3, 4; what d has nobody has numbered."""
    night = Night(shop_settings(), Store(root), day(0), day(0), "run")
    publish(night, "items", {day(0): items})
    tokens = [
        *(token("item", number, name) for number, name in enumerate("abc", start=2)),
        token("brand", 2, EVIL), token("brand", 3, "acme"),
        token("category_1", 2, "x"), token("category_2", 2, "x > y"),
        token("title", 2, "red"), token("title", 3, "shoe"),
        token(f"attribute:{EVIL}", 2, "blue"), token(f"attribute:{EVIL}", 3, EVIL),
    ]  # fmt: skip
    publish(night, "metadata_vocabulary", {day(0): tokens})
    return night


def test_every_value_that_has_a_number_stands_at_its_item(tmp_path: Path) -> None:
    night = shop(
        tmp_path,
        [
            item("c", title="Red, RED shoe!", category=["x", "y"], price=2.5, attributes=[(EVIL, [EVIL, "blue"])]),
            item("a", title="unheard of", brand=EVIL, category=["x"]),
            item("b", brand="nobody's", price=0.0, first_seen=day(1)),
            item("d", brand="acme", category=["x"], price=9.0),
        ],
    )
    folder = catalogue_arrays(night, "hash", 5)
    found = read_catalogue(folder, 5)
    assert {name: values_of(values) for name, values in found.fields.items()} == {
        f"attribute:{EVIL}": [[], [], [], [], [2, 3]],
        "brand": [[], [], [2], [], []],
        "category_1": [[], [], [2], [], [2]],
        "category_2": [[], [], [], [], [2]],
        "title": [[], [], [], [], [2, 3]],
    }
    assert {name: values.num_values for name, values in found.fields.items()} == {
        f"attribute:{EVIL}": 4, "brand": 4, "category_1": 3, "category_2": 3, "title": 4,
    }  # fmt: skip
    assert found.quantities.keys() == {"price", "first_seen"}
    np.testing.assert_array_equal(found.quantities["price"], [np.nan, np.nan, np.nan, 0.0, 2.5])
    first_night = (day(0) - date(1970, 1, 1)).days
    np.testing.assert_array_equal(
        found.quantities["first_seen"], [np.nan, np.nan, first_night, first_night + 1, first_night]
    )
    assert {path.parent for path in tmp_path.rglob("*.npy")} == {folder}  # also a field's name is no path


def test_arrays_are_written_once_and_anew_for_other_items(tmp_path: Path) -> None:
    night = shop(tmp_path, [item("a", brand="acme")])
    first = catalogue_arrays(night, "hash", 5)
    written = (first / "fields.json").stat().st_mtime_ns
    assert catalogue_arrays(night, "hash", 5) == first
    assert (first / "fields.json").stat().st_mtime_ns == written
    publish(night, "items", {day(0): [item("a", brand="acme"), item("b", brand="acme")]})
    second = catalogue_arrays(night, "hash", 5)
    assert second != first
    assert not first.exists()
    assert values_of(read_catalogue(second, 5).fields["brand"]) == [[], [], [3], [3], []]
