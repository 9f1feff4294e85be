from collections.abc import Callable
from datetime import date, timedelta
from math import nan
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from .conftest import VALID_TABLES, Judge, Rows, Tables, at


def _swap(row: dict[str, Any], one: str, other: str) -> None:
    row[one], row[other] = row[other], row[one]


BREAKS: list[tuple[str, str, Callable[[Rows], object]]] = [
    ("sessions", "session_starts_before_it_ends", lambda rows: _swap(rows[0], "started_at", "ended_at")),
    ("sessions", "num_events_is_the_length_of_the_lists", lambda rows: rows[0].update(num_events=3)),
    ("sessions", "num_events_is_the_length_of_the_lists", lambda rows: rows[0].update(item_ids=["A"])),
    ("sessions", "num_events_is_the_length_of_the_lists", lambda rows: rows[0].update(item_ids=["A", None])),
    ("sessions", "num_events_is_the_length_of_the_lists", lambda rows: rows[1].update(event_types=[])),
    (
        "sessions",
        "num_events_is_the_length_of_the_lists",
        lambda rows: rows[1].update(num_events=0, item_ids=[], event_times=[], event_types=[]),
    ),
    ("sessions", "event_times_run_from_start_to_end", lambda rows: rows[0]["event_times"].reverse()),
    ("sessions", "event_times_run_from_start_to_end", lambda rows: rows[1].update(event_times=[at(3, 0, 32)])),
    ("sessions", "session_date_is_the_day_of_its_start", lambda rows: rows[0].update(session_date=date(2026, 1, 2))),
    (
        "sessions",
        "sessions_do_not_overlap",
        lambda rows: rows[1].update(started_at=at(3, 0, 30), ended_at=at(3, 0, 30), event_times=[at(3, 0, 30)]),
    ),
    ("sessions", "sessions_do_not_overlap", lambda rows: rows[3].update(source_session="s9")),
    ("item_frequency", "counts_fit_together", lambda rows: rows[0].update(num_users=4)),
    ("item_frequency", "counts_fit_together", lambda rows: rows[0].update(num_sessions=-1)),
    ("item_frequency", "counts_fit_together", lambda rows: rows[2].update(num_events=0, num_users=0, num_sessions=0)),
    ("item_frequency", "popularity_rank_follows_num_events", lambda rows: rows[2].update(popularity_rank=4)),
    ("item_frequency", "popularity_rank_follows_num_events", lambda rows: rows[0].update(popularity_rank=2)),
    ("item_frequency", "shares_sum_to_one", lambda rows: rows[0].update(share=0.5)),
    ("item_frequency", "shares_sum_to_one", lambda rows: rows[0].update(share=nan)),
    ("item_frequency", "first_seen_is_not_after_last_seen", lambda rows: rows[0].update(first_seen=at(3, 9))),
    ("item_frequency", "every_item_is_known", lambda rows: rows[2].update(item_id="Z")),
    ("interval_uniformity", "num_gaps_is_at_least_zero", lambda rows: rows[4].update(num_gaps=-1)),
    ("interval_uniformity", "dispersion_is_null_or_at_least_zero", lambda rows: rows[0].update(log_gap_dispersion=-1)),
    ("interval_uniformity", "dispersion_is_null_or_at_least_zero", lambda rows: rows[0].update(log_gap_dispersion=nan)),
    ("interval_uniformity", "uniform_users_have_two_gaps", lambda rows: rows[0].update(num_gaps=1)),
    ("interval_uniformity", "uniform_share_is_kept", lambda rows: rows[2].update(is_uniform=True)),
]


@pytest.mark.parametrize(("table", "name", "spoil"), BREAKS)
def test_one_break_is_told_by_one_expectation(
    table: str, name: str, spoil: Callable[[Rows], object], tables: Tables, judge: Judge
) -> None:
    spoil(tables[table])
    assert judge(table, tables) == {name}


@given(spans=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 60)), min_size=1, max_size=6))
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_overlap_is_found_as_by_comparing_all_pairs(judge: Judge, spans: list[tuple[int, int]]) -> None:
    noon = at(3, 12)
    starts = [(noon + timedelta(minutes=s), noon + timedelta(minutes=s + length)) for s, length in spans]
    rows = [
        VALID_TABLES["sessions"][1]
        | {"session_id": str(n), "started_at": start, "ended_at": end, "num_events": 2}
        | {"event_times": [start, end], "item_ids": ["A", "A"], "event_types": ["view", "view"]}
        for n, (start, end) in enumerate(starts)
    ]
    rows = [row | {"session_date": date(2026, 1, 3 if row["started_at"] < at(3, 23) else 4)} for row in rows]
    gap = timedelta(minutes=30)
    ordered = sorted(starts)
    too_close = any(ordered[j][0] <= ordered[i][1] + gap for j in range(len(ordered)) for i in range(j))
    assert judge("sessions", {"sessions": rows}) == ({"sessions_do_not_overlap"} if too_close else set())
