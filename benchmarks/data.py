"""What the data kernels cost beside plain DuckDB and polars, and what a night costs after a short and a long history.

    python -m benchmarks.data --folder FOLDER --millions 1 10 100 --json measured.json

A million events are a day of the sample shop. Every measurement is a process of its own. Every engine has to give the
rows of the local engine over one million events before it is measured on more; a wrong result is told, with no numbers.
What is measured is in the JSON at once, and is not measured again when the same command runs again; what failed for
another reason than its limits is.
"""

import argparse
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.data_cells import Job
from benchmarks.data_process import Limits, run_fresh
from benchmarks.data_shop import KERNELS, Workload
from benchmarks.data_tables import markdown
from benchmarks.machine import command, machine
from benchmarks.results import Results
from pipelines.sample_shop import SampleShop

SHOP: Final = SampleShop(num_days=101, events_per_day=1_000_000, num_users=200_000, num_items=20_000, num_clusters=200)
ENGINES: Final = ("local", "duckdb", "polars", "beam")
DASK: Final = ("dask1", "dask2")
CHECKED_DAYS: Final = 1
DASK_DAYS: Final = 10
GIB_A_DAY: Final = 0.3
SPILL_GIB: Final = 10
PACKAGES: Final = ("duckdb", "polars", "apache-beam", "distributed", "pyarrow", "numpy", "numba")
ENVIRONMENT: Final = {"POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2"}


def main() -> None:
    """Prepare, measure what the JSON does not have yet, print both tables."""
    arguments = _arguments()
    workload = Workload(arguments.folder.resolve(), SHOP)
    results = Results.read(arguments.json)
    measure(workload, results, arguments)
    about = f"`{command('benchmarks.data')}`: {machine(PACKAGES)}"
    print(markdown(results.content, arguments.millions, arguments.engines, about))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the data kernels beside peers, and nights beside nights.")
    parser.add_argument("--folder", type=Path, required=True, help="where logs, stores and results may lie, and stay")
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10], help="sizes: millions of events, or days")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="every measurement, read and added to")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--kernels", nargs="+", choices=[*KERNELS, "night"], default=[*KERNELS, "night"])
    parser.add_argument("--time-limit", type=float, default=1200, metavar="SECONDS", help="of one measurement")
    total_gib = psutil.virtual_memory().total / 2**30
    parser.add_argument(
        "--max-gib", type=float, default=round(0.6 * total_gib, 1), help="a process that holds more is ended"
    )
    return parser.parse_args()


def measure(workload: Workload, results: Results, arguments: argparse.Namespace) -> None:
    """Measure size by size. One million events come first, for they are checked."""
    limits = Limits(arguments.time_limit, arguments.max_gib * 1024)
    _remove_left(workload.folder)
    for num_days in sorted({CHECKED_DAYS, *arguments.millions}):
        jobs = _jobs(workload, num_days, arguments)
        missing = {name: job for name, job in jobs.items() if not results.is_known(name)}
        if missing:
            _require_room(workload, num_days)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                pool.submit(workload.prepare, num_days).result()
        for name, job in missing.items():
            checked = results.content.get(name.replace(f"{num_days}/", f"{CHECKED_DAYS}/", 1))
            if checked and checked["status"] == "wrong" and not job.check:
                record = {"status": "wrong", "message": checked["message"]}
            else:
                record = _measured(job, limits)
            results.add(name, record)
            print(f"{name}: {record['status']} {record.get('cpu_s', '')} {record.get('message', '')}", flush=True)


def _jobs(workload: Workload, num_days: int, arguments: argparse.Namespace) -> dict[str, Job]:
    """The measurements of a size by name, such as ``10/sessions/local`` and ``10/night``."""
    night = Job(
        folder=workload.folder,
        work=workload.folder / f"work-{os.getpid()}",
        shop=workload.shop,
        num_days=num_days,
        buckets=workload.buckets,
    )
    jobs = {}
    for kernel in [name for name in arguments.kernels if name != "night"]:
        with_dask = kernel == "sessions" and "beam" in arguments.engines and num_days in (CHECKED_DAYS, DASK_DAYS)
        for engine in [*arguments.engines, *(DASK if with_dask else ())]:
            cell = {"kernel": kernel, "engine": engine, "check": num_days == CHECKED_DAYS}
            jobs[f"{num_days}/{kernel}/{engine}"] = night.model_copy(update=cell)
    if "night" in arguments.kernels and num_days in arguments.millions:
        jobs[f"{num_days}/night"] = night
    return jobs


def _require_room(workload: Workload, num_days: int) -> None:
    """Raise ``SystemExit`` if the disk cannot hold the logs and tables of a size, and what engines spill."""
    workload.folder.mkdir(parents=True, exist_ok=True)
    is_there = (workload.folder / f"store-{num_days:05}").exists()
    needed = SPILL_GIB + GIB_A_DAY * num_days * (0.5 if is_there else 1)
    free = shutil.disk_usage(workload.folder).free / 2**30
    if free < needed:
        raise SystemExit(f"{workload.folder} has {free:.0f} GiB free, {num_days} million events need {needed:.0f} GiB")


def _remove_left(folder: Path) -> None:
    """Remove what a run that was killed has left."""
    for work in folder.glob("work-*"):
        if not psutil.pid_exists(int(work.name.removeprefix("work-"))):
            shutil.rmtree(work, ignore_errors=True)


def _measured(job: Job, limits: Limits) -> dict[str, Any]:
    """Run a job in a fresh process, and remove what it wrote, also if it was ended."""
    job.work.mkdir(parents=True)
    try:
        ended = run_fresh("benchmarks.data_cells", job.model_dump(mode="json"), limits, ENVIRONMENT)
    finally:
        shutil.rmtree(job.work, ignore_errors=True)
    record: dict[str, Any] = {"status": ended.status, "peak_mib": ended.peak_mib, "message": ended.message}
    if ended.status != "done":
        return {**record, "wall_s": ended.wall_s}
    if not job.kernel:
        return {**record, **ended.report}
    if ended.report["wrong"]:
        return {"status": "wrong", "message": ended.report["wrong"]}
    cost = ended.report["cost"]
    peak_mib = max(ended.peak_mib, cost["peak_mib"])
    return {**record, **cost, "peak_mib": peak_mib, "num_bytes": ended.report["num_bytes"]}


if __name__ == "__main__":
    main()
