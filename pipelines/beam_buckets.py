"""What a Beam worker does: divide one shard into bucket files, and run a step over one bucket.

These are plain functions of values that can be pickled. Each works in a DuckDB of one thread and within the memory
limit of the settings, for a machine runs as many of them at once as it has workers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.beam_shards import Shard
from pipelines.engine import connect_to, create_views, quote, quote_path
from pipelines.kernel import Fold, Relation, Step
from pipelines.local_engine import Output, write_result
from pipelines.settings import Storage
from pipelines.store import Store
from pipelines.store_files import full_disk_is_told

SPLIT_ROWS = 250_000


@dataclass(frozen=True)
class Job:
    """One step to be run over buckets, and all that a worker needs for it.

    ``table`` is empty for a step whose result other steps read. Two releases of DuckDB may hash differently: so all
    workers must have the one that planned the job.
    """

    step: Step
    table: str
    output: Output
    relations: Mapping[str, Relation]
    storage: Storage
    store: Store
    scratch: Path
    num_buckets: int
    num_shards: int
    duckdb_version: str = duckdb.__version__


@dataclass(frozen=True)
class Piece:
    """The files with the rows of one shard that belong to one bucket; there may be none."""

    shard: int
    relation: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class BucketFile:
    """A file of the result: its day (none in a step that others read), slice, path and number of rows."""

    day: date | None
    slice: str
    path: str
    num_rows: int


def fresh_name(kind: str) -> str:
    """A name that no other attempt has."""
    return f"{kind}-{uuid4().hex}"


def require_each_once(what: str, found: Iterable[int], expected: Sequence[int]) -> None:
    """Raise ``RuntimeError`` if a runner lost a value, or handed one over twice."""
    numbers = sorted(found)
    if numbers != list(expected):
        raise RuntimeError(f"{what}: Beam handed over {numbers} instead of each of {list(expected)} once")


@contextmanager
def _worker(job: Job) -> Iterator[duckdb.DuckDBPyConnection]:
    if duckdb.__version__ != job.duckdb_version:
        raise RuntimeError(
            f"this Beam worker has DuckDB {duckdb.__version__}, but {job.duckdb_version} planned the work: "
            "install requirements.lock on every worker"
        )
    with connect_to(job.store, job.storage, job.scratch / fresh_name("spill")) as con:
        yield con


def split_shard(job: Job, shard: Shard) -> list[tuple[int, Piece]]:
    """Divide the rows of a shard by the key of the step; every bucket hears from every shard, and from each once."""
    relation = job.relations[shard.relation]
    folder = job.scratch / fresh_name(f"shard-{shard.number}")
    folder.mkdir(parents=True)
    key = ", ".join(job.step.key)
    with _worker(job) as con:
        rows = con.sql(f"""
            select *, (hash({key}) % {job.num_buckets})::usmallint as "bucket" from ({_rows_of(relation, shard)})
        """)
        paths = _write_buckets(rows.to_arrow_reader(SPLIT_ROWS), folder)
    return [(bucket, Piece(shard.number, shard.relation, paths.get(bucket, ()))) for bucket in range(job.num_buckets)]


def _write_buckets(batches: Iterable[pa.RecordBatch], folder: Path) -> dict[int, tuple[str, ...]]:
    """Write rows into one file for each of their buckets, in the order in which they come.

    A third of the time of DuckDB's ``partition_by``. Without dictionaries, for the file is read once.
    """
    files: dict[int, pq.ParquetWriter] = {}
    with ExitStack() as stack, full_disk_is_told(folder):
        for batch in batches:
            bucket_of_row = batch["bucket"].to_numpy()
            order = np.argsort(bucket_of_row, kind="stable")
            rows = batch.drop_columns("bucket").take(pa.array(order))
            buckets, begins = np.unique(bucket_of_row[order], return_index=True)
            for bucket, (begin, end) in zip(buckets.tolist(), pairwise([*begins, len(order)]), strict=True):
                if bucket not in files:
                    path = folder / f"{bucket:05d}.parquet"
                    files[bucket] = stack.enter_context(pq.ParquetWriter(path, rows.schema, use_dictionary=False))
                files[bucket].write_batch(rows.slice(begin, end - begin))
    return {bucket: (str(folder / f"{bucket:05d}.parquet"),) for bucket in files}


def _rows_of(relation: Relation, shard: Shard) -> str:
    if not shard.end:
        return Relation(relation.table, shard.paths, relation.rows).select()
    return relation.select_from(f"""
        select * exclude (file_row_number) from read_parquet(
            {quote_path(shard.paths[0])}, file_row_number = true, hive_partitioning = false
        )
        where file_row_number >= {shard.begin} and file_row_number < {shard.end}
    """)


def run_bucket(job: Job, fold: Fold | None, keyed: tuple[int, Iterable[Piece]]) -> tuple[int, list[BucketFile]]:
    """Run the step over one bucket, a number and its pieces; write the result into a folder of this attempt.

    Returns the bucket and the files of the result. A bucket without rows has none, unless it is the only one.
    """
    bucket, pieces = keyed[0], list(keyed[1])
    heard = f"{job.step.name}: shards of bucket {bucket}"
    require_each_once(heard, (piece.shard for piece in pieces), range(job.num_shards))
    if job.num_buckets > 1 and not any(piece.paths for piece in pieces):
        return bucket, []
    folder = job.output.folder / fresh_name("bundle")
    folder.mkdir(parents=True)
    with _worker(job) as con:
        create_views(con, {name: _bucket_of(job, name, pieces) for name in job.relations})
        return bucket, _write(con, job, fold, bucket, folder)


def _write(con: duckdb.DuckDBPyConnection, job: Job, fold: Fold | None, bucket: int, folder: Path) -> list[BucketFile]:
    if job.table:
        slices = {day: f"{slice_}-{bucket:04d}".lstrip("-") for day, slice_ in job.output.slices.items()}
        written = write_result(con, job.step, job.table, Output(folder, slices), fold)
        return [
            BucketFile(day, slices[day], str(path), pq.read_metadata(path).num_rows) for day, path in written.items()
        ]
    path = folder / f"{bucket:04d}.parquet"
    types = {str(kind) for kind in con.sql(job.step.sql).types}
    assert "HUGEINT" not in types, f"{job.step.name}: Parquet has no hugeint, and DuckDB would write doubles"
    con.execute(f"copy ({job.step.sql}) to {quote(path)} (format parquet, compression snappy)")
    return [BucketFile(None, "", str(path), pq.read_metadata(path).num_rows)]


def _bucket_of(job: Job, name: str, pieces: Sequence[Piece]) -> str:
    """SELECT of the bucket's rows of a relation, or of all its rows if the step does not split it."""
    relation = job.relations[name]
    if name not in job.step.split:
        return relation.select()
    of_shards = sorted((piece.shard, piece.paths) for piece in pieces if piece.relation == name)
    listed = ", ".join(quote_path(path) for _, paths in of_shards for path in paths)
    if not listed:
        return f"from ({relation.select()}) limit 0"
    return f"select * from read_parquet([{listed}], hive_partitioning = false)"
