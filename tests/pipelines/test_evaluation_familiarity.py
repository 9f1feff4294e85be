"""How familiar a night is, on sequences of which it is known what was together before."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from pipelines.night import Night
from tests.pipelines.small_metrics import WHOLE, measured, trained
from tests.pipelines.small_store import Visit

pytestmark = pytest.mark.usefixtures("one_thread")

# Together on day 0: a, b and c; d and e. The item z is new on day 3, where carl meets one item alone.
TOGETHER = (
    *(Visit(who, 0, items) for who, items in (("ann", "abc"), ("bob", "de"), ("carl", "f"))),
    *(Visit("carl", number, "f") for number in (1, 2)),
    *(Visit(who, 3, items) for who, items in (("ann", "abba"), ("bob", "ad"), ("carl", "fff"), ("new", "dez"))),
    *(Visit(who, 3, items) for who, items in (("?x", "ed"), ("?y", "a"))),
)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return trained(tmp_path_factory.mktemp("together"), TOGETHER, 3, "sparsey", "popular", items="abcdefz", new="z")


def beyond_chance(num_together: int, num_items: int) -> float:
    """The share of the items together once, where two of the items are known to one unit in 8192 each."""
    counts = np.arange(2, num_items + 1)  # one of them is known for sure
    chance = (1 + (1 - (1 - binom.sf(counts - 1, 2, 1 / 8192)) ** 8192).sum()) / num_items
    return max(0.0, float((num_together / num_items - chance) / (1 - chance)))


def test_familiarity_is_the_share_of_the_nights_items_that_were_together_before(together: Night) -> None:
    bob, new = beyond_chance(1, 2), beyond_chance(2, 3)
    rows = {slice_: found["familiarity"] for slice_, found in measured(together)["sparsey"].items() if slice_ in WHOLE}
    assert {slice_: (row["value"], row["num_cases"]) for slice_, row in rows.items()} == {
        "users": (pytest.approx((1 + bob + new) / 3, abs=1e-5), 3),
        "known_users": (pytest.approx((1 + bob) / 2, abs=1e-5), 2),
        "new_users": (pytest.approx(new, abs=1e-5), 1),
        "anonymous_sessions": (1.0, 1),
    }
    assert (rows["known_users"]["low"], rows["known_users"]["high"]) == (pytest.approx(bob, abs=1e-5), 1.0)
    assert all(row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9 for row in rows.values())


def test_familiarity_is_told_on_whole_slices_by_the_models_that_know_it(together: Night) -> None:
    told = {
        (model, slice_)
        for model, slices in measured(together).items()
        for slice_, found in slices.items()
        if "familiarity" in found
    }
    assert told == {("sparsey", slice_) for slice_ in WHOLE}


def test_a_night_of_single_items_tells_no_familiarity(tmp_path: Path) -> None:
    visits = (Visit("ann", 0, "ab"), Visit("ann", 1, "a"), Visit("ann", 2, "bb"))
    assert "familiarity" not in measured(trained(tmp_path, visits, 2, "sparsey"))["sparsey"]["users"]
