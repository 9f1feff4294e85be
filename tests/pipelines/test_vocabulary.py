from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import METADATA_VOCABULARY
from pipelines.engine import connect
from pipelines.settings import Statistics
from pipelines.vocabulary import FIRST_NUMBER, TOKENS, vocabulary_hash, vocabulary_kernel
from tests.pipelines.kernel_run import HOSTILE, STORAGE, KernelRun, Row, by_key
from tests.pipelines.small_log import day

Known = dict[int, list[Row]]  # rows by the night that wrote them


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture(scope="module")
def con(runs: KernelRun) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(STORAGE, runs.folder / "scratch") as con:
        yield con


def item(item_id: str, title: str | None = None, category: list[str] | None = None, **fields: Any) -> Row:
    whole = {"as_of_date": day(0), "item_id": item_id, "title": title, "description": None, "category": category or []}
    rest: Row = {"brand": None, "price": None, "attributes": [], "first_seen": day(0), "is_listed": True}
    return {**whole, **rest, **fields}


def grow(runs: KernelRun, known: Known, night: int, items: Sequence[Row], min_token_items: int = 2) -> list[Row]:
    """Run a night: its rows take the place of those that it wrote before. Returns the vocabulary of all nights."""
    known[night] = runs.run(
        vocabulary_kernel(Statistics(min_token_items=min_token_items), day(night)),
        [day(night)],
        tokens=runs.relation("items", items, TOKENS),
        known_tokens=runs.relation("metadata_vocabulary", [row for rows in known.values() for row in rows]),
    )
    return [row for rows in known.values() for row in rows]


def numbers(rows: Sequence[Row], field: str) -> dict[str, int]:
    return {row["token"]: row["number"] for row in rows if row["field"] == field}


def test_an_empty_shop_has_an_empty_vocabulary(runs: KernelRun) -> None:
    assert grow(runs, {}, 0, []) == []


def test_every_field_is_numbered_from_two_by_count_and_then_by_text(runs: KernelRun) -> None:
    items = [
        item("i2", "Red LAMP, red!", ["Home", "Lamps"], brand="B", attributes=[("colour", ["red", "blue", "red"])]),
        item("i1", "lamp-shade", ["Home", "Lamps"], brand="A", is_listed=False),
        item("i3", "Vase", ["Home", "Vases"], brand="B", attributes=[("colour", ["blue"]), ("it's", ["x"])]),
        item("i4", "", ["Vases", "", "Home"], brand="", attributes=[("colour", []), ("none", [""])]),
    ]
    found = grow(runs, {}, 0, items, min_token_items=1)
    assert FIRST_NUMBER == 2
    assert {field: numbers(found, field) for field in sorted({row["field"] for row in found})} == {
        "attribute:colour": {"blue": 2, "red": 3},
        "attribute:it's": {"x": 2},
        "brand": {"B": 2, "A": 3},
        "category_1": {"Home": 2, "Vases": 3},
        "category_2": {"Home > Lamps": 2, "Home > Vases": 3, "Vases > ": 4},
        "category_3": {"Vases >  > Home": 2},
        "item": {"i1": 2, "i2": 3, "i3": 4, "i4": 5},
        "title": {"lamp": 2, "red": 3, "shade": 4, "vase": 5},
    }
    counts = {(row["field"], row["token"]): row["count"] for row in found}
    assert (counts["title", "red"], counts["title", "lamp"], counts["category_1", "Home"]) == (1, 2, 3)
    assert (counts["attribute:colour", "red"], counts["brand", "B"], counts["item", "i1"]) == (1, 2, 1)
    assert [(row["field"], row["number"]) for row in found] == sorted((row["field"], row["number"]) for row in found)
    assert {row["first_night"] for row in found} == {day(0)}


def test_a_word_of_a_title_needs_some_items_but_an_item_or_brand_does_not(runs: KernelRun) -> None:
    items = [item("a", "oak oak lamp", brand="X"), item("b", "LAMP 7ö"), item("c", "7Ö")]
    for min_items, words in ((1, {"7ö": 2, "lamp": 3, "oak": 4}), (2, {"7ö": 2, "lamp": 3}), (3, {})):
        found = grow(runs, {}, 0, items, min_items)
        assert numbers(found, "title") == words
        assert numbers(found, "brand") == {"X": 2}


def test_a_new_night_appends_and_changes_no_number(runs: KernelRun) -> None:
    known: Known = {}
    first = grow(runs, known, 0, [item("b", "lamp", brand="B"), item("c", "lamp")])
    later = [item("a", "vase", brand="A"), item("b", "vase", brand="A"), item("c", "vase"), item("0", brand="C")]
    both = grow(runs, known, 1, later)
    assert both[: len(first)] == first
    assert numbers(known[1], "item") == {"0": 4, "a": 5}
    assert numbers(known[1], "brand") == {"A": 3, "C": 4}
    assert numbers(known[1], "title") == {"vase": 3}
    assert {row["first_night"] for row in known[1]} == {day(1)}
    assert {row["token"]: row["count"] for row in known[1]} == {"0": 1, "a": 1, "A": 2, "C": 1, "vase": 3}
    assert grow(runs, known, 2, later[1:]) == both


def test_a_night_that_runs_again_gives_the_same_rows(runs: KernelRun) -> None:
    known: Known = {}
    items = [item("b", "lamp", brand="B"), item("c", "lamp")]
    first = grow(runs, known, 0, items)
    assert grow(runs, known, 0, items) == first
    grow(runs, known, 1, [item("d", "lamp", brand="D")])
    assert grow(runs, known, 0, items)[: len(first)] == first
    assert grow(runs, known, 0, [])[: len(first)] == first  # a number that was given is never taken back


def test_a_night_that_runs_again_with_more_items_gives_no_number_twice(runs: KernelRun) -> None:
    known: Known = {}
    grow(runs, known, 0, [item("a")])
    grow(runs, known, 1, [item("a"), item("b")])
    grow(runs, known, 2, [item("a"), item("b"), item("c")])
    found = grow(runs, known, 0, [item("a"), item("d"), item("c")])
    assert numbers(found, "item") == {"a": 2, "b": 3, "c": 4, "d": 5}
    assert numbers(known[0], "item") == {"a": 2, "d": 5}
    assert grow(runs, known, 1, [item("d"), item("b"), item("e")]) == [*found[:2], *known[1], *known[2]]
    assert numbers(known[1], "item") == {"b": 3, "e": 6}


def test_hostile_tokens_are_tokens(runs: KernelRun) -> None:
    found = grow(runs, {}, 0, [item(text, text, [text], brand=text, attributes=[(text, [text])]) for text in HOSTILE])
    for field in ("item", "brand", "category_1"):
        assert set(numbers(found, field)) == set(HOSTILE)
    assert all(numbers(found, f"attribute:{text}") == {text: 2} for text in HOSTILE)


def hash_of(con: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> str:
    con.register("metadata_vocabulary", pa.Table.from_pylist(list(rows), schema=METADATA_VOCABULARY.schema))
    return vocabulary_hash(con)


def test_the_hash_tells_numbers_apart_and_nothing_else(runs: KernelRun, con: duckdb.DuckDBPyConnection) -> None:
    found = grow(runs, {}, 0, [item(text, brand=text) for text in HOSTILE])
    digest = hash_of(con, found)
    same = [row | {"count": 9, "first_night": day(3)} for row in found]
    assert hash_of(con, same[::-1]) == digest
    assert hash_of(con, found[1:]) != digest
    swapped = [row | {"number": {2: 3, 3: 2}.get(row["number"], row["number"])} for row in found]
    assert hash_of(con, swapped) != digest
    assert hash_of(con, []) == hash_of(con, []) != digest


def test_the_hash_stays_the_same_over_versions(con: duckdb.DuckDBPyConnection) -> None:
    row = {"first_night": day(0), "field": "item", "token": 'a"b', "number": 2, "count": 1}
    # printf '["item","a\\"b","2"]\n' | sha256sum
    assert hash_of(con, [row]) == "f25ad6e55393dcc5cfc0db4ec6ccb0f88ad0775d3035ff95295e58c6958a773c"


words = st.sampled_from(["oak", "lamp", "red", "vase", "Ö"])
item_fields = st.fixed_dictionaries(
    {
        "title": st.none() | st.lists(words, max_size=3).map(" ".join),
        "category": st.lists(words, max_size=3),
        "brand": st.none() | words,
        "attributes": st.dictionaries(words, st.lists(words, max_size=2), max_size=2).map(lambda a: list(a.items())),
    }
)
catalogues = st.dictionaries(st.sampled_from("abcdef"), item_fields, max_size=6)


@given(st.lists(st.tuples(st.integers(0, 2), catalogues), min_size=1, max_size=5), st.integers(1, 3))
@hypothesis_settings(max_examples=15, deadline=None)
def test_over_any_nights_and_runs_numbers_have_no_holes_and_never_change(
    runs: KernelRun, nights: list[tuple[int, dict[str, Any]]], min_items: int
) -> None:
    known: Known = {}
    before: dict[tuple[str, str], int] = {}
    for night, catalogue in nights:
        found = grow(runs, known, night, [item(name, **fields) for name, fields in catalogue.items()], min_items)
        for rows in by_key(found, "field").values():
            assert sorted(row["number"] for row in rows) == list(range(2, 2 + len(rows)))
        after = {(row["field"], row["token"]): row["number"] for row in found}
        assert len(after) == len(found)
        assert before.items() <= after.items()
        carried = {
            key: len(names) for key, names in tokens(catalogue).items() if key[0] != "title" or len(names) >= min_items
        }
        assert after.keys() == before.keys() | carried.keys()
        new = sorted(carried.keys() - before.keys(), key=lambda key: (key[0], -carried[key], key[1]))
        assert sorted(new, key=lambda key: (key[0], after[key])) == new
        counts = {(row["field"], row["token"]): row["count"] for row in found}
        assert {key: counts[key] for key in new} == {key: carried[key] for key in new}
        before = after


def tokens(catalogue: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Items by field and token."""
    found = defaultdict(set)
    for name, fields in catalogue.items():
        found["item", name].add(name)
        for word in (fields["title"] or "").lower().split():
            found["title", word].add(name)
        if fields["brand"]:
            found["brand", fields["brand"]].add(name)
        for level in range(1, len(fields["category"]) + 1):
            found[f"category_{level}", " > ".join(fields["category"][:level])].add(name)
        for attribute, values in fields["attributes"]:
            for value in values:
                found[f"attribute:{attribute}", value].add(name)
    return found
