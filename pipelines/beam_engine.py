"""The Beam engine: the same kernels, spread over whatever Beam's runner has.

Beam moves work, not rows. Shards of the input are divided by the key of a step into bucket files; the paths of the
files go through ``GroupByKey``; each worker runs the step over one bucket, in a DuckDB with one thread, and writes its
part of the result. So no row is pickled, and memory is that of one bucket. The work folder of the store must be one
that all workers see. Each pipeline is a single chain: Dask's runner loses side branches, and what bundles end with.

A bundle may run twice, or die half-way and run again. Every attempt writes into a folder of its own, the results name
the files that count, and all others are removed. Each bucket must have heard exactly once from every shard.
"""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipelines.beam_buckets import BucketFile, Job, fresh_name, require_each_once, run_bucket, split_shard
from pipelines.beam_pipeline import run_chain, telling
from pipelines.beam_quietly import beam
from pipelines.beam_shards import Shard, plan_shards
from pipelines.errors import InputError
from pipelines.kernel import Kernel, Relation, Step, load_fold
from pipelines.local_engine import LocalEngine, Output
from pipelines.settings import Settings, Storage
from pipelines.store import RUNS, Store

T = TypeVar("T")
NO_LIMIT = 2**62


@dataclass(frozen=True)
class BeamEngine:
    """Kernels on Beam. Buckets bound the memory, so nothing is cut into chunks of days."""

    settings: Settings
    store: Store
    max_events: int = NO_LIMIT

    def run(self, kernel: Kernel, relations: Mapping[str, Relation], output: Output) -> list[tuple[date, str, Path]]:
        """Run a kernel step by step; return day, slice and path of each file."""
        known = dict(relations)
        with self._scratch() as scratch:
            for step in kernel.steps[:-1]:
                files = self._run_step(step, "", known, Output(scratch, {}), scratch)
                known[step.name] = Relation("", tuple(file.path for file in files))
            last = kernel.steps[-1]
            if not last.key:  # all rows at once: nothing to spread
                return self._local.run(Kernel(kernel.table, (last,)), known, output)
            with _job_folder(output.folder) as folder:
                files = self._run_step(last, kernel.table, known, replace(output, folder=folder), scratch)
                written = _files_with_rows(files)
                _remove_others(folder, [path for _, _, path in written])
        return written

    def each(self, function: Callable[[date, str], T], days: Sequence[date], run_id: str) -> list[T]:
        """Call a function with each day and the id of a run folder of that attempt; return the results in order.

        Raises the ``InputError`` of the earliest day that has one.
        """
        with self._scratch() as scratch, _job_folder(self.store.work / RUNS / run_id) as folder:
            call = partial(_call, function, f"{run_id}/{folder.name}")
            results = run_chain(
                self.settings.beam,
                [(day.toordinal(), None) for day in days],
                lambda days_: days_ | "by day" >> beam.GroupByKey() | "call" >> beam.Map(call),
                scratch,
            )
            require_each_once("days", (day for day, _, _ in results), sorted(day.toordinal() for day in days))
            found = {day: result for day, _, result in results}
            in_order = [_result_or_raise(found[day.toordinal()]) for day in days]
            _remove_other_attempts(folder, {attempt for _, attempt, _ in results})
        return in_order

    @property
    def storage(self) -> Storage:
        """What a worker may use: one thread, for a machine runs as many workers as it has cores."""
        return self.settings.store.model_copy(update={"threads": 1})

    @property
    def _local(self) -> LocalEngine:
        return LocalEngine(self.settings.store, self.store)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder that all workers see, for what is not needed afterwards."""
        folder = self.store.scratch / fresh_name("beam")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run_step(
        self, step: Step, table: str, relations: Mapping[str, Relation], output: Output, scratch: Path
    ) -> list[BucketFile]:
        """Run a step over buckets; return the files of the result. There is at least one, and one for each day."""
        num_buckets = self.settings.beam.buckets
        shards: list[Shard] = []
        for name in step.split:
            shards += plan_shards(name, relations[name], num_buckets, len(shards))
        job = Job(
            step, table, output, relations, self.storage, self.store, scratch, num_buckets, len(shards)
        )  # fmt: skip
        results = run_chain(self.settings.beam, shards, partial(_chain, job), scratch)
        require_each_once(
            f"{step.name}: buckets", (bucket for bucket, _ in results), range(len(results) and num_buckets)
        )
        files = [file for _, files in results for file in files]
        return files or run_bucket(replace(job, num_buckets=1, num_shards=0), load_fold(step), (0, ()))[1]


def _chain(job: Job, shards: beam.PCollection) -> beam.PCollection:
    """Shards to bucket files, and these to files of the result."""
    pieces = shards | "split" >> beam.FlatMap(telling(job.scratch, partial(split_shard, job)))
    buckets = pieces | "by bucket" >> beam.GroupByKey()
    if job.step.load is not None:
        from pipelines.beam_inference import infer  # takes seconds to import, and other workers need it not

        load, run = telling(job.scratch, job.step.load), telling(job.scratch, partial(run_bucket, job))
        return infer(buckets, load, run)
    return buckets | "run" >> beam.Map(telling(job.scratch, partial(run_bucket, job, job.step.fold)))


def _call(function: Callable[[date, str], Any], run_id: str, keyed: tuple[int, Any]) -> tuple[int, str, Any]:
    """Call a function in a run folder of this attempt; an ``InputError`` is a result, which the caller raises."""
    attempt = fresh_name("bundle")
    try:
        return keyed[0], attempt, function(date.fromordinal(keyed[0]), f"{run_id}/{attempt}")
    except InputError as error:
        return keyed[0], attempt, error


def _result_or_raise(result: T) -> T:
    if isinstance(result, InputError):
        raise result
    return result


@contextmanager
def _job_folder(folder: Path) -> Iterator[Path]:
    """A folder for the attempts of one pipeline; if it fails, they are removed."""
    job = folder / fresh_name("job")
    try:
        yield job
    except BaseException:
        shutil.rmtree(job, ignore_errors=True)
        raise


def _remove_other_attempts(folder: Path, counted: Collection[str]) -> None:
    for attempt in folder.glob("bundle-*"):
        if attempt.name not in counted:
            shutil.rmtree(attempt)


def _remove_others(folder: Path, counted: Collection[Path]) -> None:
    """Remove what attempts wrote that do not count, and files without rows that no one needs."""
    _remove_other_attempts(folder, {path.parent.name for path in counted})
    for path in folder.glob("bundle-*/*"):
        if path not in counted:
            path.unlink()


def _files_with_rows(files: Sequence[BucketFile]) -> list[tuple[date, str, Path]]:
    """Day, slice and path, in order; of a day without rows, one file without rows."""
    kept: dict[date, list[BucketFile]] = {}
    for file in sorted(files, key=lambda file: (str(file.day), file.slice)):
        assert file.day is not None, f"{file.path} is the result of a step in between"
        of_day = kept.setdefault(file.day, [])
        if file.num_rows and of_day and not of_day[0].num_rows:
            of_day.clear()
        if file.num_rows or not of_day:
            of_day.append(file)
    return [(day, file.slice, Path(file.path)) for day, of_day in kept.items() for file in of_day]
