from pathlib import Path

import pytest

from tests.pipelines.small_metrics import measured, trained
from tests.pipelines.small_store import Visit

pytestmark = pytest.mark.usefixtures("one_thread")

# Up to day 3, which is N-2, even comes at noon, odd comes three times on one day, and of few there is one gap.
INTERVALS = (
    *(Visit("even", number, "a") for number in range(4)),
    *(Visit("odd", 1, "b", hour=hour) for hour in (1, 1.1, 20)),
    *(Visit("few", number, "c") for number in (0, 2)),
)
ON_THE_NIGHT = (Visit("even", 5, "a"), Visit("odd", 5, "b"), Visit("few", 5, "c"), Visit("new", 5, "ab"))


@pytest.mark.parametrize(
    "on_n_minus_1",
    [
        (Visit("odd", 4, "c"),),
        (*(Visit("even", 4, "d", hour=hour) for hour in (0, 0.02, 9, 9.02)), Visit("few", 4, "d")),
    ],
    ids=["as they were", "the other way round"],
)
def test_users_are_even_or_uneven_by_what_was_known_before_the_last_two_nights(
    tmp_path: Path, on_n_minus_1: tuple[Visit, ...]
) -> None:
    found = measured(trained(tmp_path, (*INTERVALS, *on_n_minus_1, *ON_THE_NIGHT), 5, "popular"))["popular"]
    ranks = {name: (rows["hit@5"]["num_cases"], rows["mrr@5"]["value"]) for name, rows in found.items()}
    # Popular are a, b, c in this order, so the rank of the target tells who it is.
    assert (ranks["users_uniform"], ranks["users_uneven"]) == ((1, 1.0), (1, 0.5))
    assert ranks["users"][0] == 4


def test_nobody_with_a_single_gap_is_even_or_uneven(tmp_path: Path) -> None:
    visits = [Visit("few", number, "c") for number in (0, 2, 4, 5)]
    found = measured(trained(tmp_path, tuple(visits), 5, "popular"))["popular"]
    assert "users" in found
    assert {"users_uniform", "users_uneven"}.isdisjoint(found)
