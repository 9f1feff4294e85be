"""How well the models rank on real data sets, under the protocols of `benchmarks.protocols`.

    python -m benchmarks.models --data DATA --folder FOLDER --tasks movielens_1m diginetica --seeds 0 1 2

Models that do not draw random numbers are measured once. Every cell (data set, model, seed) is in the folder as soon as
it is measured, and is not measured again when the same command runs again.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.machine import command, machine
from benchmarks.model_cells import Cell, cell_path
from benchmarks.model_settings import draws, entrants
from benchmarks.model_tables import headline, slices
from benchmarks.protocols import PROTOCOLS, Task, load_task
from models.registry import names

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("torch", "numpy", "scipy", "numba")


def main() -> None:
    """Measure what the folder does not have yet, print the tables."""
    arguments = _arguments()
    print(f"`{command('benchmarks.models')}`: {machine(PACKAGES)}\n")
    beside = arguments.beside
    shown = dict.fromkeys(filter(None, [*arguments.models, beside]))
    for name in arguments.tasks:
        task = load_task(name, arguments.data)
        cells = {model: _cells(task, model, arguments) for model in shown}
        print(headline(task, cells, beside), slices(task, cells, beside), sep="\n\n", end="\n\n", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure how well the models rank.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where finished cells lie, and stay")
    parser.add_argument("--tasks", nargs="+", choices=list(PROTOCOLS), required=True)
    parser.add_argument("--models", nargs="+", choices=entrants(), default=list(names()))
    parser.add_argument("--beside", choices=entrants(), help="take part, too, and be compared with, case by case")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


def _cells(task: Task, model: str, arguments: argparse.Namespace) -> list[Cell]:
    """The cells of a model, one for each seed that makes a difference."""
    seeds = arguments.seeds if draws(task.name, model) else arguments.seeds[:1]
    return [_cell(task, model, seed, arguments) for seed in seeds]


def _cell(task: Task, model: str, seed: int, arguments: argparse.Namespace) -> Cell:
    path = cell_path(arguments.folder.resolve(), task.name, model, seed)
    if not path.exists():
        job = [str(arguments.data.resolve()), task.name, model, str(seed), str(path)]
        subprocess.run([sys.executable, "-m", "benchmarks.model_cells", *job], cwd=ROOT, check=True)
    return Cell.read(path)


if __name__ == "__main__":
    main()
