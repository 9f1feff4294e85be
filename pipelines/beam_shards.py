"""Cut the input of a Beam pipeline into shards of about equal size: some small files, or a piece of a large one."""

from dataclasses import dataclass

import pyarrow.parquet as pq

from pipelines.engine import ROW_GROUP_SIZE
from pipelines.kernel import Relation


@dataclass(frozen=True)
class Shard:
    """Whole files, or the rows from ``begin`` to ``end`` (not included) of one file, of one relation."""

    number: int
    relation: str
    paths: tuple[str, ...]
    begin: int = 0
    end: int = 0


def plan_shards(name: str, relation: Relation, num_shards: int, first: int) -> list[Shard]:
    """Cut a relation into about ``num_shards`` shards, numbered from ``first``; a cut lies between two row groups.

    Files without rows are left out. Fewer shards than buckets would do the same work, but some runners spread the
    buckets over as many tasks as there were shards.
    """
    sizes = {path: pq.read_metadata(path).num_rows for path in relation.paths}
    target = max(-(-sum(sizes.values()) // num_shards), ROW_GROUP_SIZE)
    groups: list[tuple[tuple[str, ...], int, int]] = []
    waiting: list[str] = []
    num_waiting = 0
    for path, num_rows in sizes.items():
        if num_rows > target:
            num_pieces = -(-num_rows // target)
            step = -(-num_rows // (num_pieces * ROW_GROUP_SIZE)) * ROW_GROUP_SIZE
            groups += [((path,), begin, min(begin + step, num_rows)) for begin in range(0, num_rows, step)]
        elif num_rows:
            waiting.append(path)
            num_waiting += num_rows
        if num_waiting >= target:
            groups.append((tuple(waiting), 0, 0))
            waiting, num_waiting = [], 0
    if waiting:
        groups.append((tuple(waiting), 0, 0))
    return [Shard(first + n, name, *group) for n, group in enumerate(groups)]
