"""One cell of the benchmark of cold items: a model fitted without them, and asked for them once.

python -m benchmarks.cold_cells DATA TASK MODEL SEED FILE
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.model_cells import Cell, fit_for_test
from benchmarks.protocols import Task, load_task
from models.metrics import case_metrics
from models.recommender import Validation
from models.sequences import FIRST_ITEM, Sequences

COLD_SHARE: Final = 0.1
CUTOFFS: Final = (10, 20)
METRICS: Final = ("recall@10", "recall@20", "mrr@20")
CANDIDATES: Final = ("all", "cold")


def with_cold_items(task: Task) -> tuple[Task, NDArray[np.bool_]]:
    """Return the task without the events of the cold items, asking for them alone, and which they are.

    Cases without any other event before are left out: there is nothing to go by.
    """
    is_cold = np.random.default_rng(0).random(task.num_items) < COLD_SHARE
    is_cold[:FIRST_ITEM] = False
    counts = np.where(is_cold, 0, task.counts)
    changed = replace(
        task,
        train=_without(task.train, is_cold),
        everything=_without(task.everything, is_cold),
        validation=_asking(task.validation, is_cold, wanted=False),
        test=_asking(task.test, is_cold, wanted=True),
        counts=counts,
        slices={},
    )
    return changed, is_cold


def _without(sequences: Sequences, is_cold: NDArray[np.bool_]) -> Sequences:
    kept = sequences.where(~is_cold[sequences.items])
    return kept.take(np.flatnonzero(kept.lengths))


def _asking(cases: Validation, is_cold: NDArray[np.bool_], *, wanted: bool) -> Validation:
    """Keep the cases whose one target is cold, or is not, and drop cold items from their histories."""
    histories = cases.histories.where(~is_cold[cases.histories.items])
    chosen = np.flatnonzero((is_cold[cases.targets.items] == wanted) & (histories.lengths > 0))
    return Validation(histories.take(chosen), cases.targets.take(chosen), cases.exclude_seen)


def measure(task: Task, is_cold: NDArray[np.bool_], model: str, seed: int) -> Cell:
    """Fit, and rank the cold targets among all items and among the cold ones."""
    fitted, numbers = fit_for_test(task, model, seed)
    values: dict[str, NDArray[np.float64]] = {}
    for candidates, allowed in zip(CANDIDATES, (task.allowed, is_cold), strict=True):
        items, _ = fitted.topk(task.test.histories, max(CUTOFFS), allowed, exclude_seen=task.exclude_seen)
        measured = case_metrics(items, task.test.targets, CUTOFFS)
        values |= {f"{candidates}/{metric}": measured[metric] for metric in METRICS}
    return Cell(values, numbers | {"num_cold": float(is_cold.sum())})


if __name__ == "__main__":
    data, name, model, seed, file = sys.argv[1:]
    measure(*with_cold_items(load_task(name, Path(data))), model, int(seed)).save(Path(file))
