from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import combinations
from math import inf, nan
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.settings import Settings

from .conftest import VALID_TABLES, Judge, Rows, Tables, at


def _swap(row: dict[str, Any], one: str, other: str) -> None:
    row[one], row[other] = row[other], row[one]


def _third_neighbour(rows: Rows) -> None:
    """More neighbours than the settings allow."""
    rows.append(rows[1] | {"rank": 3, "neighbour_id": "D"})


POSITIVE = "similarity_and_score_are_positive"
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
    ("item_users", "nobody_meets_an_item_twice", lambda rows: rows[2].update(user_id="u1")),
    ("item_neighbours", "no_item_is_its_own_neighbour", lambda rows: rows[0].update(neighbour_id="A")),
    ("item_neighbours", "ranks_follow_the_score", lambda rows: rows[0].update(score=0.7)),
    ("item_neighbours", "ranks_follow_the_score", lambda rows: rows[1].update(rank=3)),
    ("item_neighbours", "ranks_follow_the_score", lambda rows: rows[2].update(neighbour_id="D")),
    ("item_neighbours", "ranks_follow_the_score", _third_neighbour),
    ("item_neighbours", POSITIVE, lambda rows: rows[1].update(score=0.0)),
    ("item_neighbours", POSITIVE, lambda rows: rows[0].update(score=nan)),
    ("item_neighbours", POSITIVE, lambda rows: rows[0].update(similarity=0.0)),
    ("item_neighbours", POSITIVE, lambda rows: rows[0].update(similarity=inf)),
    ("item_neighbours", POSITIVE, lambda rows: rows[0].update(mean_gap_s=-1.0)),
    ("item_neighbours", POSITIVE, lambda rows: rows[0].update(num_subjects=0)),
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


def _day(time: datetime) -> date:
    """The day in Berlin, where the night of the tests begins at 23 h UTC."""
    return date(2026, 1, 3 if time < at(3, 23) else 4)


def _visit(start: datetime, end: datetime, session_date: date) -> dict[str, Any]:
    lists = {"event_times": [start, end], "item_ids": ["A", "A"], "event_types": ["view", "view"]}
    times = {"session_date": session_date, "started_at": start, "ended_at": end, "num_events": 2}
    return VALID_TABLES["sessions"][1] | {"session_id": str(start)} | times | lists


@given(spans=st.lists(st.tuples(st.integers(0, 720), st.integers(0, 60)), min_size=1, max_size=6))
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_overlap_is_found_as_by_comparing_all_pairs(judge: Judge, spans: list[tuple[int, int]]) -> None:
    noon = at(3, 12)
    starts = [(noon + timedelta(minutes=s), noon + timedelta(minutes=s + length)) for s, length in spans]
    rows = [_visit(*span, _day(span[0])) | {"session_id": str(n)} for n, span in enumerate(starts)]
    gap = timedelta(minutes=30)
    ordered = sorted(starts)
    too_close = any(
        start < former_end or (start <= former_end + gap and _day(start) == _day(former_start))
        for (former_start, former_end), (start, _) in combinations(ordered, 2)
    )
    assert judge("sessions", {"sessions": rows}) == ({"sessions_do_not_overlap"} if too_close else set())


@pytest.mark.parametrize(
    ("max_events", "start", "broken"),
    [
        (3, at(3, 12, 20), {"sessions_do_not_overlap"}),
        (2, at(3, 12, 20), set()),  # the former one was as long as may be
        (2, at(3, 12, 10), set()),  # also at the same moment
        (2, at(3, 12, 9), {"sessions_do_not_overlap"}),
    ],
)
def test_a_long_visit_that_was_cut_goes_on_at_once(
    judge: Judge, settings: Settings, max_events: int, start: datetime, broken: set[str]
) -> None:
    cut = settings.model_copy(update={"sessions": settings.sessions.model_copy(update={"max_events": max_events})})
    rows = [_visit(at(3, 12), at(3, 12, 10), date(2026, 1, 3)), _visit(start, at(3, 13), date(2026, 1, 3))]
    assert judge("sessions", {"sessions": rows}, cut) == broken


@pytest.mark.parametrize(
    ("start", "broken"),
    [
        (at(3, 22, 59), {"sessions_do_not_overlap"}),
        (at(3, 23), set()),
        (at(3, 22, 50), {"sessions_do_not_overlap"}),
    ],
)
def test_a_visit_that_was_cut_at_midnight_goes_on_at_once(judge: Judge, start: datetime, broken: set[str]) -> None:
    rows = [_visit(at(3, 0), at(3, 22, 55), date(2026, 1, 3)), _visit(start, at(3, 23, 30), _day(start))]
    assert judge("sessions", {"sessions": rows}) == broken
