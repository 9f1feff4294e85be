"""One run of Great Expectations: expectations as data in, one verdict per expectation out.

Importing this module imports Great Expectations, which takes seconds: do it inside functions only.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from html import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import great_expectations as gx
from great_expectations.checkpoint import CheckpointResult
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext
from great_expectations.datasource.fluent.sql_datasource import TableAsset
from sqlalchemy import URL

from assets.checkpoint_report import CheckpointReport, Verdict
from assets.gx_duckdb import DRIVER
from assets.gx_no_rows import NoRows, gx_query, json_value
from assets.gx_project import forget_old_nights, open_project, render_pages, run_of
from pipelines.engine import identifier
from pipelines.expectations import Expectation
from pipelines.settings import Storage


def run(
    table: str,
    expectations: Sequence[Expectation],
    views: Mapping[str, str],
    night: date,
    docs_root: Path,
    storage: Storage,
    scratch: Path,
) -> CheckpointReport:
    """Run the expectations over ``views["batch"]``; see ``assets.checkpoints.run_checkpoint``."""
    names = [expectation.name for expectation in expectations]
    assert len(set(names)) == len(names), f"{table}: names of expectations repeat: {names}"
    context = open_project(docs_root)
    with _batch(context, table, views, storage, scratch) as batch:
        found = _checkpoint(context, batch, expectations).run(run_id=run_of(night))
    (key,) = found.run_results
    page = render_pages(context, key)
    forget_old_nights(docs_root, table)
    return CheckpointReport(table, night, _verdicts(expectations, found), page)


@contextmanager
def _batch(
    context: EphemeralDataContext, table: str, views: Mapping[str, str], storage: Storage, scratch: Path
) -> Iterator[TableAsset]:
    """Create the views in a DuckDB of this run alone; Great Expectations connects to it more than once, by its name."""
    limits = {"memory_limit": storage.memory_limit, "threads": str(storage.threads), "temp_directory": str(scratch)}
    url = URL.create(DRIVER.replace(".", "+"), database=f":memory:{uuid4().hex}", query=limits)
    source = context.data_sources.add_sql(name="store", connection_string=url.render_as_string())
    engines = source.get_execution_engine().engine, source.get_engine()
    try:
        with engines[0].connect() as connection:
            for name, select in views.items():
                connection.exec_driver_sql(f"create view {identifier(name)} as {select}")
            connection.commit()
        yield source.add_table_asset(name=table, table_name="batch")
    finally:
        for engine in engines:
            engine.dispose()


def _checkpoint(context: EphemeralDataContext, batch: TableAsset, expectations: Sequence[Expectation]) -> gx.Checkpoint:
    """Store suite, validation definition and checkpoint of a table, in place of what was stored before."""
    suite = gx.ExpectationSuite(name=batch.name, expectations=[_gx_expectation(e) for e in expectations])
    definition = gx.ValidationDefinition(
        name=batch.name,
        data=batch.add_batch_definition("all rows"),
        suite=context.suites.add_or_update(suite),
    )
    stored = context.validation_definitions.add_or_update(definition)
    checkpoint = gx.Checkpoint(name=batch.name, validation_definitions=[stored], result_format="SUMMARY")
    return context.checkpoints.add_or_update(checkpoint)


def _gx_expectation(expectation: Expectation) -> Any:
    kind: Any = getattr(gx.expectations, expectation.kind)
    arguments = dict(expectation.arguments)
    if kind is gx.expectations.UnexpectedRowsExpectation:
        query = arguments["unexpected_rows_query"]
        kind, arguments = NoRows, {"unexpected_rows_query": gx_query(query), "proof": gx_query(expectation.proof)}
    severity = "critical" if expectation.severity == "error" else "warning"
    description, meta = escape(expectation.meaning), {"name": expectation.name}
    return kind(**arguments, description=description, severity=severity, meta=meta)


def _verdicts(expectations: Sequence[Expectation], found: CheckpointResult) -> tuple[Verdict, ...]:
    (suite_result,) = found.run_results.values()
    results = {r.expectation_config.meta["name"]: r for r in suite_result.results if r.expectation_config}
    return tuple(_verdict(expectation, results[expectation.name]) for expectation in expectations)


def _verdict(expectation: Expectation, result: ExpectationValidationResult) -> Verdict:
    problem = _exception(result.exception_info)
    rows = result.result.get("details", {}).get("unexpected_rows", [])
    return Verdict(
        name=expectation.name,
        meaning=expectation.meaning,
        severity=expectation.severity,
        passed=bool(result.success) and problem is None,
        observed=f"could not be evaluated: {problem}" if problem else _observed(expectation, result.result),
        samples=tuple(rows[:3]),
    )


def _observed(expectation: Expectation, result: Mapping[str, Any]) -> str:
    value = result.get("observed_value", result.get("unexpected_count"))
    if expectation.kind == "UnexpectedRowsExpectation":
        return "no such row" if value == 0 else f"{value} unexpected row{'' if value == 1 else 's'}"
    if isinstance(value, list):
        return ", ".join(str(json_value(item)) for item in value)
    return str(json_value(value))


def _exception(info: Mapping[str, Any] | None) -> str | None:
    """The text of what was raised; Great Expectations nests it under the metric that raised it."""
    if not info:
        return None
    nested = [info] if "raised_exception" in info else [part for part in info.values() if isinstance(part, dict)]
    raised = [str(part.get("exception_message")).strip() for part in nested if part.get("raised_exception")]
    return raised[0] if raised else None
