"""Tables of the model benchmark as Markdown: a row a model, seeds apart from cases, and the slices."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.model_cells import Cell
from benchmarks.protocols import LABELS, Task
from models.metrics import bootstrap_interval, paired_interval

MIN_CASES: Final = 100  # a slice of fewer cases gives no verdict
CHEAP: Final = frozenset({"popular", "markov", "itemknn", "session_knn", "blend", "category_popular"})
"""Models that cost next to nothing; the others are compared with the best of them."""
Cells = Mapping[str, Sequence[Cell]]  # of one task: those of each model, one a seed


def headline(task: Task, cells: Cells, beside: str | None = None) -> str:
    """Return every metric of every model, and how it differs from one of them, or else from the best of the cheap ones.

    Interval: 95 % over cases, of the mean over seeds. Difference: paired, case by case.
    """
    main, *_ = task.metrics
    other = beside or max(CHEAP.intersection(cells) or cells, key=lambda name: _mean(cells[name], main))
    head = [
        "model", "seeds", *(f"{metric} ± sd" for metric in task.metrics), f"95 % of {main}", f"minus {other}",
        "coverage", "epochs", "fit s", "lists/s", "peak MiB",
    ]  # fmt: skip
    rows = [_headline_row(task, name, some, None if name == other else cells[other]) for name, some in cells.items()]
    title = f"### {task.name}, {task.protocol} ({LABELS[task.protocol]}): {len(task.test.targets):,} cases"
    return f"{title}\n\n{table(head, rows)}"


def _headline_row(task: Task, name: str, cells: Sequence[Cell], others: Sequence[Cell] | None) -> list[str]:
    main = task.metrics[0]
    per_case = per_case_mean(cells, main)
    low, high = bootstrap_interval(per_case, seed=0)
    gain = difference(per_case, per_case_mean(others, main)) if others else ""
    seconds = np.mean([cell.numbers["fit_seconds"] + cell.numbers.get("refit_seconds", 0) for cell in cells])
    rate = len(per_case) / np.mean([cell.numbers["rank_seconds"] for cell in cells])
    return [
        name, str(len(cells)), *(_with_spread(cells, metric) for metric in task.metrics), f"{low:.4f} to {high:.4f}",
        gain, f"{number_mean(cells, 'coverage'):.2f}", f"{number_mean(cells, 'epochs'):.0f}", f"{seconds:.1f}",
        f"{rate:,.0f}", f"{number_mean(cells, 'peak_mib'):,.0f}",
    ]  # fmt: skip


def slices(task: Task, cells: Cells, beside: str | None = None) -> str:
    """Return the main metric of every model on every slice of enough cases, and how it differs from one of them."""
    shown = {name: mask for name, mask in task.slices.items() if mask.sum() >= MIN_CASES}
    left_out = [f"{name} ({mask.sum()})" for name, mask in task.slices.items() if name not in shown]
    head = ["model", *(f"{name} ({mask.sum():,})" for name, mask in shown.items())]
    main = task.metrics[0]
    values = {name: per_case_mean(some, main) for name, some in cells.items()}
    rows = [[name, *(f"{own[mask].mean():.4f}" for mask in shown.values())] for name, own in values.items()]
    note = f"\n\nUnder {MIN_CASES} cases, so without a verdict: {', '.join(left_out)}." if left_out else ""
    text = f"{main} by slice:\n\n{table(head, rows)}"
    if beside:
        others = values.pop(beside)
        rows = [
            [name, *(difference(own[mask], others[mask]) for mask in shown.values())] for name, own in values.items()
        ]
        text += f"\n\nMinus {beside}, paired:\n\n{table(head, rows)}"
    return text + note


def difference(per_case: NDArray[np.float64], others: NDArray[np.float64]) -> str:
    """Tell how far the mean of the first is above that of the second, with its interval."""
    return "{:+.4f} ({:+.4f} to {:+.4f})".format(*paired_interval(per_case, others, seed=0))


def per_case_mean(cells: Sequence[Cell], metric: str) -> NDArray[np.float64]:
    """Return a metric of every case, float64[C], the mean over seeds."""
    mean: NDArray[np.float64] = np.mean([cell.values[metric] for cell in cells], axis=0)
    return mean


def _mean(cells: Sequence[Cell], metric: str) -> float:
    return float(per_case_mean(cells, metric).mean())


def _with_spread(cells: Sequence[Cell], metric: str) -> str:
    means = [float(cell.values[metric].mean()) for cell in cells]
    spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
    return f"{np.mean(means):.4f}{spread}"


def number_mean(cells: Sequence[Cell], name: str) -> float:
    """Return a number of the whole, the mean over seeds."""
    return float(np.mean([cell.numbers[name] for cell in cells]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
