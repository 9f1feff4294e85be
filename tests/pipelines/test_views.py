import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.contracts import CONTRACTS
from pipelines.errors import InputError
from pipelines.store import Store
from pipelines.views import FILE_NAME, open_views, write_views
from tests.pipelines.served_store import HOSTILE, NIGHT, OLD, publish, served_store
from tests.pipelines.small_log import day, settings_of

# Another process, for DuckDB shares one database among the connections of a process.
HOLDER = """
import sys
from pathlib import Path
from pipelines.views import open_views
with open_views(Path(sys.argv[1])) as con:
    for _ in range(2):
        print(con.execute("select list(title order by item_id) from items").fetchone()[0], flush=True)
        sys.stdin.readline()
"""


def shown(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_views(path) as con:
        return con.execute(sql).fetchall()


def test_a_snapshot_shows_its_newest_night_and_other_tables_are_shown_whole(tmp_path: Path) -> None:
    store = served_store(tmp_path)
    path = write_views(store, settings_of(tmp_path))
    assert path == tmp_path / FILE_NAME
    assert shown(path, "select as_of_date, item_id, title from items order by all") == [
        (NIGHT, "a", "A"), (NIGHT, "b", HOSTILE),
    ]  # fmt: skip
    for table, dates in {
        "interactions": {OLD, NIGHT}, "metrics": {OLD, NIGHT}, "recommendations": {OLD, NIGHT},
        "source_files": {day(-9), OLD, NIGHT},
    }.items():  # fmt: skip
        rows = shown(path, f"select distinct {CONTRACTS[table].partition} from {table}")
        assert {date for (date,) in rows} == dates, table


def test_every_table_has_a_view_of_its_columns_with_its_grain_also_before_its_first_row(tmp_path: Path) -> None:
    path = write_views(Store(tmp_path), settings_of(tmp_path))
    views = dict(
        shown(path, "select view_name, comment from duckdb_views() where not internal and comment is not null")
    )
    assert views == {name: contract.grain for name, contract in CONTRACTS.items()}
    for name, contract in CONTRACTS.items():
        assert [row[0] for row in shown(path, f"describe {name}")] == contract.column_names
        assert shown(path, f"select count(*) from {name}") == [(0,)]


def test_tables_that_are_kept_by_night_show_what_every_night_added(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "metadata_vocabulary", [{"first_night": OLD, "token": "a"}, {"first_night": NIGHT, "token": "b"}])
    publish(store, "training_sequences", [{"event_date": OLD}, {"event_date": NIGHT}])
    publish(store, "item_users", [{"first_date": OLD, "user_id": "u"}, {"first_date": NIGHT, "user_id": "v"}])
    path = write_views(store, settings_of(tmp_path))
    assert shown(path, "select token from metadata_vocabulary order by all") == [("a",), ("b",)]
    assert shown(path, "select event_date from training_sequences order by all") == [(OLD,), (NIGHT,)]
    assert shown(path, "select user_id from item_users order by all") == [("u",), ("v",)]


def test_views_lie_in_the_folder_in_which_the_store_works(tmp_path: Path) -> None:
    store = Store(tmp_path / "tables", tmp_path / "work")
    publish(store, "items", [{"as_of_date": NIGHT, "item_id": "a", "title": "A"}])
    path = write_views(store, settings_of(tmp_path))
    assert path == tmp_path / "work" / FILE_NAME
    assert shown(path, "select title from items") == [("A",)]


def test_the_served_model_is_that_of_the_settings(tmp_path: Path) -> None:
    for model in ("markov", "popular"):
        path = write_views(Store(tmp_path), settings_of(tmp_path, recommendations={"serve": model}))
        assert shown(path, "select model from served_model") == [(model,)]


@pytest.mark.parametrize("folder", ["it's", "title=wrong", 'a "b" ö'])
def test_views_are_read_from_any_folder_and_stay_in_place_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    path = write_views(served_store(tmp_path / folder), settings_of(tmp_path))
    monkeypatch.chdir("/")
    assert shown(path, "select title from items where item_id = 'a'") == [("A",)]
    assert [row[0] for row in shown(path, "describe items")] == CONTRACTS["items"].column_names


def test_the_file_is_replaced_while_a_reader_holds_the_old_one(tmp_path: Path) -> None:
    store, settings = served_store(tmp_path), settings_of(tmp_path)
    path = write_views(store, settings)
    command = [sys.executable, "-c", HOLDER, str(path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == f"{['A', HOSTILE]}\n"
        publish(store, "items", [{"as_of_date": day(2), "item_id": "a", "title": "newer"}], "r2")
        write_views(store, settings)
        assert shown(path, "select title from items") == [("newer",)]
        holder.stdin.write("\n\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == f"{['A', HOSTILE]}\n"
        assert holder.wait(20) == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [FILE_NAME]


def test_a_write_that_dies_leaves_the_old_file_and_the_next_one_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, settings = served_store(tmp_path), settings_of(tmp_path)
    path = write_views(store, settings)
    publish(store, "items", [{"as_of_date": day(2), "item_id": "a", "title": "newer"}], "r2")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            write_views(store, settings)
    assert shown(path, "select count(*) from items") == [(2,)]
    write_views(store, settings)
    assert shown(path, "select title from items") == [("newer",)]


def test_views_are_for_reading(tmp_path: Path) -> None:
    path = write_views(Store(tmp_path), settings_of(tmp_path))
    with open_views(path) as con, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        con.execute("drop view items")


def test_without_a_complete_night_there_is_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing to query yet(.|\n)*run a night first"):
        open_views(tmp_path / FILE_NAME)
    assert not (tmp_path / FILE_NAME).exists()
