from pathlib import Path
from typing import Any

import pytest

from pipelines.catalogue import load_catalogue
from pipelines.engine import connect
from pipelines.errors import InputError
from pipelines.log_stages import build_interactions, build_items
from pipelines.settings import Settings
from pipelines.store import Store
from tests.pipelines.small_log import (
    Row,
    at,
    csv_bytes,
    day,
    event,
    json_bytes,
    newest,
    put,
    put_log,
    rows_of,
    run,
    settings_of,
)

COLUMNS = {"id": "id", "title": "title", "category": "category", "price": "price"}
STAGES = (build_interactions, build_items)


def shop(folder: Path, form: str = "csv", **sections: Any) -> Settings:
    catalogue = {"path": "items/{day}.csv", "format": form, "columns": COLUMNS, **sections.pop("catalogue", {})}
    return settings_of(folder, catalogue=catalogue, **sections)


def put_items(folder: Path, number: int, rows: list[Row] | bytes) -> Path:
    complete = (
        rows if isinstance(rows, bytes) else csv_bytes([dict.fromkeys(COLUMNS.values(), "") | row for row in rows])
    )
    return put(folder, f"items/{day(number)}.csv", complete)


def listed(settings: Settings, number: int = 0) -> tuple[list[Any], list[Any]]:
    """What the catalogue of a night lists (id, title, price, attributes), and what it rejects (row, reason)."""
    with connect(settings.store, settings.folder / "scratch") as con:
        load_catalogue(con, settings, day(number), settings.folder / "scratch")
        rows = con.execute("select item_id, title, price, attributes from listed order by source_file, source_row")
        items = rows.fetchall()
        return items, con.execute("select source_row, reason from catalogue_rejected order by all").fetchall()


def ids(settings: Settings, number: int = 0) -> list[str]:
    return [row[0] for row in listed(settings, number)[0]]


def items(store: Store, *columns: str) -> dict[str, Any]:
    """The newest items: by id the named columns."""
    return {row["item_id"]: tuple(row[column] for column in columns) for row in newest(store, "items")}


def test_without_a_catalogue_nothing_is_listed(tmp_path: Path) -> None:
    assert listed(settings_of(tmp_path)) == ([], [])


def test_the_newest_catalogue_that_is_not_after_the_night_counts(tmp_path: Path) -> None:
    for number, name in ((-3, "old"), (0, "new"), (2, "later")):
        put_items(tmp_path, number, [{"id": name}])
    settings = shop(tmp_path)
    assert [ids(settings, number) for number in (-3, -1, 0, 1, 2, 9)] == [
        ["old"], ["old"], ["new"], ["new"], ["later"], ["later"],
    ]  # fmt: skip
    with pytest.raises(InputError, match="no catalogue for the night yet") as caught:
        listed(settings, -4)
    assert caught.value.value == "night 2025-12-28, oldest catalogue 2025-12-29"


def test_two_files_of_a_day_are_one_catalogue_in_which_the_first_row_of_an_item_counts(tmp_path: Path) -> None:
    put(tmp_path, "items/b-2026-01-01.csv", b"id,title,category,price\nx,late,,\nz,only,,\n")
    put(tmp_path, "items/a-2026-01-01.csv", b"id,title,category,price\ny,first,,\nx,early,,\n")
    settings = shop(tmp_path, catalogue={"path": "items/*-{day}.csv"})
    assert [row[:2] for row in listed(settings)[0]] == [("y", "first"), ("x", "early"), ("z", "only")]
    assert listed(settings)[1] == [(1, "repeated_item")]


def test_malformed_nameless_and_repeated_rows_go_to_quarantine_with_their_text(tmp_path: Path) -> None:
    content = b"id,title,category,price\na,A,,1\noops\n,B,,2\na,C,,3\n\xff,D,,4\nb,E,,5\n"
    put_items(tmp_path, 0, content)
    put_log(tmp_path, 0, [event("u", "a", at(1)), event("u", "c", at(1))])
    store = run(shop(tmp_path), day(0), stages=STAGES)
    assert items(store, "title", "price") == {"a": ("A", 1.0), "b": ("E", 5.0)}
    assert rows_of(store, "quarantine", "source_file", "source_row", "reason") == [
        ("items/2026-01-01.csv", 2, "malformed_row"), ("items/2026-01-01.csv", 3, "missing_item"),
        ("items/2026-01-01.csv", 4, "repeated_item"), ("items/2026-01-01.csv", 5, "malformed_row"),
        ("logs/2026-01-01.csv", 2, "unknown_item"),
    ]  # fmt: skip
    assert rows_of(store, "quarantine", "raw_row", slices=["catalogue"])[0] == "oops"


@pytest.mark.parametrize("content", [b"id,title,category,price\n,A,,1\n,B,,2\n", b"id,title,category,price\n"])
def test_a_catalogue_without_ids_is_refused(tmp_path: Path, content: bytes) -> None:
    path = put_items(tmp_path, 0, content)
    with pytest.raises(InputError, match=r"the catalogue has no ids(.|\n)*column id\n") as caught:
        listed(shop(tmp_path))
    assert str(path) in caught.value.where or not content.endswith(b"2\n")


@pytest.mark.parametrize(("num_bad", "refused"), [(1, False), (2, True)])
def test_prices_that_are_text_are_refused_beyond_the_share_that_may_be_rejected(
    tmp_path: Path, num_bad: int, refused: bool
) -> None:
    prices = ["ask us"] * num_bad + ["1.5"] * (20 - num_bad) + [""] * 20
    path = put_items(tmp_path, 0, [{"id": n, "price": price} for n, price in enumerate(prices)])
    put_log(tmp_path, 0, [event("u", "5", at(1))])
    if refused:
        with pytest.raises(InputError, match="2 of 20 prices in the catalogue are no numbers") as caught:
            run(shop(tmp_path), day(0), stages=STAGES)
        assert (caught.value.where, caught.value.value) == (f"{path}, row 1", "ask us")
    else:
        prices_found = [price for (price,) in items(run(shop(tmp_path), day(0), stages=STAGES), "price").values()]
        assert (prices_found.count(None), prices_found.count(1.5)) == (21, 19)


def test_a_price_that_is_no_finite_number_is_unknown(tmp_path: Path) -> None:
    prices = {"a": "1e3", "b": "nan", "c": "inf", "d": "-inf", "e": " 2.50 "}
    put_items(tmp_path, 0, [{"id": item, "price": price} for item, price in prices.items()])
    put_log(tmp_path, 0, [event("u", "a", at(1))])
    store = run(shop(tmp_path), day(0), stages=STAGES)
    assert items(store, "price") == {"a": (1000.0,), "b": (None,), "c": (None,), "d": (None,), "e": (2.5,)}


def test_attributes_are_one_value_or_the_values_of_an_array(tmp_path: Path) -> None:
    attributes = [{"colour": "red", "size": ["S", "M"]}, {"colour": None, "size": []}, {"colour": 'sa"y', "size": 4}]
    rows = [{**dict.fromkeys(COLUMNS.values()), "id": n, "a": value} for n, value in enumerate(attributes)]
    put_items(tmp_path, 0, json_bytes(rows))
    mapped = {"columns": {**COLUMNS, "attributes": {"it's": "a.colour", "size": "a.size"}}}
    found = [row[3] for row in listed(shop(tmp_path, "json", catalogue=mapped))[0]]
    assert found == [{"it's": ["red"], "size": ["S", "M"]}, {"size": []}, {"it's": ['sa"y'], "size": ["4"]}]


def test_a_category_is_split_at_its_separator_without_blanks(tmp_path: Path) -> None:
    categories = {"a": "Home > Lamps >  Oak ", "b": "Home", "c": "", "d": " > x >> y", "e": "a>b/c"}
    put_items(tmp_path, 0, [{"id": item, "category": text} for item, text in categories.items()])
    put_log(tmp_path, 0, [event("u", "a", at(1))])
    store = run(shop(tmp_path), day(0), stages=STAGES)
    assert [path for (path,) in items(store, "category").values()] == [
        ["Home", "Lamps", "Oak"], ["Home"], [], ["x", "y"], ["a", "b/c"],
    ]  # fmt: skip


def test_an_item_that_leaves_the_catalogue_stays_known_but_unlisted_until_it_returns(tmp_path: Path) -> None:
    for number, names in enumerate((["a", "b"], ["a"], ["b", "c"])):
        put_items(tmp_path, number, [{"id": name, "title": f"{name}{number}", "price": number} for name in names])
        put_log(tmp_path, number, [event("u", "b", at(1, number))])
    columns = ("title", "price", "first_seen", "is_listed")
    settings = shop(tmp_path)
    run(settings, day(0), stages=STAGES)
    store = run(settings, day(1), stages=STAGES)
    assert items(store, *columns) == {"a": ("a1", 1, day(0), True), "b": ("b0", 0, day(0), False)}
    assert rows_of(store, "quarantine") == []
    store = run(settings, day(2), stages=STAGES)
    assert items(store, *columns) == {
        "a": ("a1", 1, day(0), False), "b": ("b2", 2, day(0), True), "c": ("c2", 2, day(2), True),
    }  # fmt: skip


def test_a_range_of_days_leaves_the_items_that_its_nights_one_by_one_leave(tmp_path: Path) -> None:
    catalogues = [["a", "b"], ["c"], ["a", "d"], ["d"]]
    for number, names in enumerate(catalogues):
        put_items(tmp_path, number, [{"id": name, "title": f"{name}{number}"} for name in [*names, names[0]]])
        put_log(tmp_path, number, [event("u", item, at(1, number)) for item in "abcd"])
    nightly, backfill = shop(tmp_path, store={"root": "nightly"}), shop(tmp_path, store={"root": "backfill"})
    for number in range(4):
        run(nightly, day(number), stages=STAGES)
    run(backfill, day(0), day(3), stages=STAGES)
    one, other = nightly.open_store(), backfill.open_store()
    for table in ("interactions", "quarantine", "source_files", "item_observations"):
        assert rows_of(one, table) == rows_of(other, table), table
    assert newest(one, "items") == newest(other, "items")
    assert items(other, "title", "first_seen") == {
        "a": ("a2", day(0)), "b": ("b0", day(0)), "c": ("c1", day(1)), "d": ("d3", day(2)),
    }  # fmt: skip


def test_without_a_catalogue_the_items_are_those_of_the_logs_with_their_newest_texts(tmp_path: Path) -> None:
    item_columns = {"title": "title", "category": "category", "price": "price", "category_separator": "/"}
    texts = [("Old", "A / B", "1"), ("New", "", "2.5"), ("", "", "free")]
    for number, values in enumerate(texts):
        row = event("u", "i", at(1, number)) | dict(zip(("title", "category", "price"), values, strict=True))
        put_log(tmp_path, number, [row])
    settings = settings_of(tmp_path, events={"item_columns": item_columns}, store={"root": "nightly"})
    for number, (title, price) in enumerate([("Old", 1), ("New", 2.5), ("New", 2.5)]):
        store = run(settings, day(number), stages=STAGES)
        expected = (title, ["A", "B"], price, day(0), True)
        assert items(store, "title", "category", "price", "first_seen", "is_listed") == {"i": expected}
    backfill = settings_of(tmp_path, events={"item_columns": item_columns}, store={"root": "backfill"})
    assert newest(run(backfill, day(0), day(2), stages=STAGES), "items") == newest(store, "items")


def test_the_catalogue_comes_before_the_logs_which_fill_what_it_lacks(tmp_path: Path) -> None:
    put_items(tmp_path, 0, [{"id": "a", "title": "listed", "price": ""}])
    row = {"title": "logged", "price": "3"}
    put_log(tmp_path, 0, [event("u", "a", at(1)) | row, event("u", "unlisted", at(1)) | row])
    events = {"item_columns": {"title": "title", "price": "price"}}
    store = run(shop(tmp_path, events=events, catalogue={"unknown_items": "keep"}), day(0), stages=STAGES)
    assert items(store, "title", "price", "is_listed") == {"a": ("listed", 3, True), "unlisted": ("logged", 3, False)}


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08rubbish"])
def test_a_damaged_catalogue_stops_the_night(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "items/2026-01-01.csv.gz", content)
    with pytest.raises(InputError, match="deliver the file again"):
        listed(shop(tmp_path, catalogue={"path": "items/{day}.csv.gz"}))


def test_a_catalogue_that_does_not_fit_the_settings_stops_the_night(tmp_path: Path) -> None:
    put_items(tmp_path, 0, json_bytes([dict.fromkeys(COLUMNS.values(), "x")]))
    with pytest.raises(InputError, match="mapped column is missing"):
        listed(shop(tmp_path))
    wildcard = {"columns": {**COLUMNS, "title": "*"}}
    with pytest.raises(InputError, match="the raw file cannot be read") as caught:
        listed(shop(tmp_path, "json", catalogue=wildcard))
    assert "wildcard" in caught.value.value


def test_an_item_of_a_late_file_becomes_known_in_later_nights_too(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in (0, 1, 2):
        put_log(tmp_path, number, [event("u", f"i{number}", at(number * 24 + 1))])
    for number in (0, 2):
        run(settings, day(number), stages=STAGES)
    run(settings, day(1), stages=STAGES)
    put_log(tmp_path, 3, [event("u", "i0", at(73))])
    store = run(settings, day(3), stages=STAGES)
    assert set(items(store, "is_listed")) == {"i0", "i1", "i2"}
