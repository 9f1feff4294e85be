from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.asset_checks import check_results, check_specs
from assets.checkpoint_report import CheckpointReport, Verdict
from pipelines.expectations import Expectation

KEY = dg.AssetKey("items")
EXPECTATIONS = (
    Expectation("item_id_is_unique", "UnexpectedRowsExpectation", {}, "no two rows share item_id"),
    Expectation("titles_are_short", "UnexpectedRowsExpectation", {}, "titles are short", "warning"),
)


def _report(ids_pass: bool, titles_pass: bool) -> CheckpointReport:
    verdicts = tuple(
        Verdict(e.name, e.meaning, e.severity, passed, "seen", () if passed else ({"item_id": "<A>"},))
        for e, passed in zip(EXPECTATIONS, (ids_pass, titles_pass), strict=True)
    )
    return CheckpointReport("items", date(2026, 1, 3), verdicts, Path("/docs/items.html"))


def _materialize(report: CheckpointReport) -> tuple[dg.ExecuteInProcessResult, dg.DagsterInstance]:
    @dg.asset(key=KEY, check_specs=check_specs("items", EXPECTATIONS))
    def items() -> Iterator[Any]:
        yield from check_results(report, KEY)
        if not report.passed:
            raise dg.Failure(report.message(), allow_retries=False)
        yield dg.MaterializeResult()

    @dg.asset(deps=[items])
    def lists() -> None: ...

    instance = dg.DagsterInstance.ephemeral()
    return dg.materialize([items, lists], instance=instance, raise_on_error=False), instance


def _materialised(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def test_errors_block_and_warnings_do_not() -> None:
    specs = check_specs("items", EXPECTATIONS)
    assert [(spec.asset_key, spec.name, spec.blocking) for spec in specs] == [
        (KEY, "item_id_is_unique", True),
        (KEY, "titles_are_short", False),
    ]
    assert specs[0].description == "no two rows share item_id"


def test_a_failing_check_is_recorded_and_stops_the_asset_and_what_depends_on_it() -> None:
    result, instance = _materialize(_report(ids_pass=False, titles_pass=True))
    assert not result.success
    assert _materialised(result) == set()
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == {
        "item_id_is_unique": False,
        "titles_are_short": True,
    }
    latest = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, "item_id_is_unique"), limit=1
    )
    assert latest[0].status.value == "FAILED"
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "no two rows share item_id" in str(failure.step_failure_data.user_failure_data)


@pytest.mark.parametrize("titles_pass", [True, False])
def test_a_failing_warning_is_recorded_and_stops_nothing(titles_pass: bool) -> None:
    result, _ = _materialize(_report(ids_pass=True, titles_pass=titles_pass))
    assert result.success
    assert _materialised(result) == {"items", "lists"}
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert evaluations["titles_are_short"].passed is titles_pass
    assert evaluations["titles_are_short"].severity is dg.AssetCheckSeverity.WARN


def test_a_result_tells_what_was_expected_what_was_found_and_where_to_look() -> None:
    failed, passed = check_results(_report(ids_pass=False, titles_pass=True), KEY)
    assert failed.metadata == {
        "night": dg.MetadataValue.text("2026-01-03"),
        "meaning": dg.MetadataValue.text("no two rows share item_id"),
        "observed": dg.MetadataValue.text("seen"),
        "samples": dg.MetadataValue.json([{"item_id": "<A>"}]),
        "data_docs": dg.MetadataValue.path("/docs/items.html"),
    }
    assert "samples" not in passed.metadata
