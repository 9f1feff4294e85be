"""A broken input stops at its stage, says what and where, and leaves the night before it in every query."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import night_run
from assets.checkpoints import CheckpointReport
from pipelines.log_stages import build_sessions
from pipelines.night import Night
from pipelines.query import run_query
from pipelines.settings import Settings
from pipelines.store import Write
from pipelines.views import FILE_NAME
from tests.assets.small_shop import LAST_NIGHT, NEXT_NIGHT, copy_shop, run_night, write_next_day


@pytest.fixture
def shop(shop_folder: Path, tmp_path: Path) -> Settings:
    return copy_shop(shop_folder, tmp_path / "shop")


def change_rows(path: Path, change: Callable[[int, dict[str, Any]], object]) -> None:
    """Apply a change to every row of a JSON-lines file that can be parsed."""
    lines = []
    for number, line in enumerate(path.read_text().splitlines()):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            lines.append(line)
            continue
        change(number, row)
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")


def truncated_gzip(log: Path, catalogue: Path) -> None:
    packed = gzip.compress(log.read_bytes())
    log.with_suffix(".jsonl.gz").write_bytes(packed[: len(packed) // 2])
    log.unlink()


def missing_column(log: Path, catalogue: Path) -> None:
    change_rows(log, lambda number, row: row.update(sku=row.pop("item")))


def all_null_users(log: Path, catalogue: Path) -> None:
    change_rows(log, lambda number, row: row.update(user=None, session=row["session"] or "s"))


def duplicate_file(log: Path, catalogue: Path) -> None:
    shutil.copyfile(log.with_name(f"events-{LAST_NIGHT}.jsonl"), log)


def a_tenth_in_the_future(log: Path, catalogue: Path) -> None:
    change_rows(log, lambda number, row: row.update(time="2031-01-01T00:00:00Z") if number % 10 == 0 else None)


def price_is_text(log: Path, catalogue: Path) -> None:
    change_rows(catalogue, lambda number, row: row.update(price="ask us"))


FAULTS: dict[Callable[[Path, Path], None], tuple[str, str]] = {
    truncated_gzip: ("interactions", r"truncated or damaged.*events-2026-01-06\.jsonl\.gz.*deliver the file again"),
    missing_column: ("interactions", r"mapped column is missing.*events-2026-01-06\.jsonl.*value:   item\n.*sku"),
    all_null_users: ("interactions", r"interactions, night 2026-01-06: .*without a user"),
    duplicate_file: ("interactions", r"already ingested under another name.*events-2026-01-06.*events-2026-01-05"),
    a_tenth_in_the_future: (
        "interactions",
        r"quarantine, night 2026-01-06: .*no_reason_takes_too_many_rows.*in_the_future",
    ),
    price_is_text: ("items", r"prices in the catalogue are no numbers.*catalogue-2026-01-06\.jsonl, row 1\n.*ask us"),
}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Description of the failure by step."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            user = event.step_failure_data.user_failure_data
            assert user is not None, event.step_failure_data.error_display_string
            found[event.step_key] = user.description or ""
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_stops_at_its_stage_and_yesterday_is_still_served(
    shop: Settings, fault: Callable[[Path, Path], None]
) -> None:
    views = shop.work_folder / FILE_NAME
    before = run_query(views, "top_for_some_users", {})
    fault(*write_next_day(shop))
    result = run_night(shop, NEXT_NIGHT)
    stage, message = FAULTS[fault]
    found = failures(result)
    assert list(found) == [stage]
    assert re.search(message, found[stage], re.DOTALL), found[stage]
    done = {event.step_key for event in result.all_events if event.is_step_success}
    assert done <= ({"interactions", "sessions", "interval_uniformity"} if stage == "items" else set())
    assert shop.open_store().partitions("recommendations")[-1] == LAST_NIGHT
    assert run_query(views, "top_for_some_users", {}) == before


def test_failed_checks_are_recorded_and_the_asset_is_not_materialised(shop: Settings) -> None:
    a_tenth_in_the_future(*write_next_day(shop))
    result = run_night(shop, NEXT_NIGHT)
    checks = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not checks["no_reason_takes_too_many_rows"].passed
    assert checks["nothing_is_lost"].passed
    assert not result.asset_materializations_for_node("interactions")


def test_a_run_that_another_one_overtook_is_told_and_leaves_what_is_published(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a stage is validated, another run publishes other sessions of the same days."""
    validate = night_run._validate

    def overtaken(night: Night, asset: str, *arguments: Any) -> CheckpointReport:
        if asset == "sessions":
            sessions = night.settings.sessions.model_copy(update={"gap_minutes": 1})
            other = replace(night, settings=night.settings.model_copy(update={"sessions": sessions}), run_id="other")
            night.store.publish(build_sessions(other), run="other")
        return validate(night, asset, *arguments)

    monkeypatch.setattr(night_run, "_validate", overtaken)
    result = run_night(shop, LAST_NIGHT)
    found = failures(result)
    assert list(found) == ["sessions"]
    told = rf"sessions, night {LAST_NIGHT}: another run published sessions of .* in the meantime.*by run other"
    assert re.search(told, found["sessions"], re.DOTALL), found["sessions"]
    store = shop.open_store()
    assert {part.path.split("/")[1] for part in store.parts("sessions", since=LAST_NIGHT)} == {"other"}


def test_a_night_whose_input_was_mended_runs_and_is_published(shop: Settings) -> None:
    log, catalogue = write_next_day(shop)
    good = log.read_bytes()
    missing_column(log, catalogue)
    assert not run_night(shop, NEXT_NIGHT).success
    log.write_bytes(good)
    assert run_night(shop, NEXT_NIGHT).success
    assert shop.open_store().partitions("recommendations")[-1] == NEXT_NIGHT


def test_a_day_without_a_file_is_a_night_without_events(shop: Settings) -> None:
    result = run_night(shop, NEXT_NIGHT)
    assert result.success
    store = shop.open_store()
    assert [part.num_rows for part in store.parts("interactions", since=NEXT_NIGHT)] == [0]
    assert sum(part.num_rows for part in store.parts("recommendations", since=NEXT_NIGHT)) > 0


def test_a_night_that_runs_again_writes_the_same_bytes(shop: Settings) -> None:
    def digests() -> dict[str, list[tuple[str, str, str]]]:
        store = shop.open_store()
        tables = (
            "interactions",
            "quarantine",
            "items",
            "sessions",
            "item_frequency",
            "item_users",
            "interval_uniformity",
            "item_neighbours",
            "metadata_vocabulary",
            "training_sequences",
            "checkpoints",
            "recommendations",
            "metrics",
        )
        return {t: [(p.partition, p.slice, p.sha256) for p in store.parts(t)] for t in tables}

    before = digests()
    assert run_night(shop, LAST_NIGHT).success
    assert digests() == before


def test_every_table_in_the_interface_has_its_rows_its_columns_and_its_checks(shop: Settings) -> None:
    result = run_night(shop, LAST_NIGHT)
    for asset in ("interactions", "trained_markov", "recommendations"):
        (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(asset)]
        metadata = event.materialization.metadata
        assert int(str(metadata["dagster/row_count"].value)) > 0
        assert Path(str(metadata["data_docs"].value)).exists()
        assert "|" in str(metadata["sample"].value)
    evaluated = {(e.asset_key.to_user_string(), e.check_name) for e in result.get_asset_check_evaluations()}
    assert ("recommendations", "columns_match_the_contract") in evaluated


def test_the_interface_shows_the_snapshot_of_the_night_and_no_older_one_that_was_made_again(shop: Settings) -> None:
    store = shop.open_store()
    store.publish([Write("item_frequency", ())])
    result = run_night(shop, LAST_NIGHT)
    assert len(store.partitions("item_frequency")) > 1
    (tonight,) = store.parts("item_frequency", since=LAST_NIGHT)
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey("item_frequency")]
    assert event.materialization.metadata["dagster/row_count"].value == tonight.num_rows
