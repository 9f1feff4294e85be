"""One cell of the model benchmark: a model fitted on a data set with a seed, and asked the test once.

    python -m benchmarks.model_cells DATA TASK MODEL SEED FILE

It is a process of its own, so that its peak of resident memory is its own, too.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import peak_mib
from benchmarks.model_settings import entrant, statistics_settings
from benchmarks.part_statistics import statistics_of
from benchmarks.protocols import Task, load_task
from models.list_metrics import coverage_at
from models.metrics import case_metrics
from models.recommender import Recommender
from models.sequences import PADDING, Sequences
from models.statistics import Statistics

REFITTED: Final = ("P3", "P4")  # protocols whose test comes after all of the training part, validation included
CHUNK_CASES: Final = 1024


@dataclass(frozen=True)
class Cell:
    """What was measured: every metric of every test case, float64[C] by name, and a few numbers of the whole."""

    values: dict[str, NDArray[np.float64]]
    numbers: dict[str, float]

    def save(self, path: Path) -> None:
        """Write it at once or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new.npz")
        arrays: dict[str, Any] = {f"value/{name}": array for name, array in self.values.items()}
        arrays |= {f"number/{name}": np.array(number) for name, number in self.numbers.items()}
        np.savez_compressed(fresh, **arrays)
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        values = {name.removeprefix("value/"): array for name, array in arrays.items() if name.startswith("value/")}
        numbers = {name.removeprefix("number/"): array for name, array in arrays.items() if name.startswith("number/")}
        return cls(values, {name: float(array) for name, array in numbers.items()})


def cell_path(folder: Path, task: str, form: str, seed: int) -> Path:
    """Return where a cell lies."""
    return folder / f"{task}-{form}-{seed}.npz"


def measure(task: Task, model: str, seed: int) -> Cell:
    """Fit, and rank the test."""
    fitted, numbers = fit_for_test(task, model, seed)
    started = time.perf_counter()
    lists = rank_test(task, fitted)
    numbers["rank_seconds"] = time.perf_counter() - started
    cutoffs = sorted({int(metric.partition("@")[2]) for metric in task.metrics})
    values = case_metrics(lists, task.test.targets, cutoffs)
    numbers["coverage"] = coverage_at(lists, task.allowed, max(cutoffs))
    numbers["peak_mib"] = peak_mib()
    return Cell({metric: values[metric] for metric in task.metrics}, numbers)


def fit_for_test(task: Task, model: str, seed: int) -> tuple[Recommender, dict[str, float]]:
    """Fit, select on the validation part, refit where the protocol says so; say how long that took."""
    kind, config = entrant(task.name, model)
    started = time.perf_counter()
    fitted = kind(config, task.items.catalogue)
    report = fitted.fit(task.train, task.validation, seed=seed, statistics=part_statistics(task, model, task.train))
    numbers = {"fit_seconds": time.perf_counter() - started}
    metrics = [record.metric for record in report.records if record.metric == record.metric]
    if task.protocol in REFITTED:
        started = time.perf_counter()
        fitted = kind(report.chosen, task.items.catalogue)
        fitted.fit(task.everything, seed=seed, statistics=part_statistics(task, model, task.everything))
        numbers["refit_seconds"] = time.perf_counter() - started
    numbers["epochs"] = float(getattr(report.chosen, "num_epochs", 1))
    numbers["validation_ndcg"] = max(metrics, default=float("nan"))
    return fitted, numbers


def part_statistics(task: Task, model: str, part: Sequences) -> Statistics | None:
    """Measure the part that a model learns from, if it asks for that."""
    if not entrant(task.name, model)[0].capabilities.uses_statistics:
        return None
    return statistics_of(part, task.num_items, statistics_settings(task.name, model))


def rank_test(task: Task, model: Recommender) -> NDArray[np.int32]:
    """Return a list for every test case, int32[C, K]: of all allowed items, or of the case's candidates."""
    if not task.candidates.shape[1]:
        cutoff = max(int(metric.partition("@")[2]) for metric in task.metrics)
        items, _ = model.topk(task.test.histories, cutoff, task.allowed, exclude_seen=task.exclude_seen)
        return items
    return np.concatenate(
        [_rank_candidates(task, model, start) for start in range(0, len(task.candidates), CHUNK_CASES)]
    )


def _rank_candidates(task: Task, model: Recommender, start: int) -> NDArray[np.int32]:
    """Order the candidates of some cases as they stand among all items."""
    candidates = task.candidates[start : start + CHUNK_CASES]
    histories = task.test.histories.take(np.arange(start, start + len(candidates)))
    ranked, _ = model.topk(histories, task.num_items, task.allowed)
    places = np.full((len(candidates), task.num_items), task.num_items, np.int32)
    rows = np.arange(len(candidates))[:, None]
    places[rows, ranked] = np.arange(ranked.shape[1])
    places[:, PADDING] = task.num_items
    return np.take_along_axis(candidates, np.argsort(places[rows, candidates], axis=1), axis=1)


if __name__ == "__main__":
    data, name, model, seed, file = sys.argv[1:]
    measure(load_task(name, Path(data)), model, int(seed)).save(Path(file))
