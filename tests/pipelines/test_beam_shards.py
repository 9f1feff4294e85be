from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import beam_shards
from pipelines.beam_shards import Shard, plan_shards
from pipelines.kernel import Relation


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_shards, "ROW_GROUP_SIZE", 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("it's [one] of * those?")


def relation(folder: Path, *sizes: int) -> Relation:
    """A relation of files with so many rows."""
    paths = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}-{size}.parquet"
        if not path.exists():
            target = str(path).replace("'", "''")
            duckdb.execute(f"copy (from range({size})) to '{target}' (format parquet)")
        paths.append(str(path))
    return Relation("t", tuple(paths))


def plan(relation: Relation, num_shards: int) -> list[Shard]:
    return plan_shards("t", relation, num_shards, 0)


def spans(shards: list[Shard]) -> list[Any]:
    """Of each shard the sizes of its files, or the file's size and the range of rows."""
    sizes = [[int(Path(path).stem.split("-")[1]) for path in shard.paths] for shard in shards]
    return [(of[0], shard.begin, shard.end) if shard.end else of for of, shard in zip(sizes, shards, strict=True)]


@pytest.mark.parametrize(
    ("sizes", "num_shards", "expected"),
    [
        ((), 3, []),
        ((0, 0), 3, []),
        ((1,), 3, [[1]]),
        ((3, 0, 4), 3, [[3, 4]]),
        ((10,), 3, [[10]]),  # the least size of a shard
        ((11,), 3, [(11, 0, 10), (11, 10, 11)]),
        ((100,), 1, [[100]]),
        ((100,), 2, [(100, 0, 50), (100, 50, 100)]),
        ((100,), 3, [(100, 0, 40), (100, 40, 80), (100, 80, 100)]),  # a third, up to whole row groups
        ((100,), 4, [(100, 0, 30), (100, 30, 60), (100, 60, 90), (100, 90, 100)]),
        ((6, 5, 4, 3), 9, [[6, 5], [4, 3]]),
        ((2, 50, 3, 7, 2), 6, [(50, 0, 10), (50, 10, 20), (50, 20, 30), (50, 30, 40), (50, 40, 50), [2, 3, 7], [2]]),
        ((60, 60, 60), 3, [[60], [60], [60]]),
        ((30, 30, 30), 1, [[30, 30, 30]]),
    ],
)
def test_small_files_go_together_and_large_ones_are_cut_between_row_groups(
    folder: Path, sizes: tuple[int, ...], num_shards: int, expected: list[Any]
) -> None:
    assert spans(plan(relation(folder, *sizes), num_shards)) == expected


def test_shards_are_numbered_from_a_number_on_and_know_their_relation(folder: Path) -> None:
    shards = plan_shards("events", relation(folder, 21), 3, 7)
    assert [(shard.number, shard.relation) for shard in shards] == [(7, "events"), (8, "events"), (9, "events")]


@given(st.lists(st.sampled_from([0, 1, 5, 9, 10, 11, 30, 95]), max_size=8), st.integers(1, 12))
def test_every_row_is_in_one_shard(folder: Path, sizes: list[int], num_shards: int) -> None:
    of = relation(folder, *sizes)
    rows: list[tuple[str, int]] = []
    target = max(-(-sum(sizes) // num_shards), 10)
    for shard in plan(of, num_shards):
        assert shard.end - shard.begin < target + 10
        assert len(shard.paths) == 1 or not shard.end
        assert shard.begin % 10 == 0
        for path in shard.paths:
            rows += [(path, row) for row in range(shard.begin, shard.end or pq.read_metadata(path).num_rows)]
    assert sorted(rows) == [(p, row) for p, size in zip(of.paths, sizes, strict=True) for row in range(size)]
