import hashlib
from datetime import date
from typing import Any

import numpy as np
import pytest

from models.statistics import Statistics

YES, NO = np.ones(3, np.bool_), np.zeros(3, np.bool_)


def make(**changes: Any) -> Statistics:
    arrays: dict[str, Any] = {
        "is_frequent": np.array([False, False, True, False]),
        "gap_variance": np.array([np.nan, np.nan, 2.0, np.nan]),
        "neighbours": np.array([[0, 0], [0, 0], [3, 0], [2, 0]], np.int32),
        "is_uniform": np.array([True, False, False]),
        "is_uneven": np.array([False, True, False]),
    }
    return Statistics(date(2026, 3, 1), **{**arrays, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gap_variance": np.zeros(5)}, "gap_variance has 5 items, is_frequent 4"),
        ({"neighbours": np.zeros((2, 2), np.int32)}, "neighbours has 2 items, is_frequent 4"),
        ({"neighbours": np.full((4, 2), 4, np.int32)}, "neighbours are items 0 to 4; allowed: 0 to 3"),
        ({"neighbours": np.full((4, 2), -1, np.int32)}, "neighbours are items -1 to 0; allowed: 0 to 3"),
        ({"neighbours": np.zeros((4, 0), np.int32)}, "neighbours has no column"),
        ({"is_uneven": NO[:2]}, "is_uniform has 3 subjects, is_uneven 2"),
        ({"is_frequent": np.ones(4, int)}, "is_frequent is int64 of 1 axes; allowed: bool of 1"),
        ({"is_uniform": np.ones(3)}, "is_uniform is float64 of 1 axes; allowed: bool of 1"),
        ({"neighbours": np.zeros(4, np.int32)}, "neighbours is int32 of 1 axes; allowed: int32 of 2"),
        ({"is_uneven": YES}, "subject 0 is both uniform and uneven"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(**changes)


def test_statistics_of_other_items_or_subjects_are_refused_with_the_day() -> None:
    make().check(num_items=4, num_subjects=3)
    with pytest.raises(ValueError, match="as of 2026-03-01 are of 4 items; here there are 5"):
        make().check(num_items=5, num_subjects=3)
    with pytest.raises(ValueError, match="as of 2026-03-01 are of 3 subjects; the training part has 2"):
        make().check(num_items=4, num_subjects=2)


def test_selected_subjects_keep_what_is_known_of_them() -> None:
    chosen = make().take(np.array([1, 0, 1]))
    assert chosen.is_uniform.tolist() == [False, True, False]
    assert chosen.is_uneven.tolist() == [True, False, True]
    assert chosen.as_of == make().as_of


@pytest.mark.parametrize("name", ["is_frequent", "gap_variance", "neighbours", "is_uniform", "is_uneven"])
def test_every_array_is_in_the_digest(name: str) -> None:
    changed = getattr(make(), name).copy()
    changed[-1] = 1
    same, other = digest_of(make()), digest_of(make(**{name: changed}))
    assert same == digest_of(make()) != other


def digest_of(statistics: Statistics) -> str:
    digest = hashlib.sha256()
    statistics.add_to(digest)
    return digest.hexdigest()
