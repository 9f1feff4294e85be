"""The split of a task as Parquet files, which both sides of the SASRec comparison read."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.protocols import Task
from models.sequences import Sequences

LENGTH: Final = 50
LAST_EVENTS: Final = LENGTH + 1  # of a user, all that RecTools learns from: as many inputs, each with a next item


def hand_over(task: Task, folder: Path) -> None:
    """Write what is learnt from and what is asked: `train_last`, `train_all`, `validation`, `test`.

    Cases hold whole histories, for items of the history are removed from the lists however old they are.
    Raises ValueError where the protocol does not remove them.
    """
    if not (task.validation.exclude_seen and task.test.exclude_seen):
        raise ValueError(f"{task.name} is under {task.protocol}: only leave-one-out (P2) is compared")
    folder.mkdir(parents=True, exist_ok=True)
    write_histories(task.train.tail(LAST_EVENTS), folder / "train_last.parquet")
    write_histories(task.train, folder / "train_all.parquet")
    write_histories(task.validation.histories, folder / "validation.parquet")
    write_histories(task.test.histories, folder / "test.parquet")


def write_histories(histories: Sequences, path: Path) -> None:
    """Write one row an event: the number of its user, its item, and its place in the history."""
    columns = {"user": histories.rows, "item": histories.items, "place": histories.positions}
    pq.write_table(pa.table(columns), path)


def read_histories(path: Path) -> Sequences:
    """Read what `write_histories` wrote; every user has an event, and places stand for times."""
    table = pq.read_table(path)
    users, items, places = (table[name].to_numpy() for name in ("user", "item", "place"))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users))]).astype(np.int64)
    return Sequences(items.astype(np.int32), places.astype(np.int64), offsets)
