from collections.abc import Callable
from datetime import date
from decimal import Decimal
from math import inf, nan
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipelines.contracts import METRICS
from pipelines.expectations import suite
from pipelines.settings import Settings

from .conftest import Judge, Rows, Tables, at

FAMILIAR = "behaviour_is_as_familiar_as_before"
EVENT_DATE = "event_date_is_the_day_of_the_events"
BREAKS: list[tuple[str, str, Callable[[Rows], object]]] = [
    ("training_sequences", "lists_have_the_same_length", lambda rows: rows[0].update(item_numbers=[4])),
    ("training_sequences", "lists_have_the_same_length", lambda rows: rows[1].update(item_numbers=[], event_times=[])),
    ("training_sequences", "event_times_are_in_order", lambda rows: rows[0].update(event_times=[at(1, 8), at(1, 7)])),
    ("training_sequences", EVENT_DATE, lambda rows: rows[1].update(event_times=[at(1, 23)])),
    ("training_sequences", EVENT_DATE, lambda rows: rows[2].update(event_times=[at(2, 22, 59)])),
    ("training_sequences", EVENT_DATE, lambda rows: rows[3].update(event_times=[at(2, 22, 59), at(3, 8)])),
    ("training_sequences", EVENT_DATE, lambda rows: rows[3].update(event_times=[at(3, 8), at(3, 23)])),
    ("training_sequences", EVENT_DATE, lambda rows: rows[2].update(event_date=date(2026, 1, 2))),
    ("training_sequences", "item_numbers_start_at_two", lambda rows: rows[1].update(item_numbers=[1])),
    ("training_sequences", "item_numbers_are_in_the_vocabulary", lambda rows: rows[1].update(item_numbers=[6])),
    ("training_runs", "loss_is_null_or_finite", lambda rows: rows[1].update(loss=nan)),
    ("training_runs", "loss_is_null_or_finite", lambda rows: rows[1].update(loss=inf)),
    ("training_runs", "checkpoint_hash_is_not_empty", lambda rows: rows[0].update(checkpoint_hash="")),
    ("training_runs", "seconds_are_at_least_zero", lambda rows: rows[0].update(seconds=-1.0)),
    ("metrics", "value_is_finite", lambda rows: rows[0].update(value=nan)),
    ("metrics", "value_is_finite", lambda rows: rows[1].update(value=inf)),
    ("metrics", "value_lies_in_its_interval", lambda rows: rows[0].update(value=0.31)),
    ("metrics", "value_lies_in_its_interval", lambda rows: rows[0].update(high=None, value=0.09)),
    ("metrics", "shares_lie_between_zero_and_one", lambda rows: rows[2].update(value=1.1)),
    ("metrics", "shares_lie_between_zero_and_one", lambda rows: rows[3].update(value=1.1, high=1.2)),
    ("metrics", "num_cases_is_at_least_zero", lambda rows: rows[0].update(num_cases=-1)),
    ("metrics", FAMILIAR, lambda rows: rows[3].update(value=0.75, high=0.79)),  # the nights before: 0.9
]


@pytest.mark.parametrize(("table", "name", "spoil"), BREAKS)
def test_one_break_is_told_by_one_expectation(
    table: str, name: str, spoil: Callable[[Rows], object], tables: Tables, judge: Judge
) -> None:
    spoil(tables[table])
    assert judge(table, tables) == {name}


def test_rounding_does_not_push_a_value_out_of_its_interval(tables: Tables, judge: Judge) -> None:
    tables["metrics"][0].update(value=0.3 + 5e-10)
    assert judge("metrics", tables) == set()


def test_a_number_that_another_night_gave_is_known(tables: Tables, judge: Judge) -> None:
    tables["training_sequences"][1].update(item_numbers=[3])
    assert judge("training_sequences", tables) == set()
    tables["other_metadata_vocabulary"][1].update(field="brand")
    assert judge("training_sequences", tables) == {"item_numbers_are_in_the_vocabulary"}


def test_a_number_of_another_field_is_no_item(tables: Tables, judge: Judge) -> None:
    tables["metadata_vocabulary"][1].update(field="brand")
    assert judge("training_sequences", tables) == {"item_numbers_are_in_the_vocabulary"}


def fell(tables: Tables) -> dict[str, Any]:
    """Let tonight's familiarity fall by more than is allowed; return its row."""
    row = tables["metrics"][3]
    row.update(value=0.5, low=0.4, high=0.6)
    return row


def test_a_fall_of_familiarity_shows_model_slice_and_both_values(settings: Settings, tables: Tables) -> None:
    fell(tables)
    (warning,) = (e for e in suite(METRICS, settings) if e.name == FAMILIAR)
    with duckdb.connect() as con:
        for view, rows in (("batch", tables["metrics"]), ("earlier_metrics", tables["earlier_metrics"])):
            con.register(view, pa.Table.from_pylist(rows, schema=METRICS.schema))
        found = con.execute(warning.arguments["unexpected_rows_query"].replace("{batch}", "batch")).fetchall()
        columns = [column[0] for column in con.description or ()]
    assert [dict(zip(columns, row, strict=True)) for row in found] == [
        {
            "model": "popular", "slice": "users", "value": 0.5, "high": 0.6, "earlier_mean": 0.9, "num_nights": 3,
            "num_cases": 100, "max_fall": Decimal("0.1"),
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("earlier", "tonight"),
    [
        ({"slice": "new_users"}, {}),
        ({"model": "markov"}, {}),
        ({"metric": "ndcg@10"}, {}),
        ({}, {"metric": "hit@10"}),
        ({}, {"num_cases": 99}),
        ({}, {"high": 0.81}),
    ],
)
def test_a_fall_needs_three_nights_of_the_same_and_enough_cases(
    earlier: dict[str, Any], tonight: dict[str, Any], tables: Tables, judge: Judge
) -> None:
    row = fell(tables)
    assert judge("metrics", tables) == {FAMILIAR}
    tables["earlier_metrics"][0].update(earlier)
    row.update(tonight)
    assert judge("metrics", tables) == set()


def test_how_far_familiarity_may_fall_is_a_setting(settings: Settings, tables: Tables, judge: Judge) -> None:
    fell(tables)
    validation = settings.validation.model_copy(update={"max_familiarity_fall": 0.4})
    assert judge("metrics", tables, settings.model_copy(update={"validation": validation})) == set()
