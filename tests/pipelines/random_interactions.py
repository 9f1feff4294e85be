"""Interactions as tests spell them out, and random ones: pauses around the gap, midnights, equal times, repeats."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from tests.pipelines.kernel_run import Row, local_day

ZONES: Final = ["UTC", "Europe/Berlin", "America/New_York", "Atlantic/Azores", "Pacific/Kiritimati"]
"""In the Azores clocks go back from one to midnight, so that a day begins twice."""
WINTER, SPRING, AUTUMN = (
    datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 27, 13, tzinfo=UTC), datetime(2026, 10, 23, 13, tzinfo=UTC),
)  # fmt: skip
"""Before an ordinary day, and before the days on which clocks change in Europe."""
WHO: Final = [("u1", None), ("u1", "s1"), ("u2", None), ("u2", "s1"), ("u3", None), (None, "s1"), (None, "s2")]
PAUSES: Final = {
    "none": timedelta(0),
    "moment": timedelta(microseconds=1),
    "short": timedelta(seconds=7.5),
    "hour": timedelta(hours=1),
    "hours": timedelta(hours=9),
    "day": timedelta(hours=25),
}
"""Besides these: as long as the gap, a moment longer, and until the next midnight."""

Step = tuple[tuple[str | None, str | None], str, str, str]
some_steps = st.lists(
    st.tuples(
        st.sampled_from(WHO),
        st.sampled_from([*PAUSES, "gap", "longer", "midnight"]),
        st.sampled_from("aabcd"),
        st.sampled_from(["view", "view", "it's", "look"]),
    ),
    max_size=40,
)


def act(
    user: str | None,
    time: datetime,
    session: str | None = None,
    item: str = "i",
    kind: str = "view",
    row: int = 1,
    file: str = "f",
    zone: str = "UTC",
) -> Row:
    """A row of ``interactions``."""
    return {
        "event_date": local_day(time, zone), "user_id": user, "item_id": item, "event_time": time, "event_type": kind,
        "weight": 1.0, "source_session": session, "source_file": file, "source_row": row,
    }  # fmt: skip


def interactions_of(steps: Sequence[Step], start: datetime, zone: str, gap_minutes: float = 60) -> list[Row]:
    """Rows of ``interactions``: each subject acts after its pause since it acted last, or since the start."""
    gap = timedelta(minutes=gap_minutes)
    pauses = PAUSES | {"gap": gap, "longer": gap + PAUSES["moment"]}
    clock: dict[Any, datetime] = {}
    rows = []
    for number, ((user, session), pause, item, kind) in enumerate(steps):
        time = clock.get((user, session), start)
        time = _next_midnight(time, zone) if pause == "midnight" else time + pauses[pause]
        clock[user, session] = time
        # Files and rows in another order than that of the steps: what acts at the same time is ordered by them.
        rows.append(act(user, time, session, item, kind, 1 + number // 2, "gf"[number % 2], zone))
    return rows


def _next_midnight(time: datetime, zone: str) -> datetime:
    """The first moment of the next day."""
    today = local_day(time, zone)
    before, after = time, time + timedelta(hours=26)
    while after - before > timedelta(microseconds=1):
        middle = before + (after - before) // 2
        before, after = (before, middle) if local_day(middle, zone) > today else (middle, after)
    return after
