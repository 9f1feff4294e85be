from collections.abc import Callable

from models.item_to_item import decayed
from models.sequences import Sequences

Make = Callable[..., Sequences]


def test_events_decay_with_age_and_repeats_add_up(sequences: Make) -> None:
    queries = decayed(sequences([3, 4, 3], [], [2]), 0.5, 6).toarray()
    assert queries.tolist() == [[0, 0, 0, 1.25, 0.5, 0], [0] * 6, [0, 0, 1, 0, 0, 0]]
