from collections.abc import Callable
from datetime import date
from math import inf

import pytest

from pipelines.contracts import ITEMS
from pipelines.expectations import suite
from pipelines.settings import Settings

from .conftest import Judge, Rows, Tables


def _unlist(rows: Rows) -> None:
    for row in rows:
        row.update(is_listed=False)


def _delist(rows: Rows) -> None:
    """Two of three items of the night before are gone; that the rest has prices is another matter."""
    rows[0].update(is_listed=False)
    rows[2].update(price=1.0)


def _swap_numbers(rows: Rows) -> None:
    rows[0]["number"], rows[1]["number"] = rows[1]["number"], rows[0]["number"]


BREAKS: list[tuple[str, str, Callable[[Rows], object]]] = [
    ("items", "item_id_is_not_empty", lambda rows: rows[0].update(item_id="")),
    ("items", "price_is_null_or_at_least_zero", lambda rows: rows[0].update(price=-1.0)),
    ("items", "price_is_null_or_at_least_zero", lambda rows: rows[0].update(price=inf)),
    ("items", "first_seen_is_not_after_the_night", lambda rows: rows[0].update(first_seen=date(2026, 1, 4))),
    ("items", "an_item_is_listed", _unlist),
    ("items", "an_item_is_listed", lambda rows: rows.clear()),
    ("items", "most_listed_items_have_a_price", lambda rows: rows[0].update(price=None)),
    ("items", "the_catalogue_did_not_shrink", _delist),
    ("metadata_vocabulary", "numbers_run_from_two_without_holes", lambda rows: rows[1].update(number=6)),
    ("metadata_vocabulary", "numbers_run_from_two_without_holes", lambda rows: rows[1].update(number=4)),
    ("metadata_vocabulary", "numbers_run_from_two_without_holes", lambda rows: rows[1].update(number=3)),
    ("metadata_vocabulary", "numbers_run_from_two_without_holes", lambda rows: rows[2].update(number=1)),
    ("metadata_vocabulary", "a_token_is_numbered_once", lambda rows: rows[1].update(token="A")),
    ("metadata_vocabulary", "tokens_keep_their_numbers", _swap_numbers),
    ("metadata_vocabulary", "tokens_keep_their_numbers", lambda rows: rows[0].update(token="new")),
]


@pytest.mark.parametrize(("table", "name", "spoil"), BREAKS)
def test_one_break_is_told_by_one_expectation(
    table: str, name: str, spoil: Callable[[Rows], object], tables: Tables, judge: Judge
) -> None:
    spoil(tables[table])
    assert judge(table, tables) == {name}


def test_items_without_listed_ones_are_wrong_even_before_any_event(tables: Tables, judge: Judge) -> None:
    _unlist(tables["items"])
    tables["interactions"].clear()
    tables["previous_items"].clear()
    assert judge("items", tables) == {"an_item_is_listed"}


@pytest.mark.parametrize("in_logs", [True, False])
def test_prices_are_asked_for_where_a_price_column_is_mapped(settings: Settings, in_logs: bool) -> None:
    item_columns = settings.events.item_columns.model_copy(update={"price": "price" if in_logs else ""})
    events = settings.events.model_copy(update={"item_columns": item_columns})
    mapped = settings.model_copy(update={"events": events, "catalogue": None})
    assert ("most_listed_items_have_a_price" in {e.name for e in suite(ITEMS, mapped)}) is in_logs
