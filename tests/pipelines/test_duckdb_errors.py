"""A damaged file, too little memory and a full disk are told so that a person can act."""

from pathlib import Path

import duckdb
import pytest

from pipelines.duckdb_errors import damaged_files
from pipelines.engine import connect, quote
from pipelines.errors import InputError
from pipelines.settings import Storage
from pipelines.statistics_stages import (
    build_item_frequency,
    build_item_neighbours,
    build_metadata_vocabulary,
    build_training_sequences,
)
from tests.pipelines.small_log import at, day, event, put_log, run, settings_of
from tests.pipelines.wild_log import LOG_STAGES


def write(path: Path) -> bytes:
    duckdb.execute(f"copy (select range as a, md5(range::varchar) as b from range(50000)) to {quote(path)}")
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "empty", "junk", "flipped", "missing"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "runs" / "2026-01-01.parquet"
    path.parent.mkdir()
    whole = write(path)
    broken = {"cut": whole[:-500], "empty": b"", "junk": b"x" * 200, "flipped": whole[:900] + bytes(400) + whole[1300:]}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(broken[damage])
    with (
        pytest.raises(InputError, match=r"(?s)damaged or missing.*2026-01-01\.parquet.*--night DAY.*make rollback"),
        connect(Storage(), tmp_path / "scratch") as con,
    ):
        con.execute(f"select sum(a), max(b) from read_parquet({quote(path)})").fetchall()


def test_a_damaged_file_that_duckdb_does_not_name_is_found_by_its_hash(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event(f"u{n % 100}", f"item number {n}", at(n / 1000)) for n in range(20_000)])
    put_log(tmp_path, 1, [event("u", "i", at(1, 1))])
    run(settings_of(tmp_path), day(0), stages=LOG_STAGES)
    store = run(settings_of(tmp_path), day(1), stages=LOG_STAGES)
    assert damaged_files(store) == []
    (path,) = (Path(path) for path in store.paths(store.parts("sessions", until=day(0))))
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(2_000) + whole[middle + 2_000 :])
    assert damaged_files(store) == [str(path)]
    run(settings_of(tmp_path), day(1), stages=[build_metadata_vocabulary])
    for build in (build_item_frequency, build_item_neighbours, build_training_sequences):
        with pytest.raises(InputError, match=r"(?s)damaged or missing.*--night DAY") as caught:
            run(settings_of(tmp_path), day(1), stages=[build])
        assert caught.value.where == str(path)
    run(settings_of(tmp_path), day(0), stages=LOG_STAGES)  # as the error says; it writes the same rows once more
    assert damaged_files(store) == []
    run(settings_of(tmp_path), day(1), stages=[build_item_frequency])


def fill_memory(storage: Storage, scratch: Path) -> None:
    with connect(storage, scratch) as con:
        con.execute("set temp_directory = ''")
        con.execute("create table t as select range as a, md5(range::varchar) as b from range(5000000)")


def test_too_little_memory_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)more memory than it may use.*memory_limit.*30MB.*lower store\.threads"):
        fill_memory(Storage(memory_limit="30MB"), tmp_path)


def test_a_mistake_of_ours_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(duckdb.BinderException), connect(Storage(), tmp_path) as con:
        con.execute("select no_such_column from (select 1 as a)")
