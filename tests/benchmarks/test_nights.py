import numpy as np

from benchmarks.nights import State, best, digests, read_nights, same
from models.sequences import Sequences

DAY = 86_400


def test_a_night_knows_what_was_before_midnight_and_is_asked_what_begins_after() -> None:
    times = np.array([0, 5, DAY - 1, DAY + 1, DAY + 2, DAY + 3, 2 * DAY, 2 * DAY + 1])
    log = Sequences(np.arange(2, 10, dtype=np.int32), times, np.arange(0, 9, 2))
    nights = read_nights(log, 100)
    first, second = next(nights), next(nights)
    assert first.known.items.tolist() == [2, 3, 4]  # the click after midnight is not known yet
    assert first.asked.histories.items.tolist() == [6]
    assert first.asked.targets.items.tolist() == [7]
    assert second.known.items.tolist() == [2, 3, 4, 5, 6, 7]
    assert second.asked.targets.items.tolist() == [9]


def test_states_are_the_same_where_every_array_is() -> None:
    one: State = {"bank 0/digest": np.array([1, 2], np.uint8), "counts": np.arange(3)}
    assert same(one, dict(one))
    assert not same(one, dict(one) | {"counts": np.arange(1, 4)})
    assert not same(one, {"counts": np.arange(3)})
    assert digests(one) == {"0102"}


def test_the_best_choice_is_that_of_the_highest_mean() -> None:
    assert best({(1.0, 0.1): [0.2, 0.2], (2.0, 0.1): [0.1, 0.4], (2.0, 0.2): [0.3, 0.2]}) == (2.0, 0.1)
