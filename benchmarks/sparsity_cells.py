"""One cell of the benchmark of sparse tables: a form of a model, trained for all its epochs, with what that costs.

    python -m benchmarks.sparsity_cells DATA TASK FORM SEED FOLDER

It is a process of its own, so that its peak of resident memory is its own, too. Nothing is selected here: every form is
trained on all that the protocol gives, for as many epochs.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from benchmarks.memory import peak_mib
from benchmarks.model_cells import Cell, cell_path, rank_test
from benchmarks.model_settings import DENSITIES, entrant
from benchmarks.protocols import Task, load_task
from models import rewiring
from models.metrics import case_metrics
from models.recommender import Recommender
from models.sequences import FIRST_ITEM, Sequences
from models.sparse_table import SparseTable
from models.stages import StepRecord
from models.training import TrainingConfig

NUM_GROUPS: Final = 10
MOMENTS: Final = 2  # of Adam, as many numbers each as there are weights
PRUNED, ROUNDED = "pruned", "int8"
Arrays = dict[str, NDArray[Any]]
Table = NDArray[np.float32]


def measure(task: Task, form: str, seed: int) -> dict[str, Cell]:
    """Train a form, and rank the test; a dense one also as it is once its weights are rounded, or the small ones gone.

    Returns the cells by form: ``MODEL``, ``MODEL_int8``, ``MODEL_pruned_20``, for example.
    """
    kind, config = entrant(task.name, form)
    assert isinstance(config, TrainingConfig), f"{form} has no tables to thin out"
    model, seconds = kind(config, task.items.catalogue), dict[int, float]()

    def look(record: StepRecord) -> None:
        seconds[record.epoch] = record.seconds

    with _ever_live() as marked:
        model.fit(task.everything, seed=seed, on_step=look)
    numbers = {
        "peak_mib": peak_mib(),
        "epochs": float(len(seconds)),
        "ever_live": _share(marked, config.sparsity.density),
    }
    numbers["epoch_seconds"] = float(np.median(np.diff(list(seconds.values()), prepend=0.0)))
    learnt = model.state()
    cells = {form: _asked(task, model, numbers | _sizes(tables_of(learnt), form))}
    for changed, change in (changes(form) if config.sparsity.is_dense else {}).items():
        model.restore({key: change(array) if _is_table(key, array) else array for key, array in learnt.items()})
        cells[changed] = _asked(task, model, numbers | _sizes(tables_of(model.state()), changed))
    return cells


def changes(form: str) -> dict[str, Callable[[Table], Table]]:
    """Return what is done to the tables of a dense form after training, by the name of what comes of it."""
    small = {f"{form}_{PRUNED}_{percent}": partial(pruned, density=percent / 100) for percent in DENSITIES}
    return {**small, f"{form}_{ROUNDED}": to_int8_and_back}


def trained_as(form: str) -> str:
    """Return the form by whose training another one is made.

    >>> trained_as("lightgcn_pruned_20"), trained_as("lightgcn_int8"), trained_as("lightgcn_dim_17")
    ('lightgcn', 'lightgcn', 'lightgcn_dim_17')
    """
    return form.partition(f"_{PRUNED}_")[0].removesuffix(f"_{ROUNDED}")


def _is_table(key: str, array: NDArray[Any]) -> bool:
    return key in ("items.weight", "subjects.weight") and array.ndim == 2


def pruned(table: Table, density: float) -> Table:
    """Keep the largest weights of a whole table.

    >>> pruned(np.array([[1, -4], [2, 3]], np.float32), 0.5)
    array([[ 0., -4.],
           [ 0.,  3.]], dtype=float32)
    """
    count = round(density * table.size)
    worst = np.partition(np.abs(table), table.size - count, axis=None)[table.size - count]
    return np.where(np.abs(table) >= worst, table, 0).astype(np.float32)


def to_int8_and_back(table: Table) -> Table:
    """Round to 255 steps a row, of which the largest weight is 127.

    >>> to_int8_and_back(np.array([[127, -63.6], [0, 0]], np.float32))
    array([[127., -64.],
           [  0.,   0.]], dtype=float32)
    """
    steps = np.abs(table).max(axis=1, keepdims=True) / 127
    return (np.round(table / np.where(steps > 0, steps, 1)).astype(np.int8) * steps).astype(np.float32)


def tables_of(state: Arrays) -> dict[str, Arrays]:
    """Return the arrays of every table with a row for each subject, item or value, by the table's name."""
    sparse = {key.removesuffix(".values") for key in state if key.endswith(".values")}
    parts = ("offsets", "columns", "values")
    found = {name: {part: state[f"{name}.{part}"] for part in parts} for name in sparse}
    dense = {key.removesuffix(".weight") for key, array in state.items() if _is_table(key, array)}
    return found | {name: {"weight": state[f"{name}.weight"]} for name in dense}


def _sizes(tables: dict[str, Arrays], form: str) -> dict[str, float]:
    """Return the bytes of the tables in a file, and while they are trained: with gradients and moments."""
    arrays = {f"{name}.{part}": array for name, parts in tables.items() for part, array in parts.items()}
    weights = sum(array.nbytes for key, array in arrays.items() if key.endswith((".values", ".weight")))
    state = sum(array.nbytes for array in arrays.values()) + (1 + MOMENTS) * weights
    if form.endswith(f"_{ROUNDED}"):
        arrays = {key: array.astype(np.int8) for key, array in arrays.items()} | {
            f"{key}.steps": np.zeros(len(array), np.float32) for key, array in arrays.items()
        }
    if f"_{PRUNED}_" in form:
        arrays = {name: part for key, array in arrays.items() for name, part in _compressed(key, array).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tables"
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
        return {"file_bytes": float(path.stat().st_size), "state_bytes": float(state)}


def _compressed(key: str, table: NDArray[np.float32]) -> Arrays:
    """Return a pruned table as a sparse one is kept."""
    rows, columns = np.nonzero(table)
    offsets = np.searchsorted(rows, np.arange(len(table) + 1)).astype(np.int32)
    return {
        f"{key}.offsets": offsets,
        f"{key}.columns": columns.astype(np.uint8),
        f"{key}.values": table[rows, columns],
    }


@contextmanager
def _ever_live() -> Iterator[dict[int, NDArray[np.bool_]]]:
    """Mark, while a model is trained, the weights of every table that was rewired which were ever live, bool[N * D]."""
    marked: dict[int, NDArray[np.bool_]] = {}
    rewire = rewiring.rewire

    def watched(table: SparseTable, *arguments: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if id(table) not in marked:
            marked[id(table)] = np.zeros(table.num_embeddings * table.embedding_dim, bool)
            marked[id(table)][table.places().numpy()] = True
        dropped, grown = rewire(table, *arguments)
        marked[id(table)][grown] = True
        return dropped, grown

    with patch.object(rewiring, "rewire", watched):
        yield marked


def _share(marked: dict[int, NDArray[np.bool_]], density: float) -> float:
    return float(np.mean(np.concatenate(list(marked.values())))) if marked else density


def _asked(task: Task, model: Recommender, numbers: dict[str, float]) -> Cell:
    """Rank the test, and tell how well it went for subjects and for items of few and of many events."""
    lists = rank_test(task, model)
    cutoff = lists.shape[1]
    values = case_metrics(lists, task.test.targets, [cutoff])
    recall = values[f"recall@{cutoff}"]
    for number, chosen in enumerate(deciles(task.test.histories.lengths)):
        numbers[f"subjects_{number}"] = float(recall[chosen].mean())
    targets, found = task.test.targets, found_targets(lists, task.test.targets)
    for number, chosen in enumerate(deciles(task.counts[targets.items])):
        numbers[f"items_{number}"] = float(found[chosen].mean())
    numbers["correlation"] = _correlation(task, tables_of(model.state()))
    return Cell({metric: values[metric] for metric in task.metrics if metric in values}, numbers)


def deciles(degrees: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Divide by degree, ascending, into ten groups of equally many; equal ones stand in their order."""
    return np.array_split(np.argsort(degrees, kind="stable"), NUM_GROUPS)


def found_targets(lists: NDArray[np.int32], targets: Sequences) -> NDArray[np.bool_]:
    """Tell which targets are in the list of their case, bool[N]."""
    return np.asarray((lists[targets.rows] == targets.items[:, None]).any(axis=1))


def _correlation(task: Task, tables: dict[str, Arrays]) -> float:
    """Correlate the live weights of every item with the root of its events; NaN where all rows have as many."""
    offsets = tables["items"].get("offsets")
    if offsets is None:
        return float("nan")
    budget = np.diff(offsets)[FIRST_ITEM:]
    if budget.min() == budget.max():
        return float("nan")
    counts = np.bincount(task.everything.items, minlength=task.num_items)[FIRST_ITEM:]
    return float(np.corrcoef(budget, np.sqrt(counts))[0, 1])


if __name__ == "__main__":
    data, name, form, seed, folder = sys.argv[1:]
    for made, cell in measure(load_task(name, Path(data)), form, int(seed)).items():
        cell.save(cell_path(Path(folder), name, made, int(seed)))
