from collections.abc import Callable
from datetime import date
from math import nan

import duckdb
import pytest

from pipelines.contracts import INTERACTIONS, QUARANTINE
from pipelines.expectations import suite
from pipelines.settings import Settings

from .conftest import Judge, Rows, Tables


def _add_rejected(rows: Rows, reason: str, num: int) -> None:
    rows.extend(rows[0] | {"reason": reason, "source_row": 1000 + n} for n in range(num))


BREAKS: list[tuple[str, str, Callable[[Rows], object]]] = [
    ("source_files", "nothing_is_lost", lambda rows: rows[0].update(num_rows=101)),
    ("source_files", "nothing_is_lost", lambda rows: rows[0].update(num_quarantined=12)),
    ("interactions", "event_type_is_known", lambda rows: rows[0].update(event_type="it")),
    ("interactions", "weight_is_at_least_zero", lambda rows: rows[0].update(weight=-0.1)),
    ("interactions", "weight_is_at_least_zero", lambda rows: rows[0].update(weight=nan)),
    ("interactions", "somebody_acts", lambda rows: rows[2].update(source_session=None)),
    ("interactions", "event_date_is_the_day_of_event_time", lambda rows: rows[0].update(event_date=date(2026, 1, 2))),
    ("interactions", "source_row_counts_from_one", lambda rows: rows[0].update(source_row=0)),
    ("interactions", "most_events_have_a_user", lambda rows: rows[0].update(user_id=None, source_session="s1")),
    ("quarantine", "reason_is_not_empty", lambda rows: rows[0].update(reason=" ")),
    ("quarantine", "no_reason_takes_too_many_rows", lambda rows: _add_rejected(rows, "bad_time", 3)),
    ("quarantine", "no_reason_takes_too_many_rows", lambda rows: _add_rejected(rows, "robot", 41)),
]


@pytest.mark.parametrize(("table", "name", "spoil"), BREAKS)
def test_one_break_is_told_by_one_expectation(
    table: str, name: str, spoil: Callable[[Rows], object], tables: Tables, judge: Judge
) -> None:
    spoil(tables[table])
    assert judge(table, tables) == {name}


def test_few_quarantined_rows_are_allowed_whatever_their_share(tables: Tables, judge: Judge) -> None:
    tables["source_files"][0].update(num_rows=13, num_interactions=0)
    assert judge("quarantine", tables) == {"no_reason_takes_too_many_rows"}
    del tables["quarantine"][3:10]
    assert judge("quarantine", tables) == set()


def test_too_many_rows_of_a_reason_are_told_with_the_first_of_them(settings: Settings) -> None:
    query = suite(QUARANTINE, settings)[-1].arguments["unexpected_rows_query"]
    with duckdb.connect() as con:
        con.execute("create view staged_source_files as select date '2026-01-03' as file_date, 40 as num_rows")
        con.execute("""
            create view batch as
            select date '2026-01-03' as file_date, 'late' as reason, 'b.csv' as source_file, 9 - n as source_row,
                repeat('é', 500) as raw_row
            from range(4) as r(n)
            union all
            select '2026-01-03', 'late', 'a.csv', 7, 'first'
        """)
        rows = con.execute(query.replace("{batch}", "batch")).fetchall()
    assert [tuple(map(str, row)) for row in rows] == [
        ("2026-01-03", "late", "5", "0.125", "0.05", "a.csv", "7", "first")
    ]


def test_each_night_of_a_range_is_judged_by_its_own_rows(tables: Tables, judge: Judge) -> None:
    another = {"file_date": date(2026, 1, 4), "source_file": "logs/2026-01-04.csv"}
    tables["source_files"].append(tables["source_files"][0] | another | {"num_rows": 10_000})
    _add_rejected(tables["quarantine"], "bad_time", 3)
    assert judge("quarantine", tables) == {"no_reason_takes_too_many_rows"}
    for row in tables["quarantine"]:
        row.update(another)
    assert judge("quarantine", tables) == set()


def test_rejected_rows_of_a_night_without_files_are_too_many(tables: Tables, judge: Judge) -> None:
    tables["source_files"].clear()
    assert judge("quarantine", tables) == {"no_reason_takes_too_many_rows"}


def test_without_a_user_column_anonymous_events_are_the_rule(settings: Settings, tables: Tables, judge: Judge) -> None:
    columns = settings.events.columns.model_copy(update={"user": ""})
    anonymous = settings.model_copy(update={"events": settings.events.model_copy(update={"columns": columns})})
    for row in tables["interactions"]:
        row.update(user_id=None, source_session="s1")
    assert judge("interactions", tables, anonymous) == set()
    assert "most_events_have_a_user" not in {e.name for e in suite(INTERACTIONS, anonymous)}
