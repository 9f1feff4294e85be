"""Points in time as small numbers that a network can look up: fields of the calendar, and gaps between events.

The calendar is that of UTC, whatever the machine's zone.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.sequences import SECONDS_PER_DAY

FIELD_SIZES: Final = {"year": 256, "month": 12, "day": 31, "weekday": 7, "day_of_year": 366, "week": 53, "hour": 24}
NUM_GAPS: Final = 96
GAP_STEPS: Final = 4  # numbers for each factor e of a gap: fine enough to tell 2 days from 3
NO_GAP: Final = 0
Ints = NDArray[np.int64]


def calendar_fields(times: Ints) -> Ints:
    """Return the fields of points in time (seconds since the epoch, of any shape), int64[..., 7] by FIELD_SIZES.

    Each counts from 0: Monday is 0, the week is that of ISO 8601. A year outside 1970 to 2225 is the nearest of these.

    >>> calendar_fields(np.array([0]))  # a Thursday, 1 January 1970
    array([[0, 0, 0, 3, 0, 0, 0]])
    """
    days, seconds = np.divmod(times, SECONDS_PER_DAY)
    months, years = _floor_to("M", days), _floor_to("Y", days)
    weekday = (days + 3) % 7
    thursday = days - weekday + 3
    fields = (
        np.clip(years.astype(np.int64), 0, FIELD_SIZES["year"] - 1),
        months.astype(np.int64) % 12,
        days - _first_day(months),
        weekday,
        days - _first_day(years),
        (thursday - _first_day(_floor_to("Y", thursday))) // 7,
        seconds // 3600,
    )
    return np.stack(fields, axis=-1)


def gap_numbers(gaps: Ints) -> Ints:
    """Return a number for each gap in seconds, 1 to NUM_GAPS - 1, growing with its logarithm; NO_GAP is for none.

    >>> gap_numbers(np.array([0, 1, 3600, 86_400, 172_800]))
    array([ 1,  3, 33, 46, 49])
    """
    return np.minimum(1 + (GAP_STEPS * np.log1p(gaps)).astype(np.int64), NUM_GAPS - 1)


def _floor_to(unit: str, days: Ints) -> NDArray[np.datetime64]:
    return days.astype("datetime64[D]").astype(f"datetime64[{unit}]")


def _first_day(periods: NDArray[np.datetime64]) -> Ints:
    return periods.astype("datetime64[D]").astype(np.int64)
