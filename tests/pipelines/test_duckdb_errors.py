"""A damaged file, too little memory and a full disk are told so that a person can act."""

from pathlib import Path

import duckdb
import pytest

from pipelines.engine import connect, quote
from pipelines.errors import InputError
from pipelines.settings import Storage


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
