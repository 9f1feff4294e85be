from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import ITEMS, METADATA_VOCABULARY
from pipelines.engine import connect
from pipelines.settings import Statistics, Storage
from pipelines.vocabulary import FIRST_NUMBER, vocabulary_hash, vocabulary_sql
from tests.pipelines.small_log import Row, day

HOSTILE = ["it's", 'say "x"', "'; drop table items; --", "two\nlines", "🙂", "x" * 10_000, "a,b", "\0"]


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(Storage(), tmp_path_factory.mktemp("scratch")) as con:
        yield con


def item(item_id: str, title: str | None = None, category: list[str] | None = None, **fields: Any) -> Row:
    whole = {"as_of_date": day(0), "item_id": item_id, "title": title, "description": None, "category": category or []}
    rest: Row = {"brand": None, "price": None, "attributes": [], "first_seen": day(0), "is_listed": True}
    return {**whole, **rest, **fields}


def grow(
    con: duckdb.DuckDBPyConnection, items: list[Row], previous: list[Row] | None = None, night: int = 0, **settings: int
) -> list[Row]:
    """The vocabulary of a night, given that of the night before."""
    con.register("items", pa.Table.from_pylist(items, schema=ITEMS.schema))
    before = pa.Table.from_pylist(previous or [], schema=METADATA_VOCABULARY.schema)
    con.register("previous_metadata_vocabulary", before)
    answer = con.sql(vocabulary_sql(Statistics.model_validate(settings), day(night))).to_arrow_table()
    return answer.select(METADATA_VOCABULARY.column_names).to_pylist()


def numbers(rows: list[Row], field: str) -> dict[str, int]:
    return {row["token"]: row["number"] for row in rows if row["field"] == field}


def hash_of(con: duckdb.DuckDBPyConnection, rows: list[Row]) -> str:
    con.register("metadata_vocabulary", pa.Table.from_pylist(rows, schema=METADATA_VOCABULARY.schema))
    return vocabulary_hash(con)


def test_an_empty_shop_has_an_empty_vocabulary(con: duckdb.DuckDBPyConnection) -> None:
    assert grow(con, []) == []


def test_every_field_is_numbered_from_two_by_count_and_then_by_text(con: duckdb.DuckDBPyConnection) -> None:
    items = [
        item("i2", "Red LAMP, red!", ["Home", "Lamps"], brand="B", attributes=[("colour", ["red", "blue"])]),
        item("i1", "lamp-shade", ["Home", "Lamps"], brand="A"),
        item("i3", "Vase", ["Home", "Vases"], brand="B", attributes=[("colour", ["blue"]), ("it's", ["x"])]),
    ]
    found = grow(con, items, min_token_items=1)
    assert FIRST_NUMBER == 2
    assert {field: numbers(found, field) for field in sorted({row["field"] for row in found})} == {
        "attribute:colour": {"blue": 2, "red": 3},
        "attribute:it's": {"x": 2},
        "brand": {"B": 2, "A": 3},
        "category_1": {"Home": 2},
        "category_2": {"Home > Lamps": 2, "Home > Vases": 3},
        "item": {"i1": 2, "i2": 3, "i3": 4},
        "title": {"lamp": 2, "red": 3, "shade": 4, "vase": 5},
    }
    counts = {(row["field"], row["token"]): row["count"] for row in found}
    assert (counts["title", "red"], counts["title", "lamp"], counts["category_1", "Home"]) == (1, 2, 3)
    assert [(row["field"], row["number"]) for row in found] == sorted((row["field"], row["number"]) for row in found)
    assert {row["first_night"] for row in found} == {row["as_of_date"] for row in found} == {day(0)}


def test_a_word_of_a_title_needs_some_items_but_an_item_or_brand_does_not(con: duckdb.DuckDBPyConnection) -> None:
    found = grow(con, [item("a", "oak oak lamp", brand="X"), item("b", "LAMP 7ö"), item("c", "7Ö")], min_token_items=2)
    assert numbers(found, "title") == {"7ö": 2, "lamp": 3}
    assert numbers(found, "brand") == {"X": 2}


def test_a_new_night_appends_and_changes_no_number(con: duckdb.DuckDBPyConnection) -> None:
    first = grow(con, [item("b", "lamp", brand="B"), item("c", "lamp")])
    later = [item("a", "vase", brand="A"), item("b", "vase", brand="A"), item("c", "vase"), item("0", brand="C")]
    second = grow(con, later, first, night=1)
    assert numbers(second, "item") == {"b": 2, "c": 3, "0": 4, "a": 5}
    assert numbers(second, "brand") == {"B": 2, "A": 3, "C": 4}
    assert numbers(second, "title") == {"lamp": 2, "vase": 3}
    of_lamp = next(row for row in second if row["token"] == "lamp")
    assert (of_lamp["count"], of_lamp["first_night"], of_lamp["as_of_date"]) == (0, day(0), day(1))
    of_vase = next(row for row in second if row["token"] == "vase")
    assert (of_vase["count"], of_vase["first_night"]) == (3, day(1))


def test_hostile_tokens_are_tokens(con: duckdb.DuckDBPyConnection) -> None:
    found = grow(con, [item(text, text, [text], brand=text, attributes=[(text, [text])]) for text in HOSTILE])
    for field in ("item", "brand", "category_1"):
        assert set(numbers(found, field)) == set(HOSTILE)
    assert all(numbers(found, f"attribute:{text}") == {text: 2} for text in HOSTILE)


def test_the_hash_tells_numbers_apart_and_nothing_else(con: duckdb.DuckDBPyConnection) -> None:
    found = grow(con, [item(text, brand=text) for text in HOSTILE])
    digest = hash_of(con, found)
    same = [row | {"count": 9, "as_of_date": day(5), "first_night": day(3)} for row in found]
    assert hash_of(con, same[::-1]) == digest
    assert hash_of(con, found[1:]) != digest
    swapped = [row | {"number": {2: 3, 3: 2}.get(row["number"], row["number"])} for row in found]
    assert hash_of(con, swapped) != digest
    assert hash_of(con, []) == hash_of(con, []) != digest


def test_the_hash_stays_the_same_over_versions(con: duckdb.DuckDBPyConnection) -> None:
    row = {"as_of_date": day(0), "field": "item", "token": 'a"b', "number": 2, "count": 1, "first_night": day(0)}
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
catalogues = st.lists(st.dictionaries(st.sampled_from("abcdef"), item_fields, max_size=6), min_size=1, max_size=4)


@given(catalogues, st.integers(1, 3))
@hypothesis_settings(max_examples=20, deadline=None)
def test_over_any_nights_numbers_have_no_holes_and_never_change(
    con: duckdb.DuckDBPyConnection, nights: list[dict[str, Any]], min_items: int
) -> None:
    previous: list[Row] = []
    for night, catalogue in enumerate(nights):
        found = grow(
            con,
            [item(name, **fields) for name, fields in catalogue.items()],
            previous,
            night,
            min_token_items=min_items,
        )
        by_field = defaultdict(list)
        for row in found:
            by_field[row["field"]].append(row["number"])
        assert all(sorted(of) == list(range(2, 2 + len(of))) for of in by_field.values())
        kept = {(row["field"], row["token"]): row["number"] for row in found}
        assert {(row["field"], row["token"]): row["number"] for row in previous}.items() <= kept.items()
        assert {key: row["count"] for row in found if row["count"] for key in [(row["field"], row["token"])]} == {
            key: len(names) for key, names in tokens(catalogue).items() if key in kept
        }
        assert {
            key for key, names in tokens(catalogue).items() if key[0] != "title" or len(names) >= min_items
        } <= kept.keys()
        previous = found


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
