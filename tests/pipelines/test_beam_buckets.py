import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.beam_buckets import Job, Piece, fresh_name, require_each_once, run_bucket, split_shard
from pipelines.beam_shards import Shard
from pipelines.contracts import ITEM_USERS
from pipelines.errors import InputError
from pipelines.kernel import Relation, Step
from pipelines.local_engine import Output
from pipelines.settings import Storage
from pipelines.store import Store
from tests.pipelines.beam_runners import shout
from tests.pipelines.kernel_run import HOSTILE, KernelRun, Row
from tests.pipelines.small_log import day

TABLE = ITEM_USERS.name
STORAGE = Storage(memory_limit="300MB", threads=2)


@pytest.fixture
def runs(tmp_path: Path) -> KernelRun:
    folder = tmp_path / "it's [one] of * those?"
    folder.mkdir()
    return KernelRun(folder)


def row(item: str, user: str = "u", on: int = 0) -> Row:
    return {"first_date": day(on), "item_id": item, "user_id": user}


def job(runs: KernelRun, sql: str = "from source", num_buckets: int = 3, **more: Any) -> Job:
    """A job over a relation named source, split by item, without rows unless they are named."""
    fields: dict[str, Any] = {
        "step": Step("s", ("item_id",), ("source",), sql),
        "table": TABLE,
        "output": Output(runs.fresh(), {day(0): ""}),
        "relations": {"source": Relation(TABLE, ())},
        "storage": STORAGE,
        "store": Store(runs.folder),
        "scratch": runs.fresh(),
        "num_shards": 1,
    }
    return Job(**{**fields, **more}, num_buckets=num_buckets)


def split(job: Job, shard: Shard) -> list[list[Row]]:
    """The rows of a shard, bucket by bucket."""
    pieces = split_shard(job, shard)
    assert [bucket for bucket, _ in pieces] == list(range(job.num_buckets))
    assert {(piece.shard, piece.relation) for _, piece in pieces} == {(shard.number, shard.relation)}
    return [[r for path in piece.paths for r in read(path)] for _, piece in pieces]


def read(path: Path | str) -> list[Row]:
    return pq.ParquetFile(path).read().to_pylist()


def result(job: Job, *shards: Shard, fold: Any = None) -> list[Row]:
    """The rows of all buckets, from first to last."""
    pieces: dict[int, list[Piece]] = {bucket: [] for bucket in range(job.num_buckets)}
    for shard in shards:
        for bucket, piece in split_shard(job, shard):
            pieces[bucket].append(piece)
    job = replace(job, num_shards=len(shards))
    files = [file for keyed in pieces.items() for file in run_bucket(job, fold, keyed)[1]]
    assert [file.num_rows for file in files] == [len(read(file.path)) for file in files]
    return [r for file in files for r in read(file.path)]


def test_equal_keys_are_in_one_bucket_and_every_row_in_one(runs: KernelRun) -> None:
    rows = [row(item, user) for item in HOSTILE for user in HOSTILE]
    source = runs.relation(TABLE, rows)
    buckets = split(job(runs, relations={"source": source}), Shard(0, "source", source.paths))
    assert sorted(map(str, rows)) == sorted(str(r) for bucket in buckets for r in bucket)
    assert len([bucket for bucket in buckets if bucket]) > 1
    items = [{r["item_id"] for r in bucket} for bucket in buckets]
    assert sum(map(len, items)) == len(set.union(*items)) == len(HOSTILE)


def test_a_null_in_the_key_is_a_value_like_any_other(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row("a"), row("b"), row("c")], "select first_date, null as item_id from files")
    buckets = split(job(runs, relations={"source": source}), Shard(0, "source", source.paths))
    assert sorted(map(len, buckets)) == [0, 0, 3]


def test_two_relations_and_two_shards_meet_by_their_key(runs: KernelRun) -> None:
    ones = [runs.relation(TABLE, [row(f"i{n}", "x") for n in some]) for some in (range(5), range(5, 9))]
    one = Relation(TABLE, (*ones[0].paths, *ones[1].paths))
    other = runs.relation(TABLE, [row(f"i{n}", "y") for n in range(3, 12)])
    step = Step("s", ("item_id",), ("one", "other"), "select o.* from one join other as o using (item_id)")
    found = result(
        job(runs, num_buckets=4, step=step, relations={"one": one, "other": other}),
        Shard(0, "one", ones[0].paths), Shard(1, "one", ones[1].paths), Shard(2, "other", other.paths),
    )  # fmt: skip
    assert sorted(r["item_id"] for r in found) == [f"i{n}" for n in range(3, 9)]
    assert {r["user_id"] for r in found} == {"y"}


def test_a_relation_that_is_not_split_is_read_whole_by_each_bucket(runs: KernelRun) -> None:
    source, names = (runs.relation(TABLE, [row(f"i{n}", user) for n in range(20)]) for user in ("u", "name"))
    sql = "select first_date, item_id, (select count(*) from names)::varchar as user_id from source"
    found = result(job(runs, sql, relations={"source": source, "names": names}), Shard(0, "source", source.paths))
    assert [r["user_id"] for r in found] == ["20"] * 20


@pytest.mark.parametrize("table", [TABLE, ""])
def test_a_piece_of_a_file_has_its_rows_and_no_other_column(runs: KernelRun, table: str) -> None:
    rows = [row(f"i{n}") for n in range(30)]
    (path,) = runs.relation(TABLE, rows).paths
    of = job(runs, relations={"source": Relation(table, (path,), "select * from files where item_id <> 'i7'")})
    pieces = [split(of, Shard(n, "source", (path,), 10 * n, 10 * n + 10)) for n in range(3)]
    for number, piece in enumerate(pieces):
        found = [r for bucket in piece for r in bucket]
        expected = [r for r in rows[10 * number : 10 * number + 10] if r["item_id"] != "i7"]
        assert sorted(found, key=rows.index) == expected


def test_the_last_step_writes_a_file_a_day_and_the_others_one_file(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row("a", on=0), row("a", on=2)])
    keyed = split_shard(of := job(runs, relations={"source": source}, num_buckets=1), Shard(0, "source", source.paths))
    output = Output(of.output.folder, dict.fromkeys([day(0), day(1), day(2)], "rules"))
    bucket, files = run_bucket(replace(of, output=output), None, (0, [keyed[0][1]]))
    assert bucket == 0
    assert [(file.day, file.slice, file.num_rows) for file in files] == [
        (day(0), "rules-0000", 1), (day(1), "rules-0000", 0), (day(2), "rules-0000", 1)
    ]  # fmt: skip
    assert [Path(file.path).name for file in files] == [f"{day(n)}_rules-0000.parquet" for n in range(3)]
    assert [r for file in files for r in read(file.path)] == [row("a", on=0), row("a", on=2)]
    _, (file,) = run_bucket(replace(of, table=""), None, (0, [keyed[0][1]]))
    assert (file.day, file.slice, file.num_rows) == (None, "", 2)


def test_the_rows_of_a_bucket_are_in_the_order_of_the_query_and_folded(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row(item) for item in "hbadcfeg"])
    of = job(runs, "from source order by item_id desc", relations={"source": source}, num_buckets=1)
    shard = Shard(0, "source", source.paths)
    assert [r["item_id"] for r in result(of, shard)] == list("hgfedcba")
    assert [r["item_id"] for r in result(of, shard, fold=shout)] == list("HGFEDCBA")


def test_a_bucket_without_rows_has_no_result_unless_it_is_the_only_one(runs: KernelRun) -> None:
    nothing: list[Piece] = [Piece(0, "source", ())]
    of = job(runs)
    assert run_bucket(of, None, (2, nothing)) == (2, [])
    assert list(of.output.folder.iterdir()) == []
    _, (file,) = run_bucket(replace(of, num_buckets=1), None, (0, nothing))
    assert (file.day, read(file.path)) == (day(0), [])


def test_a_bucket_that_has_rows_of_one_relation_only_sees_the_others_empty(runs: KernelRun) -> None:
    other = runs.relation(TABLE, [row("a", "x")], "select item_id, 1 as one from files")
    source = runs.relation(TABLE, [row("b")])
    sql = "select s.* from source as s left join other using (item_id) where one is null"
    of = job(runs, sql, relations={"source": source, "other": other})
    of = replace(of, step=replace(of.step, split=("source", "other")))
    assert result(of, Shard(0, "source", source.paths), Shard(1, "other", ())) == [row("b")]


@pytest.mark.parametrize("heard", [[], [0], [0, 0], [0, 1, 1], [0, 1, 2], [0, 2]])
def test_a_bucket_must_hear_from_each_shard_once(runs: KernelRun, heard: Sequence[int]) -> None:
    pieces = [Piece(number, "source", ()) for number in heard]
    with pytest.raises(RuntimeError, match=r"s: shards of bucket 5: Beam handed over .* each of \[0, 1\] once"):
        run_bucket(job(runs, num_shards=2), None, (5, pieces))
    assert run_bucket(job(runs, num_shards=2), None, (5, [Piece(n, "source", ()) for n in (1, 0)])) == (5, [])


def test_what_should_come_once_is_neither_lost_nor_doubled() -> None:
    require_each_once("x", iter([2, 0, 1]), range(3))
    require_each_once("x", [], range(0))
    for wrong in ([0, 1], [0, 1, 2, 2], [0, 1, 3]):
        with pytest.raises(RuntimeError, match="x: Beam"):
            require_each_once("x", wrong, range(3))


def test_a_worker_with_another_duckdb_is_refused_and_told_what_to_do(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row("a")])
    of = job(runs, relations={"source": source}, duckdb_version="0.1", num_buckets=1)
    said = f"this Beam worker has DuckDB {duckdb.__version__}, but 0.1 planned the work: install requirements.lock"
    with pytest.raises(RuntimeError, match=said):
        split_shard(of, Shard(0, "source", source.paths))
    with pytest.raises(RuntimeError, match=said):
        run_bucket(of, None, (0, [Piece(0, "source", source.paths)]))


def test_the_folder_of_a_file_that_is_cut_names_no_column(runs: KernelRun) -> None:
    (plain,) = runs.relation(TABLE, [row("a"), row("b"), row("c")]).paths
    path = runs.fresh() / "item_id=zz" / "rows.parquet"
    path.parent.mkdir()
    path.write_bytes(Path(plain).read_bytes())
    of = job(runs, relations={"source": Relation(TABLE, (str(path),))})
    found = [row for bucket in split(of, Shard(0, "source", (str(path),), 0, 2)) for row in bucket]
    assert sorted(row["item_id"] for row in found) == ["a", "b"]


def test_a_worker_has_the_threads_and_memory_of_its_job_and_spills_into_the_scratch_folder(
    runs: KernelRun,
) -> None:
    sql = """select first_date, current_setting('threads') || ' ' || current_setting('memory_limit') as item_id,
        current_setting('temp_directory') as user_id from source"""
    source = runs.relation(TABLE, [row("a")])
    storage = STORAGE.model_copy(update={"threads": 3})
    of = job(runs, sql, relations={"source": source}, num_buckets=1, storage=storage)
    (found,) = result(of, Shard(0, "source", source.paths))
    assert found["item_id"] == "3 286.1 MiB"
    assert Path(found["user_id"]).parent == of.scratch


def test_two_attempts_write_into_different_folders(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row("a")])
    of = job(runs, relations={"source": source}, num_buckets=1)
    shard = Shard(0, "source", source.paths)
    assert fresh_name("x") != fresh_name("x")
    first, second = (split_shard(of, shard)[0][1] for _ in range(2))
    assert not set(first.paths) & set(second.paths)
    folders = {Path(run_bucket(of, None, (0, [piece]))[1][0].path).parent for piece in (first, first, second)}
    assert len(folders) == 3


def test_a_sum_that_parquet_would_round_is_refused(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row("a")])
    of = job(runs, "select item_id, sum(1) as total from source group by 1", relations={"source": source}, table="")
    of = replace(of, num_buckets=1)
    with pytest.raises(AssertionError, match="s: Parquet has no hugeint"):
        result(of, Shard(0, "source", source.paths))


def test_a_full_disk_is_told(runs: KernelRun) -> None:
    def full(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        raise OSError(28, "No space left on device")
        yield

    source = runs.relation(TABLE, [row("a")])
    of = job(runs, relations={"source": source}, num_buckets=1)
    with pytest.raises(InputError, match="the disk is full"):
        result(of, Shard(0, "source", source.paths), fold=full)
    said = Relation(TABLE, source.paths, "from files where error('No space left on device') is null")
    with pytest.raises(InputError, match="the disk is full"):
        split_shard(replace(of, relations={"source": said}), Shard(0, "source", source.paths))


def test_a_job_can_be_sent_to_a_worker(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row("a")])
    of = job(runs, relations={"source": source}, num_buckets=1)
    sent: Job = pickle.loads(pickle.dumps(of))
    assert replace(sent, store=of.store) == of
    assert sent.store.root == of.store.root
    assert result(sent, Shard(0, "source", source.paths)) == [row("a")]
