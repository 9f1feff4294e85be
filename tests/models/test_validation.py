import math
from collections.abc import Callable

import numpy as np
import pytest

from models.recommender import Validation
from models.sequences import Sequences
from models.validation import validation_ndcg

Make = Callable[..., Sequences]


def test_validation_takes_the_mean_over_an_even_selection(sequences: Make) -> None:
    class Fixed:
        """Always answers 2, 3, 4."""

        num_items = 6
        asked = 0

        def rank(self, histories: Sequences, k: int, allowed: np.ndarray, *, exclude_seen: bool) -> tuple:
            assert exclude_seen
            self.asked = len(histories)
            return np.tile(np.array([2, 3, 4], np.int32), (len(histories), 1)), None

    model = Fixed()
    validation = Validation(sequences([5], [5], [5]), sequences([2], [4], [3]), exclude_seen=True)
    assert validation_ndcg(model, validation, 2) == pytest.approx((1 + 1 / math.log2(3)) / 2)  # type: ignore[arg-type]
    assert model.asked == 2
