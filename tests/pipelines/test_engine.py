import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import CONTRACTS, SESSIONS, SOURCE_FILES, Contract
from pipelines.engine import (
    ROW_GROUP_SIZE,
    check_schema,
    connect,
    create_views,
    describe_part,
    identifier,
    part_path,
    quote,
    scan,
    scan_parts,
    scan_table,
    sql_type,
    write_part,
    write_rows,
)
from pipelines.settings import Storage
from pipelines.store import Store, Write

DAY = date(2026, 1, 1)
FILE = {
    "file_date": DAY,
    "source_file": 'it\'s "one"',
    "sha256": "ab",
    "num_bytes": 5,
    "num_rows": 3,
    "num_interactions": 2,
    "num_quarantined": 1,
}


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(Storage(memory_limit="100MiB", threads=2), tmp_path_factory.mktemp("run") / "scratch") as con:
        yield con


def one(con: duckdb.DuckDBPyConnection, sql: str) -> object:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row[0]


def test_a_connection_keeps_to_its_limits_and_spills_into_its_scratch_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "deep" / "scratch"
    with connect(Storage(memory_limit="100MiB", threads=1), scratch) as con:
        assert one(con, "select current_setting('memory_limit')") == "100.0 MiB"
        assert one(con, "select current_setting('threads')") == 1
        assert one(con, "select current_setting('temp_directory')") == str(scratch)
        assert one(con, "select '2026-01-01 10:00:00'::timestamptz") == datetime(2026, 1, 1, 10, tzinfo=UTC)
        assert scratch.is_dir()
    with pytest.raises(duckdb.ConnectionException):
        con.execute("select 1")


def test_a_connection_closes_when_its_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), connect(Storage(), tmp_path) as con:
        raise ZeroDivisionError
    with pytest.raises(duckdb.ConnectionException):
        con.execute("select 1")


@given(st.text(st.characters(exclude_categories=["Cs"])))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_quoted_text_is_that_text_whatever_stands_in_it(con: duckdb.DuckDBPyConnection, text: str) -> None:
    assert one(con, f"select {quote(text)}") == text


@pytest.mark.parametrize("text", ["'; drop table t; --", "\\'", "''", "a\nb", "🙂", 'say "hi"', "$1", "x" * 10_000])
def test_hostile_texts_and_names_stay_what_they_are(con: duckdb.DuckDBPyConnection, text: str) -> None:
    answer = con.execute(f"select {quote(text)} as {identifier(text)}")
    assert answer.description[0][0] == text
    assert answer.fetchall() == [(text,)]


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_table_without_files_is_empty_and_has_the_columns_of_its_contract(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, contract: Contract
) -> None:
    path = write_part(con, scan(contract, []), contract.name, tmp_path, DAY)
    table = pq.read_table(path)
    assert table.num_rows == 0
    assert table.schema.names == contract.column_names
    assert table.schema.equals(contract.schema)


def test_types_of_lists_and_maps_are_those_of_duckdb() -> None:
    assert sql_type(pa.list_(pa.timestamp("us", tz="UTC"))) == "timestamptz[]"
    assert sql_type(pa.map_(pa.string(), pa.list_(pa.string()))) == "map(varchar, varchar[])"
    with pytest.raises(KeyError):
        sql_type(pa.int8())


@pytest.mark.parametrize("folder", ["plain", "it's here", "num_rows=99", 'a "b"', "ö 🙂"])
def test_what_was_written_comes_back_from_any_folder(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    path = write_rows([FILE], "source_files", tmp_path / folder, DAY, "events")
    create_views(con, {"files of 'x'": scan(SOURCE_FILES, [path, path])})
    answer = con.execute("select * from \"files of 'x'\"")
    assert [column[0] for column in answer.description] == SOURCE_FILES.column_names
    assert answer.fetchall() == [tuple(FILE.values())] * 2


@pytest.mark.parametrize(("folder", "other"), [("a[1]", "a1"), ("a*", "ab"), ("a?", "ab")])
def test_a_path_is_no_pattern(con: duckdb.DuckDBPyConnection, tmp_path: Path, folder: str, other: str) -> None:
    paths = []
    for name in (folder, other):
        (tmp_path / name).mkdir()
        paths.append(write_rows([FILE | {"source_file": name}], "source_files", tmp_path / name, DAY))
    assert one(con, f"select list(source_file) from ({scan(SOURCE_FILES, paths[:1])})") == [folder]


def test_a_written_part_keeps_the_order_of_the_query_and_casts_to_the_contract(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    num_rows = ROW_GROUP_SIZE + 5
    path = write_part(
        con,
        f"""select 'ignored' as other, date '2026-01-01' as file_date, range::varchar as source_file, 'x' as sha256,
                (range % 7)::tinyint as num_bytes, 1 as num_rows, 1 as num_interactions, 0 as num_quarantined
            from range({num_rows}) order by range desc""",
        "source_files",
        tmp_path,
        DAY,
    )
    assert path == tmp_path / "2026-01-01.parquet"
    assert pq.read_table(path)["source_file"].to_pylist() == [str(n) for n in reversed(range(num_rows))]
    assert pq.read_schema(path).field("num_bytes").type == pa.int64()
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [ROW_GROUP_SIZE, 5]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_query_without_a_column_of_the_contract_writes_nothing(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    with pytest.raises(duckdb.BinderException, match="source_file"):
        write_part(con, "select date '2026-01-01' as file_date", "source_files", tmp_path, DAY)
    assert list(tmp_path.iterdir()) == []


def test_the_schema_check_finds_another_type_and_another_column(tmp_path: Path) -> None:
    path = write_rows([FILE], "source_files", tmp_path, DAY)
    check_schema(SOURCE_FILES, path)
    with pytest.raises(AssertionError, match="columns"):
        check_schema(SESSIONS, path)
    columns = (*SOURCE_FILES.columns[:-1], replace(SOURCE_FILES.columns[-1], type=pa.int32()))
    with pytest.raises(AssertionError, match="num_quarantined is int64, contract int32"):
        check_schema(replace(SOURCE_FILES, columns=columns), path)


def test_a_part_is_named_by_its_partition_and_slice(tmp_path: Path) -> None:
    assert part_path(tmp_path, DAY, "") == tmp_path / "2026-01-01.parquet"
    assert part_path(tmp_path, DAY, "events") == tmp_path / "2026-01-01_events.parquet"


def test_a_part_is_described_by_its_rows_and_the_hash_of_its_bytes(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    path = write_rows([FILE, FILE], "source_files", store.run_folder("r", "source_files"), DAY, "events")
    part = describe_part(store, path, DAY, "events")
    assert (part.partition, part.slice, part.num_rows) == ("2026-01-01", "events", 2)
    assert part.path == "runs/r/source_files/2026-01-01_events.parquet"
    assert part.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_published_parts_are_scanned_by_list_and_by_range(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    store, days = Store(tmp_path), [date(2026, 1, n) for n in (1, 2, 3)]
    folder = store.run_folder("r", "source_files")
    paths = [write_rows([FILE | {"num_rows": day.day}], "source_files", folder, day) for day in days]
    parts = [describe_part(store, path, day) for path, day in zip(paths, days, strict=True)]
    store.publish([Write("source_files", tuple(parts))])

    def num_rows(select: str) -> list[int]:
        return [row[0] for row in con.execute(f"select num_rows from ({select}) order by all").fetchall()]

    assert num_rows(scan_parts(store, "source_files", parts[1:])) == [2, 3]
    assert num_rows(scan_table(store, "source_files")) == [1, 2, 3]
    assert num_rows(scan_table(store, "source_files", since=days[1], until=days[1])) == [2]
    assert num_rows(scan_table(store, "source_files", since=date(2026, 2, 1))) == []
