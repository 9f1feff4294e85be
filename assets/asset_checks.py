"""Checkpoints as Dagster asset checks: one check per expectation, blocking where it is an error.

An asset that judges its own table declares ``check_specs`` and, before it publishes, does::

    yield from check_results(report, asset_key)
    if not report.passed:
        raise dagster.Failure(report.message(), allow_retries=False)

Dagster then records every check, failed ones too, leaves the asset unmaterialised and does not run what depends on it.
Yield the results of all checks before raising: a check without a result stays "planned" for ever. Returning the results
with a ``MaterializeResult`` instead would fail the step as well, but only after recording the asset as materialised.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.checkpoint_report import CheckpointReport, Verdict
from pipelines.expectations import Expectation


def check_specs(table: str, expectations: Sequence[Expectation]) -> list[dg.AssetCheckSpec]:
    """Declare the checks of the asset that bears the table's name."""
    return [
        dg.AssetCheckSpec(
            name=expectation.name,
            asset=table,
            description=expectation.meaning,
            blocking=expectation.severity == "error",
        )
        for expectation in expectations
    ]


def check_results(report: CheckpointReport, asset_key: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
    """Tell Dagster every verdict, with what was observed, rows that show it, and the page in the Data Docs."""
    for verdict in report.verdicts:
        yield dg.AssetCheckResult(
            asset_key=asset_key,
            check_name=verdict.name,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR if verdict.severity == "error" else dg.AssetCheckSeverity.WARN,
            description=verdict.observed,
            metadata=_metadata(report, verdict),
        )


def _metadata(report: CheckpointReport, verdict: Verdict) -> dict[str, dg.MetadataValue]:
    metadata: dict[str, dg.MetadataValue] = {
        "night": dg.MetadataValue.text(report.night.isoformat()),
        "meaning": dg.MetadataValue.text(verdict.meaning),
        "observed": dg.MetadataValue.text(verdict.observed),
    }
    if verdict.samples:
        metadata["samples"] = dg.MetadataValue.json([dict(row) for row in verdict.samples])
    if report.page:
        metadata["data_docs"] = dg.MetadataValue.path(report.page)
    return metadata
