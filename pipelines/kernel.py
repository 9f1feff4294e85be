"""Data transforms as values: SQL over named relations, with the key by which the work may be split.

A kernel says what is computed and nothing of where. The local engine runs its steps over everything at once; Beam
splits the relations into buckets by the key of a step and runs the same step on every bucket.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pipelines.contracts import CONTRACTS
from pipelines.engine import create_views, identifier, quote_path, scan

Fold = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.Table]]
BATCH_ROWS = 125_000


@dataclass(frozen=True)
class Relation:
    """Parquet files of one table, and the SELECT that makes rows of them; it reads ``files`` and looks at single rows.

    Without files it has the columns, and no row. ``table`` is empty for the result of a step, which has files.
    """

    table: str
    paths: tuple[str, ...]
    rows: str = "select * from files"

    def select(self) -> str:
        """The SELECT over the files."""
        return self.select_from(self._scan())

    def select_from(self, files: str) -> str:
        """The SELECT over another SELECT that stands for the files."""
        return f"with files as ({files}) from ({self.rows})"

    def _scan(self) -> str:
        if self.table:
            return scan(CONTRACTS[self.table], self.paths)
        return f"from read_parquet([{', '.join(map(quote_path, self.paths))}], hive_partitioning = false)"


@dataclass(frozen=True)
class Step:
    """One relation made of others.

    ``sql`` reads relations by name. Those in ``split`` are divided by ``key``, SQL expressions over each of them: rows
    of equal key are computed together. The others are small, and every bucket reads them whole. An empty ``key`` means
    that all rows are needed at once. ``fold`` turns the ordered rows of ``sql`` into the result, where lists are to be
    made: DuckDB sorts fast, but gathers lists slowly and cannot spill them. ``load`` makes a fold that is dear to make,
    such as a model that ranks; each process that runs the step calls it once.
    """

    name: str
    key: tuple[str, ...]
    split: tuple[str, ...]
    sql: str
    fold: Fold | None = None
    load: Callable[[], Fold] | None = None

    @property
    def folds(self) -> bool:
        """Whether the rows of the SQL are not yet the result."""
        return bool(self.fold or self.load)


@dataclass(frozen=True)
class Kernel:
    """Steps in order, each of which may read those before it by name. The last one gives rows of ``table``."""

    table: str
    steps: tuple[Step, ...]


def name_relations(con: duckdb.DuckDBPyConnection, relations: Mapping[str, Relation]) -> None:
    """Create a view for each relation."""
    create_views(con, {name: relation.select() for name, relation in relations.items()})


def load_fold(step: Step) -> Fold | None:
    """The fold of a step, if it has one."""
    return step.load() if step.load else step.fold


def run_fold(con: duckdb.DuckDBPyConnection, step: Step, fold: Fold) -> Iterator[pa.Table]:
    """Results of a step that folds, in the order of its rows."""
    return fold(iter(con.sql(step.sql).to_arrow_reader(BATCH_ROWS)))


def store_step(con: duckdb.DuckDBPyConnection, step: Step) -> None:
    """Create a temporary table of a step's name with its result."""
    assert not step.folds, f"{step.name}: only the last step of a kernel may fold"
    con.execute(f"create or replace temp table {identifier(step.name)} as {step.sql}")
