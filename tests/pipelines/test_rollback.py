import hashlib
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.contracts import CONTRACTS
from pipelines.rollback import describe_partitions, main
from pipelines.settings import Settings
from pipelines.settings_file import load_settings
from pipelines.store import Part, Store, Write
from pipelines.views import FILE_NAME, open_views, write_views

NIGHTS = [date(2026, 1, day) for day in (1, 2, 3)]
SETTINGS = """
[events]
path = "{day}.csv"
format = "csv"
[events.columns]
user = "u"
item = "i"
time = "t"
[nights]
first = 2026-01-01
[store]
root = "store"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Settings of a store without a night."""
    path = tmp_path / "shop.toml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def settings(path: Path) -> Settings:
    return load_settings(path)


@pytest.fixture
def store(settings: Settings) -> Store:
    """A store in which version 1 of the items is right, 2 is another table, and 3 is wrong."""
    store = settings.open_store()
    _publish(store, "items", NIGHTS[0], ["a", "b"], "r1")
    _publish(store, "item_frequency", NIGHTS[0], ["a"], "r1")
    _publish(store, "items", NIGHTS[1], ["wrong"], "r2")
    write_views(store, settings)
    return store


def _publish(store: Store, table: str, night: date, items: Sequence[str], run: str) -> None:
    path = store.run_folder(run, table) / f"{night}.parquet"
    rows = [{"as_of_date": night, "item_id": item} for item in items]
    pq.write_table(pa.Table.from_pylist(rows, schema=CONTRACTS[table].schema), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    part = Part(night.isoformat(), "", path.relative_to(store.work).as_posix(), len(rows), digest)
    store.publish([Write(table, (part,), frozenset({part.partition}))], run=run)


def _items_in_views(store: Store) -> list[str]:
    with open_views(store.work / FILE_NAME) as con:
        return [item for (item,) in con.execute("select item_id from items order by all").fetchall()]


def _printed(text: str) -> list[list[str]]:
    """The cells of the rows of a printed table, without its header."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return [row for row in rows if row[0].isdigit()]


def test_without_a_version_the_history_is_shown_newest_first(
    store: Store, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--settings", str(path), "items"]) == 0
    rows = _printed(capsys.readouterr().out)
    assert [[row[0], *row[2:]] for row in rows] == [
        ["3", "r2", "2026-01-02", "3", "now"],
        ["1", "r1", "2026-01-01", "2"],
    ]
    assert [row[1] for row in rows] == [f"{state.time:%Y-%m-%d %H:%M:%S}" for state in store.history("items")]
    assert _items_in_views(store) == ["wrong"]


def test_with_a_version_the_views_show_the_table_as_it_was_and_others_as_they_are(
    store: Store, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--settings", str(path), "items", "1"]) == 0
    assert capsys.readouterr().out == (
        "items is served as of version 1 again, by the new version 4: 2 rows; changed: 2026-01-02.\n"
        "To undo this, roll back to version 3.\n"
    )
    assert _items_in_views(store) == ["a", "b"]
    assert store.partitions("item_frequency") == [NIGHTS[0]]
    assert main(["--settings", str(path), "items", "3"]) == 0
    assert _items_in_views(store) == ["wrong"]


def test_a_rollback_to_what_is_served_changes_nothing(
    store: Store, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--settings", str(path), "items", "3"]) == 0
    assert capsys.readouterr().out == "items is what version 3 had already: nothing changed.\n"
    assert store.version() == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["item", "1"], "did you mean 'items'?"),
        (["item"], "did you mean 'items'?"),
        (["items", "8"], "allowed: 3, 1"),
        (["metadata_vocabulary", "1"], "metadata_vocabulary cannot be rolled back"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_all_as_it_is(
    store: Store, path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["--settings", str(path), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert store.version() == 3
    assert _items_in_views(store) == ["wrong"]


def test_a_store_without_a_night_has_no_history(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--settings", str(path), "items"]) == 2
    assert "run a night first: make run" in capsys.readouterr().err


def test_settings_that_do_not_exist_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--settings", str(tmp_path / "none.toml"), "items"]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(("days", "words"), [("", ""), ("1", "1"), ("12", "1, 2"), ("1234", "1 to 4 (4)")])
def test_many_partitions_are_told_as_a_range(days: str, words: str) -> None:
    assert describe_partitions(list(days)) == words
