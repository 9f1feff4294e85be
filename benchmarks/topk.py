"""Exact top-k beside the bare matrix product, what more users and more items cost, and what an approximate index saves.

    python -m benchmarks.topk --json measured.json

Vectors are random: for an approximate index that is the hardest case, since no item is near another. faiss takes part
where it is installed (`pip install --no-deps --target FOLDER faiss-cpu`, then PYTHONPATH=FOLDER); nothing in this
project uses it. Each measurement is a process of its own. What is in the JSON is not measured again.
"""

import argparse
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.data_process import ROOT, Limits, run_fresh
from benchmarks.machine import command, machine
from benchmarks.results import Results
from benchmarks.topk_cells import TopkJob
from benchmarks.topk_tables import markdown

PACKAGES: Final = ("torch", "numpy", "numba", "faiss-cpu")
NUM_USERS: Final = (1_000, 2_000, 5_000, 10_000, 20_000)
NUM_ITEMS: Final = (10_000, 50_000, 100_000, 200_000)
GROUPS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "engines": {
        "top_products": {},
        "the bare product, into new memory": {"engine": "product_fresh"},
        "the bare product, into the same memory again": {"engine": "product_reused"},
    },
    "requests": {
        "half the items allowed": {"share_allowed": 0.5},
        "50 barred items a user": {"num_barred": 50},
        "k = 100": {"k": 100},
    },
    "users": {f"{number:,}": {"num_users": number} for number in NUM_USERS},
    "items": {f"{number:,}": {"num_items": number} for number in NUM_ITEMS},
    "blocks": {
        "64 users x 4096 items": {"block_users": 64},
        "1000 users x 4096 items": {"block_users": 1000},
        "256 users x 1000 items": {"block_items": 1000},
        "256 users x 16384 items": {"block_items": 16384},
        "1 thread": {"num_threads": 1},
    },
    "indexes": {
        "faiss, all items": {"engine": "faiss_flat"},
        "faiss, 32 of the cells": {"engine": "faiss_ivf", "breadth": 32},
        "faiss, 256 of the cells": {"engine": "faiss_ivf", "breadth": 256},
        "faiss, graph, 64 candidates": {"engine": "faiss_hnsw", "breadth": 64},
        "faiss, graph, 512 candidates": {"engine": "faiss_hnsw", "breadth": 512},
    },
}


def main() -> None:
    """Measure what the JSON does not have yet, print the tables."""
    arguments = _arguments()
    results = Results.read(arguments.json)
    measure(results, arguments)
    print(f"`{command('benchmarks.topk')}`: {machine(PACKAGES)}\n\n{markdown(results.content, base(arguments))}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure exact top-k.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="every measurement, read and added to")
    parser.add_argument("--scale", type=float, default=1, help="of all numbers of users and items, to try the command")
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--time-limit", type=float, default=1200, metavar="SECONDS", help="of one measurement")
    return parser.parse_args()


def base(arguments: argparse.Namespace) -> TopkJob:
    """The shape that all are measured at, but for what a measurement changes."""
    return _scaled(TopkJob(num_threads=arguments.threads), arguments.scale)


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Measure every group, each measurement in a fresh process; without faiss its rows say so."""
    limits = Limits(arguments.time_limit, psutil.virtual_memory().total / 2**20)
    for group in arguments.groups:
        for name, changes in GROUPS[group].items():
            key, job = f"{group}/{name}", make_job(changes, arguments)
            if results.is_known(key):
                continue
            if job.engine.startswith("faiss") and not find_spec("faiss"):
                results.add(key, {"status": "missing", "message": "faiss is not installed"})
                continue
            environment = {"OMP_NUM_THREADS": str(job.num_threads), "PYTHONPATH": _search_path()}
            ended = run_fresh("benchmarks.topk_cells", job.model_dump(mode="json"), limits, environment)
            measured = {"job": job.model_dump(mode="json"), **ended.report}
            results.add(key, {"status": ended.status, "message": ended.message, **measured})
            print(f"{key}: {ended.status} {ended.report.get('seconds', '')} {ended.message}", flush=True)


def make_job(changes: Mapping[str, Any], arguments: argparse.Namespace) -> TopkJob:
    """The base shape with what a measurement changes."""
    given = {"num_threads": arguments.threads, **changes}
    return _scaled(TopkJob.model_validate(given), arguments.scale)


def _scaled(job: TopkJob, scale: float) -> TopkJob:
    numbers = {"num_users": round(job.num_users * scale), "num_items": round(job.num_items * scale)}
    return job.model_copy(update=numbers)


def _search_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


if __name__ == "__main__":
    main()
