"""What sparse tables cost and what they lose, beside dense ones, smaller ones, pruned and rounded ones.

    OMP_NUM_THREADS=1 python -m benchmarks.sparsity --data DATA --folder FOLDER --task lightgcn_gowalla --seeds 0

Every form is trained for as many epochs on all that the protocol gives; nothing is selected. Every cell (form, seed) is
in the folder as soon as it is measured, and is not measured again when the same command runs again.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.machine import command, machine
from benchmarks.model_cells import Cell, cell_path
from benchmarks.model_settings import ALIKE_DIMS, DENSITIES
from benchmarks.model_tables import difference, number_mean, per_case_mean, table
from benchmarks.sparsity_cells import NUM_GROUPS, trained_as

ROOT: Final = Path(__file__).parents[1]
FORMS: Final = (
    "lightgcn",
    *(f"lightgcn_density_{percent}" for percent in DENSITIES),
    *(f"lightgcn_dim_{dim}" for dim in ALIKE_DIMS.values()),
    *(f"lightgcn_pruned_{percent}" for percent in DENSITIES),
    "lightgcn_int8",
    *(f"lightgcn_{name}" for name in ("static", "random", "degree", "one_batch")),
    *(f"lightgcn_mf{name}" for name in ("", "_density_20", "_density_10")),
)
BY_DEGREE: Final = ("lightgcn", "lightgcn_density_20", "lightgcn_dim_17", "lightgcn_static")


def main() -> None:
    """Measure what the folder does not have yet, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where finished cells lie, and stay")
    parser.add_argument("--task", default="lightgcn_gowalla", help="the data set, under its protocol")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), help="what takes part; the first is compared with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    print(f"`{command('benchmarks.sparsity')}`: {machine(('torch', 'numpy', 'numba'))}\n")
    cells = {form: [_cell(form, seed, arguments) for seed in arguments.seeds] for form in arguments.forms}
    print(costs(cells), by_degree({form: cells[form] for form in BY_DEGREE if form in cells}), sep="\n\n")


def _cell(form: str, seed: int, arguments: argparse.Namespace) -> Cell:
    folder = arguments.folder.resolve()
    path = cell_path(folder, arguments.task, form, seed)
    if not path.exists():
        job = [str(arguments.data.resolve()), arguments.task, trained_as(form), str(seed), str(folder)]
        subprocess.run([sys.executable, "-m", "benchmarks.sparsity_cells", *job], cwd=ROOT, check=True)
    return Cell.read(path)


def costs(cells: dict[str, list[Cell]]) -> str:
    """Return what every form finds, beside the first, and what it costs; of several seeds the mean."""
    dense, *_ = cells.values()
    metrics = list(dense[0].values)
    main = metrics[0]
    head = ["form", "seeds", *metrics, f"{main} of the first", "minus the first, 95 %", "tables MiB", "share",
            "trained MiB", "peak MiB", "s/epoch", "ever live", "budget ~ degree"]  # fmt: skip
    rows = []
    for form, some in cells.items():
        per_case, of_first = per_case_mean(some, main), per_case_mean(dense, main)
        numbers = {name: number_mean(some, name) for name in some[0].numbers}
        bytes_share = numbers["file_bytes"] / dense[0].numbers["file_bytes"]
        correlation = numbers["correlation"]
        rows.append(
            [form, str(len(some)), *(f"{per_case_mean(some, name).mean():.4f}" for name in metrics),
             f"{per_case.mean() / of_first.mean():.1%}", difference(per_case, of_first) if some is not dense else "",
             f"{numbers['file_bytes'] / 2**20:.2f}", f"{bytes_share:.3f}", f"{numbers['state_bytes'] / 2**20:.1f}",
             f"{numbers['peak_mib']:,.0f}", f"{numbers['epoch_seconds']:.1f}", f"{numbers['ever_live']:.2f}",
             "" if np.isnan(correlation) else f"{correlation:.2f}"]
        )  # fmt: skip
    return table(head, rows)


def by_degree(cells: dict[str, list[Cell]]) -> str:
    """Return what every form finds of subjects and of items of few events and of many: ten groups of as many cases."""
    head = ["recall@20, by decile of events", *(str(number + 1) for number in range(NUM_GROUPS))]
    rows = []
    for kind in ("subjects", "items"):
        for form, some in cells.items():
            found = [number_mean(some, f"{kind}_{number}") for number in range(NUM_GROUPS)]
            rows.append([f"{kind}: {form}", *(f"{value:.3f}" for value in found)])
    return table(head, rows)


if __name__ == "__main__":
    main()
