from collections.abc import Callable

import numpy as np

from models.batches import Windows
from models.calendar import gap_numbers
from models.moment_batches import MomentEpoch, Reader
from models.sequences import SECONDS_PER_DAY, Sequences

Make = Callable[..., Sequences]
DAY = SECONDS_PER_DAY
READER = Reader(np.array([50, 56]))


def test_only_subjects_that_teach_are_thinned(sequences: Make) -> None:
    """Items 2 and 3 are frequent. The inputs are all events but the last, of which thinning leaves the newest two."""
    times = [day * DAY for day in (0, 1, 2, 3, 9, 11, 0, 1, 2, 3, 4, 5)]
    histories = sequences([5, 2, 6, 3, 2, 4], [5, 2, 6, 3, 2, 4], times=times)
    windows = Windows(histories, np.array([0, 6]), np.array([6, 6]))
    epoch = MomentEpoch(windows, [np.arange(2)], READER, np.array([True, False]), np.arange(9) < 4, number=3)
    batch = epoch.batch(np.arange(2))
    assert batch.epoch.item() == 3
    assert batch.teachers.tolist() == [0]
    assert batch.thinned[:, :, 0].tolist() == [[5, 6, 3, 2]]
    gaps = [0, 2, 1, 6]  # days between the events that are left, the first without one
    assert batch.thinned[0, 1:, -1].tolist() == gap_numbers(np.array(gaps[1:]) * DAY).tolist()
    assert batch.thinned[0, 0, -1].item() == 0
    assert batch.thinned[0, :, 2:4].tolist() == [[0, 0], [0, 2], [0, 3], [0, 9]]


def test_a_sequence_that_loses_nothing_does_not_teach(sequences: Make) -> None:
    histories = sequences([5, 6, 7, 8, 4], [2, 3, 4], times=[0, 1, 2, 3, 4, 0, 1, 2])
    windows = Windows(histories, histories.offsets[:-1], histories.lengths)
    batch = MomentEpoch(windows, [], READER, np.ones(2, np.bool_), np.arange(9) < 4, number=1).batch(np.arange(2))
    assert len(batch.teachers) == len(batch.thinned) == 0


def test_what_is_read_of_an_event_is_its_item_moment_and_gap(sequences: Make) -> None:
    """8 March 2024 was a Friday in ISO week 10, the 68th day of the year; an hour later it was 10 o'clock."""
    items, times = np.array([[7, 8, 0]], np.int32), np.array([[1_709_888_400, 1_709_892_000, 0]])
    expected = [[7, 54, 2, 7, 4, 67, 9, 9, 0], [8, 54, 2, 7, 4, 67, 9, 10, gap_numbers(np.array(3600))], [0] * 9]
    assert READER.events(items, times).tolist() == [expected]


def test_a_year_outside_those_of_training_reads_as_the_nearest() -> None:
    items, times = np.array([[7, 8, 9]], np.int32), np.array([["1999", "2023-05", "2090"]], "datetime64[s]")
    assert Reader(np.array([35, 54])).events(items, times.astype(np.int64))[0, :, 1].tolist() == [35, 53, 54]
