"""Run the nights that are due, in this process, through the real Dagster job: ``python -m assets.run --settings FILE``.

The first call loads the history as one backfill and then runs the last nights one by one; later calls run what is
missing, from the first day that has an unread file on. With nothing missing, the last night runs again, which changes
nothing unless its input changed.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import (  # the public way to ask for a range is the UI alone
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from assets.deployment import BACKFILL_JOB, NIGHTLY_JOB, build_definitions
from assets.night_run import docs_index
from assets.sole_run import FROM_COMMAND_LINE, close_orphans, sole_run
from pipelines.errors import InputError
from pipelines.ledger import read_files
from pipelines.query import console, print_answer, run_query
from pipelines.settings import Settings
from pipelines.settings_file import load_settings
from pipelines.sources import day_files
from pipelines.views import FILE_NAME

ONE_DAY = timedelta(days=1)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Plan:
    """What is due: a range of history (both ends, or None), then single nights."""

    history: tuple[date, date] | None
    nights: tuple[date, ...]


def plan_nights(settings: Settings, until: date | None = None, run_last: int | None = None) -> Plan:
    """Work out which nights are due, up to the newest raw file or ``until``.

    ``run_last`` replaces the number of the settings. Raises ``InputError`` if there is no file in that time.
    """
    found = day_files(settings.events.path, settings.folder)
    files = {day: names for day, names in found.items() if settings.nights.first <= day <= (until or day)}
    if not files:
        raise InputError(
            "there is no raw file to run a night for",
            where=settings.path_of(settings.events.path),
            value=f"from {settings.nights.first}" + (f" until {until}" if until else ""),
            allowed="at least one file from nights.first on",
            fix="set nights.first to the day of your oldest file",
        )
    last = until or max(files)
    start = min(first_due(settings, files), last)
    single = run_last or settings.nights.run_last
    first_single = max(start, last - ONE_DAY * (single - 1))
    nights = tuple(first_single + ONE_DAY * n for n in range((last - first_single).days + 1))
    history = (start, first_single - ONE_DAY) if start < first_single else None
    return Plan(history, nights)


def first_due(settings: Settings, files: Mapping[date, Sequence[str]]) -> date:
    """The day after the newest complete night, or an earlier one with a file that is new, or of another size by now."""
    done = settings.open_store().partitions("recommendations", until=max(files))
    read = read_files(settings)
    unread = [
        day
        for day, names in files.items()
        if not read.issuperset((day, name, settings.path_of(name).stat().st_size) for name in names)
    ]
    return min([done[-1] + ONE_DAY if done else min(files), *unread])


def from_night(settings: Settings, night: date) -> Plan:
    """That night and all complete ones after it, for each night reads the one before."""
    done = settings.open_store().partitions("recommendations")
    last = max([night, *done])
    return Plan(None, tuple(night + ONE_DAY * n for n in range((last - night).days + 1)))


def run_plan(settings: Settings, plan: Plan, instance: dg.DagsterInstance) -> bool:
    """Run what is due, stopping at the first night that fails; tell whether all went well."""
    definitions = build_definitions(settings)
    if plan.history:
        first, last = (day.isoformat() for day in plan.history)
        logging.getLogger("nightly").info("history %s to %s", first, last)
        tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last, **FROM_COMMAND_LINE}
        job = definitions.resolve_job_def(BACKFILL_JOB)
        if not _succeeded(job.execute_in_process(QUIET, instance, tags=tags, raise_on_error=False)):
            return False
    job = definitions.resolve_job_def(NIGHTLY_JOB)
    for night in plan.nights:
        result = job.execute_in_process(
            QUIET, instance, partition_key=night.isoformat(), tags=FROM_COMMAND_LINE, raise_on_error=False
        )
        if not _succeeded(result):
            return False
    return True


def _succeeded(result: dg.ExecuteInProcessResult) -> bool:
    """Tell whether a run went well; print why a stage failed."""
    for event in result.all_events:
        failure = event.step_failure_data if event.is_step_failure else None
        if failure is None:
            continue
        told = failure.user_failure_data.description if failure.user_failure_data else None
        error = failure.error_display_string
        print(f"\nSTOPPED at {event.step_key}\n{told or error}", file=sys.stderr)
    return result.success


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 if every night was published, 1 if a stage stopped one, 2 for wrong input."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("nightly").setLevel(logging.INFO)
    _find_dagster_home(chosen.settings)
    try:
        settings = load_settings(chosen.settings)
        with sole_run(settings.work_folder):
            due = from_night(settings, chosen.night) if chosen.night else None
            return _run(settings, due or plan_nights(settings, chosen.until, chosen.nights))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _run(settings: Settings, plan: Plan) -> int:
    began = time.perf_counter()
    with dg.DagsterInstance.get() as instance:
        close_orphans(instance)
        succeeded = run_plan(settings, plan, instance)
    if not succeeded:
        served = (settings.work_folder / FILE_NAME).exists()
        before = "every query still shows what was published before" if served else "there is no complete night yet"
        print(f"\nThat night is not served: {before}.", file=sys.stderr)
        return 1
    _summarise(settings, time.perf_counter() - began)
    return 0


def _find_dagster_home(settings: Path) -> None:
    """Do what the Makefile does, for a call without it: this project's dagster.yaml, and a history of its own."""
    home = Path(__file__).parent.parent
    os.environ.setdefault("DAGSTER_HOME", str(home))
    os.environ.setdefault("NIGHTLY_DAGSTER_STORAGE", str(home / ".dagster" / settings.stem))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run the nights that are due.")
    parser.add_argument("--settings", type=Path, required=True, help="settings of the deployment")
    parser.add_argument("--until", type=date.fromisoformat, help="newest night to run (default: the newest raw file)")
    parser.add_argument("--nights", type=int, help="how many nights run one by one (default: nights.run_last)")
    parser.add_argument("--night", type=date.fromisoformat, help="run this night, and again the nights after it")
    return parser


def _summarise(settings: Settings, seconds: float) -> None:
    """Say where the tables lie, and show the leaderboard and a few lists."""
    views = settings.work_folder / FILE_NAME
    print(f"\nDone in {seconds:.0f} s.\n")
    store = settings.open_store()
    print(f"Tables     {store.root}")
    print(f"DuckDB     {views}")
    print(f"Data Docs  {docs_index(store)}\n")
    print("Leaderboard: models that had not seen the last two nights were asked for the items of the last one")
    print_answer(console(), *run_query(views, "leaderboard", {}))
    print(f"\nTop recommendations of three users, by {settings.recommendations.serve}")
    print_answer(console(), *run_query(views, "top_for_some_users", {}))


if __name__ == "__main__":
    code = main()
    # At a normal exit DuckDB's bindings print a page of warnings about what Great Expectations still holds of them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
