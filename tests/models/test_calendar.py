from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from models.calendar import FIELD_SIZES, NO_GAP, NUM_GAPS, calendar_fields, gap_numbers

FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def test_fields_are_those_of_the_standard_library() -> None:
    """Ends of years, leap days and random moments from 1902 to 2225."""
    drawn = np.random.default_rng(0).integers(-2_000_000_000, 8_000_000_000, 3_000)
    ends = [(datetime(year, 1, 1, tzinfo=UTC) - FIRST).total_seconds() for year in range(1971, 2225)]
    times = np.concatenate([drawn, np.array(ends, np.int64), np.array(ends, np.int64) - 1])
    for time, fields in zip(times.tolist(), calendar_fields(times).tolist(), strict=True):
        moment = FIRST + timedelta(seconds=time)
        week = moment.isocalendar().week - 1
        expected = [
            moment.month - 1,
            moment.day - 1,
            moment.weekday(),
            moment.timetuple().tm_yday - 1,
            week,
            moment.hour,
        ]
        assert fields == [max(0, moment.year - 1970), *expected], moment


@pytest.mark.parametrize(("time", "year"), [(-(2**62), 0), (-1, 0), (2**62, 255), (10**14, 255)])
def test_a_year_outside_the_range_is_the_nearest_in_it(time: int, year: int) -> None:
    fields = calendar_fields(np.array([[time]]))
    assert fields.shape == (1, 1, 7)
    assert fields[0, 0, 0] == year
    assert (fields >= 0).all()
    assert (fields < list(FIELD_SIZES.values())).all()


def test_gap_numbers_grow_with_the_gap_and_stay_in_the_table() -> None:
    gaps = np.concatenate([np.arange(100), 2 ** np.arange(7, 62)])
    numbers = gap_numbers(gaps)
    assert (np.diff(numbers) >= 0).all()
    assert numbers[0] == NO_GAP + 1
    assert numbers.max() == NUM_GAPS - 1
    hour, day, week, year = 3_600, 86_400, 7 * 86_400, 365 * 86_400
    told_apart = gap_numbers(np.array([0, 1, 10, 60, hour, day, 2 * day, week, 30 * day, year, 10 * year]))
    assert len(set(told_apart.tolist())) == len(told_apart)
