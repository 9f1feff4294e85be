"""How every stage runs: build into the run folder, validate, and only then publish."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final

import dagster as dg

from assets.asset_checks import check_results
from assets.checkpoints import CheckpointReport, run_checkpoint
from assets.measurement import Measurement
from assets.presentation import table_metadata
from assets.stages import Stage
from pipelines.contracts import CONTRACTS
from pipelines.engine import scan_parts
from pipelines.errors import InputError
from pipelines.expectations import COMPANIONS, MOST_EARLIER_NIGHTS, Expectation
from pipelines.night import Night
from pipelines.scoring import subjects_sql
from pipelines.settings import Settings
from pipelines.store import Part, Store, Write

VALIDATION: Final = "validation"
_log = logging.getLogger("nightly")

Suites = Mapping[str, Sequence[Expectation]]


def night_of(context: dg.AssetExecutionContext, settings: Settings) -> Night:
    """The night, or range of days, that a run is for."""
    days = context.partition_key_range
    attempt = f"{context.run.run_id}-{context.retry_number}"
    first, day = date.fromisoformat(days.start), date.fromisoformat(days.end)
    store = settings.open_store()
    return Night(settings, store, first, day, attempt, seen=store.version())


def run_stage(
    context: dg.AssetExecutionContext, settings: Settings, stage: Stage, suites: Suites
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Run a stage of a night: its checks are reported one by one, and a failing one stops the night unpublished."""
    night = night_of(context, settings)
    with Measurement() as measured:
        with _errors_told(night, stage):
            writes = stage.build(night)
        reports = {
            asset: _validate(night, asset, table, writes, suites[asset]) for asset, table in stage.tables.items()
        }
    for asset, report in reports.items():
        yield from check_results(report, dg.AssetKey(asset))
    failed = [report for report in reports.values() if not report.passed]
    if failed:
        raise dg.Failure("\n".join(report.message() for report in failed), allow_retries=False)
    with _errors_told(night, stage):
        night.store.publish(writes, seen=night.seen, run=night.run_id)
    _tell(night, stage, writes, reports, measured)
    for asset, table in stage.tables.items():
        yield dg.MaterializeResult(asset, metadata=_metadata(night, table, writes, reports[asset], measured))


@contextmanager
def _errors_told(night: Night, stage: Stage) -> Iterator[None]:
    """Say which stage of which night stopped, and why; to try again would not help."""
    try:
        yield
    except InputError as error:
        raise dg.Failure(f"{stage.name}, night {night.day}: {error}", allow_retries=False) from error


def _validate(
    night: Night, asset: str, table: str, writes: Sequence[Write], expectations: Sequence[Expectation]
) -> CheckpointReport:
    return run_checkpoint(
        CONTRACTS[table],
        expectations,
        _views(night, table, writes),
        night.day,
        docs_root(night.store),
        storage=night.settings.store,
        scratch=night.store.scratch,
        name=asset,
    )


def docs_root(store: Store) -> Path:
    """Folder of the suites, the results and the Data Docs."""
    return store.work / VALIDATION


def docs_index(store: Store) -> Path:
    """First page of the Data Docs."""
    return docs_root(store) / "data_docs" / "index.html"


def _views(night: Night, table: str, writes: Sequence[Write]) -> dict[str, str]:
    """The staged table as ``batch``, and what its expectations compare it with."""
    needed = COMPANIONS.get(table, ())
    first = ("sessions",) if "expected_subjects" in needed else ()
    companions = {name: _companion(night, name, writes) for name in (*first, *needed)}
    return companions | {"batch": _staged(night, table, writes)}


def _companion(night: Night, name: str, writes: Sequence[Write]) -> str:
    """SELECT of a view that an expectation names."""
    kind, _, table = name.partition("_")
    if kind == "staged":
        return _staged(night, table, writes)
    if kind == "previous":
        return scan_parts(night.store, table, night.previous(table))
    if kind == "earlier":
        return scan_parts(night.store, table, night.earlier(table, MOST_EARLIER_NIGHTS))
    if kind == "other":
        return scan_parts(night.store, table, night.others(table))
    if kind == "former":
        return scan_parts(night.store, table, night.current(table))
    return subjects_sql(night) if name == "expected_subjects" else night.published(name)


def _staged(night: Night, table: str, writes: Sequence[Write]) -> str:
    (write,) = (write for write in writes if write.table == table)
    return scan_parts(night.store, table, write.parts)


def _of_night(night: Night, table: str, writes: Sequence[Write]) -> list[Part]:
    """The staged parts; of snapshots those of this night, though older ones may have been brought up to date."""
    parts = [part for write in writes if write.table == table for part in write.parts]
    is_snapshot = CONTRACTS[table].snapshot
    return [part for part in parts if not is_snapshot or part.partition == night.day.isoformat()]


def _metadata(
    night: Night, table: str, writes: Sequence[Write], report: CheckpointReport, measured: Measurement
) -> dict[str, Any]:
    views = {
        "interactions": night.published("interactions"),
        "batch": scan_parts(night.store, table, _of_night(night, table, writes)),
    }
    with night.connect() as con:
        # Dagster stores the metadata of a range once for each of its days: too often for a picture.
        metadata = table_metadata(con, CONTRACTS[table], views, with_plot=night.first == night.day)
    metadata["stage_seconds"] = round(measured.seconds, 2)
    metadata["stage_peak_mib"] = round(measured.peak_mib)
    if report.page:
        metadata["data_docs"] = dg.MetadataValue.path(report.page)
    return metadata


def _tell(
    night: Night, stage: Stage, writes: Sequence[Write], reports: Mapping[str, CheckpointReport], measured: Measurement
) -> None:
    """One line of progress for the terminal, and a line for each warning."""
    rows = sum(part.num_rows for part in _of_night(night, stage.tables[stage.name], writes))
    checks = sum(len(report.verdicts) for report in reports.values())
    _log.info(
        "%s  %-20s %10s rows  %3d checks  %6.1f s  %5.0f MiB",
        night.day, stage.name, f"{rows:,}", checks, measured.seconds, measured.peak_mib,
    )  # fmt: skip
    for report in reports.values():
        if report.warnings:
            _log.warning("%s", report.message())
