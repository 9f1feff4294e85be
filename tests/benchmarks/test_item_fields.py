from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from benchmarks.item_fields import make_catalogue
from models.catalogue import Values

IDS = pa.array([None, None, "a", "b", "c", "d"])
LISTED = pa.array(["d", "b", "a", "x"])  # of c the file says nothing, and of x there is no event


def lists(values: Values) -> list[list[int]]:
    return [part.tolist() for part in np.split(values.numbers, values.offsets[1:-1])]


def test_values_are_numbered_from_the_most_common_and_stand_at_their_items() -> None:
    columns = {
        "brand": pa.array(["acme", "zeta", "zeta", "acme"]),
        "category_1": pa.array([7, None, 3, 3]),
        "title": pa.array(["Red shoe, RED!", "red shoe 40", None, "Blue"]),
        "attribute:ids": pa.array([[5, 5, 9], [], [9], None]),
    }
    catalogue = make_catalogue(IDS, LISTED, columns)
    assert {name: lists(values) for name, values in catalogue.fields.items()} == {
        "brand": [[], [], [2], [2], [], [3]],
        "category_1": [[], [], [2], [], [], [3]],
        "title": [[], [], [], [2, 3], [], [2, 3]],  # red, shoe: the others are words of one title
        "attribute:ids": [[], [], [2], [], [], [2]],
    }
    assert catalogue.fields["title"].num_values == 4


def test_a_time_is_a_quantity_in_seconds() -> None:
    start = datetime(2017, 10, 1, tzinfo=UTC)
    times = pa.array([start, start + timedelta(seconds=1.5), None, start], pa.timestamp("ms", tz="UTC"))
    found = make_catalogue(IDS, LISTED, {"created_at": times}).quantities["created_at"]
    expected = [np.nan, np.nan, np.nan, start.timestamp() + 1.5, np.nan, start.timestamp()]
    np.testing.assert_array_equal(found, expected)
