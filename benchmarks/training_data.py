"""How long it takes, and how much memory, from the tables of a night to the batches of an epoch.

    python -m benchmarks.training_data --folder FOLDER --days 10

A day of the sample shop has a million events. Its store is built once in the folder.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.data import SHOP
from benchmarks.data_shop import Workload
from benchmarks.machine import command, machine
from benchmarks.memory import peak_mib
from models.batches import batches_by_length, training_windows
from pipelines.night import Night
from pipelines.training_data import load_training_data

LENGTH: Final = 50
BATCH_SIZE: Final = 128
PACKAGES: Final = ("duckdb", "numpy", "pyarrow")


def main() -> None:
    """Build the store if need be, measure, print."""
    parser = argparse.ArgumentParser(
        description="Measure the way from tables to batches.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the logs and the store lie, and stay")
    parser.add_argument("--days", type=int, default=10, help="days of the sample shop, each of a million events")
    arguments = parser.parse_args()
    workload = Workload(arguments.folder.resolve(), SHOP)
    workload.prepare(arguments.days)
    night = workload.night(workload.store(arguments.days), workload.settings(), arguments.days)
    print(f"`{command('benchmarks.training_data')}`: {machine(PACKAGES)}\n")
    print(measure(replace(night, first=night.day)))


def measure(night: Night) -> str:
    """Write the arrays, map them again, and make all batches of an epoch of windows; return a table of what it took."""
    shutil.rmtree(night.store.scratch / "training_arrays", ignore_errors=True)
    lines = ["| | s | peak MiB of the process |", "|---|---|---|", _line("imports", 0.0)]
    for what in ("from tables to arrays", "from arrays to memory"):
        started = time.perf_counter()
        data = load_training_data(night)
        lines.append(_line(what, time.perf_counter() - started))
    started = time.perf_counter()
    generator = np.random.default_rng(0)
    windows = training_windows(data.everything, LENGTH, generator)
    num_targets = 0
    for batch in batches_by_length(windows.lengths, BATCH_SIZE, generator):
        num_targets += int((windows.items(batch)[:, 1:] > 0).sum())
    lines.append(_line(f"all batches of an epoch: {num_targets:,} targets", time.perf_counter() - started))
    return f"{len(data.everything.items):,} events of {len(data.everything):,} subjects\n\n" + "\n".join(lines)


def _line(what: str, seconds: float) -> str:
    return f"| {what} | {seconds:.2f} | {peak_mib():,.0f} |"


if __name__ == "__main__":
    main()
