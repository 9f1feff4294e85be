"""Items that nobody has touched: a tenth of them is taken out of all histories, and asked for in the test.

    python -m benchmarks.cold --data DATA --folder FOLDER --tasks amazon_beauty diginetica --seeds 0 1 2

Which items are cold is drawn once, the same for all. They are candidates still: among all items, and among themselves
alone. A model that knows items by their number has nothing to rank them by, so it does not take part.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.cold_cells import CANDIDATES, METRICS
from benchmarks.machine import command, machine
from benchmarks.model_cells import Cell
from benchmarks.models import PACKAGES, ROOT
from benchmarks.protocols import PROTOCOLS, leave_one_out, next_click, next_click_of_a_day
from models.metrics import bootstrap_interval

TASKS: Final = [name for name, made in PROTOCOLS.items() if made in (leave_one_out, next_click, next_click_of_a_day)]
ENTRANTS: Final = ("category_popular", "category_random", "m2trec")


def main() -> None:
    """Measure what the folder does not have yet, print the tables."""
    arguments = _arguments()
    print(f"`{command('benchmarks.cold')}`: {machine(PACKAGES)}\n")
    for name in arguments.tasks:
        cells = {model: [_cell(name, model, seed, arguments) for seed in arguments.seeds] for model in ENTRANTS}
        print(_table(name, cells), end="\n\n", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how well items without an event are ranked.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where finished cells lie, and stay")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


def _cell(name: str, model: str, seed: int, arguments: argparse.Namespace) -> Cell:
    path = arguments.folder.resolve() / f"cold-{name}-{model}-{seed}.npz"
    if not path.exists():
        job = [str(arguments.data.resolve()), name, model, str(seed), str(path)]
        subprocess.run([sys.executable, "-m", "benchmarks.cold_cells", *job], cwd=ROOT, check=True)
    return Cell.read(path)


def _table(name: str, cells: Mapping[str, Sequence[Cell]]) -> str:
    """Means over seeds, with 95 % over cases of the mean over seeds."""
    columns = [f"{candidates}/{metric}" for candidates in CANDIDATES for metric in METRICS]
    (first, *_), *_ = cells.values()
    num_cases, num_cold = len(first.values[columns[0]]), int(first.numbers["num_cold"])
    lines = [
        f"### {name}: {num_cases:,} cases whose target is one of {num_cold:,} cold items",
        "",
        f"| model | seeds | {' | '.join(column.replace('/', ' items: ') for column in columns)} |",
        "|" + "---|" * (len(columns) + 2),
        *(
            f"| {model} | {len(some)} | {' | '.join(_entry(some, column) for column in columns)} |"
            for model, some in cells.items()
        ),
    ]
    return "\n".join(lines)


def _entry(cells: Sequence[Cell], column: str) -> str:
    per_case: NDArray[np.float64] = np.mean([cell.values[column] for cell in cells], axis=0)
    low, high = bootstrap_interval(per_case, seed=0)
    return f"{per_case.mean():.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
