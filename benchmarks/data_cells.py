"""What runs in the fresh process of one measurement: a kernel over a history in one engine, or a night after it.

    python -m benchmarks.data_cells JOB

JOB is the JSON of a ``Job``; the report goes to the file that it names. Imports are no part of a cost, nor is the
compilation of the neighbours' inner loop, which a machine does once.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from assets.measurement import Measurement
from benchmarks.data_check import difference
from benchmarks.data_inputs import Inputs
from benchmarks.data_process import tree_cpu_s
from benchmarks.data_shop import KERNELS, STAGES, Workload, newest, published
from pipelines.night import Night
from pipelines.pair_sums import most_similar
from pipelines.sample_shop import SampleShop
from pipelines.settings import Settings

Files = Mapping[str, Sequence[Path]]
Engine = Literal["local", "duckdb", "polars", "beam", "dask1", "dask2"]

LACKS: Final[dict[tuple[str, str], tuple[str, ...]]] = {("polars", "sessions"): ("session_id",)}
"""Columns that an engine does not make."""


class Cost(BaseModel):
    """What a computation took; ``peak_mib`` is the largest resident memory of this process meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mib: float = 0.0


class Job(BaseModel):
    """One measurement: a kernel in an engine, or without a kernel the night after the history.

    All that it writes goes to ``work``, an empty folder below ``folder``, for whoever gave the job to remove.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    work: Path
    shop: SampleShop
    num_days: int
    kernel: str = ""
    engine: Engine = "local"
    check: bool = False
    buckets: int = 16
    report: Path = Path()

    @property
    def workload(self) -> Workload:
        """The data to work on."""
        return Workload(self.folder, self.shop, self.buckets)


class CellReport(BaseModel):
    """A kernel's cost, the bytes of its result, and in which way its rows are wrong; empty if they are not."""

    cost: Cost
    num_bytes: int
    wrong: str


class NightReport(BaseModel):
    """The cost of each stage of a night."""

    stages: dict[str, Cost]


def main(text: str) -> None:
    """Do a job and write its report."""
    job = Job.model_validate_json(text)
    report = run_cell(job) if job.kernel else run_night(job)
    job.report.write_text(report.model_dump_json())


def run_cell(job: Job) -> CellReport:
    """Compute a kernel over the whole history; if it is to be checked, compare its rows with the published ones."""
    cost, files = _by_peer(job) if job.engine in ("duckdb", "polars") else _by_stage(job)
    num_bytes = sum(path.stat().st_size for paths in files.values() for path in paths)
    store, lacks = job.workload.store(job.num_days), LACKS.get((job.engine, job.kernel), ())
    unlike = [difference(table, files[table], published(store, table), lacks) for table in files] if job.check else []
    return CellReport(cost=cost, num_bytes=num_bytes, wrong="; ".join(filter(None, unlike)))


def _by_peer(job: Job) -> tuple[Cost, Files]:
    """What a peer costs, and the files of each table."""
    peer = import_module(f"benchmarks.data_peers_{job.engine}")
    inputs = Inputs.of(job.workload, job.kernel, job.num_days, job.work)
    with _measured() as costs:
        peer.run(job.kernel, inputs)
    return costs[0], {table: sorted((job.work / table).glob("*.parquet")) for table in KERNELS[job.kernel][1]}


def _by_stage(job: Job) -> tuple[Cost, Files]:
    """What a stage costs as a backfill into a store that has not its tables, and the files of each table."""
    stage, tables = KERNELS[job.kernel]
    store = job.workload.clone(job.num_days, job.work / "clone", tables)
    with _settings(job) as settings:
        night = job.workload.night(store, settings, job.num_days)
        _compile()
        with _measured() as costs:
            writes = STAGES[stage](night)
    files = {write.table: store.paths(newest(write.table, write.parts)) for write in writes}
    return costs[0], {table: [Path(path) for path in paths] for table, paths in files.items()}


@contextmanager
def _settings(job: Job) -> Iterator[Settings]:
    """The settings of our engines; a Dask cluster of as many processes as the engine's name says lives with them."""
    if job.engine == "local":
        yield job.workload.settings()
        return
    import_module("pipelines.beam_engine")
    if job.engine == "beam":
        yield job.workload.settings("beam")
        return
    from dask.distributed import Client, LocalCluster

    workers = int(job.engine.removeprefix("dask"))
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
    ) as cluster:
        with Client(cluster) as client:
            client.run(import_module, "pipelines.beam_engine")
        options = {"dask_client_address": cluster.scheduler_address}
        yield job.workload.settings("beam", {"runner": "DaskRunner", "options": options})


@contextmanager
def _measured() -> Iterator[list[Cost]]:
    """Fill a list with the cost of a block."""
    costs: list[Cost] = []
    cpu_s = tree_cpu_s()
    with Measurement() as measured:
        yield costs
    costs.append(Cost(cpu_s=tree_cpu_s() - cpu_s, wall_s=measured.seconds, peak_mib=measured.peak_mib))


def _compile() -> None:
    """Have the inner loop of the neighbours compiled, or its compilation loaded."""
    none, few, begins = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(1, np.int64)
    most_similar(none, begins, few, none, few, begins, few, few, none, 1)


def run_night(job: Job) -> NightReport:
    """Run the stages of the night after the history, each of which is published before the next."""
    workload = job.workload
    _compile()
    stages = {}
    store = workload.clone(job.num_days, job.work / "clone")
    day = workload.days(job.num_days)[-1] + timedelta(days=1)
    for name, build in STAGES.items():
        night = Night(workload.settings(), store, day, day, "night", store.version())
        with _measured() as costs:
            store.publish(build(night), seen=night.seen, run=night.run_id)
        stages[name] = costs[0]
    return NightReport(stages=stages)


if __name__ == "__main__":
    main(sys.argv[1])
