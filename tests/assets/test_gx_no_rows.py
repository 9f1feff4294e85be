from datetime import UTC, date, datetime
from decimal import Decimal
from math import inf, nan

import pytest

from assets.gx_no_rows import gx_query, json_value


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        (nan, "nan"),
        (-inf, "-inf"),
        (Decimal("0.05"), 0.05),
        (date(2026, 1, 3), "2026-01-03"),
        (datetime(2026, 1, 3, 8, tzinfo=UTC), "2026-01-03T08:00:00+00:00"),
        (["a", 1], "['a', 1]"),
        ("é" * 300, "é" * 300),
        ("é" * 301, "é" * 300 + "... (301 characters)"),
    ],
)
def test_cells_become_json(cell: object, expected: object) -> None:
    assert json_value(cell) == expected


def test_braces_stay_what_they_are_and_the_batch_can_be_filled_in() -> None:
    query = "select '{x}', {'a': 1} from {batch}"
    assert gx_query(query).format(batch="t") == "select '{x}', {'a': 1} from t"
