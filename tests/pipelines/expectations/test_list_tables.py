from collections.abc import Callable
from math import nan
from typing import Any

import pytest

from .conftest import Judge, Rows, Tables


def _next_entry(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"rank": row["rank"] + 1, "related_item_id": "E"}


BREAKS: list[tuple[str, str, Callable[[Rows], object]]] = [
    ("recommendations", "lists_are_full", lambda rows: rows.pop()),
    ("recommendations", "lists_are_full", lambda rows: rows.append(rows[0] | {"rank": 3, "item_id": "C"})),
    ("recommendations", "every_subject_has_a_list", lambda rows: rows.__delitem__(slice(2, 4))),
    ("recommendations", "every_subject_has_a_list", lambda rows: rows.clear()),
    ("recommendations", "ranks_run_from_one_without_holes", lambda rows: rows[1].update(rank=3)),
    ("recommendations", "ranks_run_from_one_without_holes", lambda rows: rows[0].update(rank=0)),
    ("recommendations", "no_item_stands_twice_in_a_list", lambda rows: rows[1].update(item_id="A")),
    ("recommendations", "recommended_items_are_listed", lambda rows: rows[0].update(item_id="D")),
    ("recommendations", "recommended_items_are_listed", lambda rows: rows[0].update(item_id="Z")),
    ("recommendations", "score_is_finite", lambda rows: rows[0].update(score=nan)),
    ("recommendations", "source_is_known", lambda rows: rows[0].update(source="magic")),
    (
        "related_items",
        "lists_are_not_too_long",
        lambda rows: rows.append(rows[0] | {"rank": 3, "related_item_id": "E"}),
    ),
    ("related_items", "no_item_is_related_to_itself", lambda rows: rows[0].update(related_item_id="A")),
    ("related_items", "ranks_run_from_one_without_holes", lambda rows: rows[2].update(rank=2)),
    ("related_items", "no_item_stands_twice_in_a_list", lambda rows: rows[0].update(related_item_id="C")),
    ("related_items", "recommended_items_are_listed", lambda rows: rows[0].update(related_item_id="D")),
    ("related_items", "score_is_finite", lambda rows: rows[0].update(score=nan)),
    ("related_items", "source_is_known", lambda rows: rows[0].update(source="")),
]


@pytest.mark.parametrize(("table", "name", "spoil"), BREAKS)
def test_one_break_is_told_by_one_expectation(
    table: str, name: str, spoil: Callable[[Rows], object], tables: Tables, judge: Judge
) -> None:
    spoil(tables[table])
    assert judge(table, tables) == {name}


def test_a_list_is_as_long_as_there_are_listed_items(tables: Tables, judge: Judge) -> None:
    for item in tables["items"][1:]:
        item.update(is_listed=False)
    assert judge("recommendations", tables) == {"lists_are_full", "recommended_items_are_listed"}
    tables["recommendations"] = [row | {"item_id": "A"} for row in tables["recommendations"] if row["rank"] == 1]
    assert judge("recommendations", tables) == set()


def test_every_model_of_the_table_owes_every_subject_a_list(tables: Tables, judge: Judge) -> None:
    tables["recommendations"] += [row | {"model": "sasrec"} for row in tables["recommendations"][:2]]
    assert judge("recommendations", tables) == {"every_subject_has_a_list"}


def test_without_listed_items_nobody_is_owed_a_list(tables: Tables, judge: Judge) -> None:
    tables["recommendations"].clear()
    tables["items"].clear()
    assert judge("recommendations", tables) == set()
