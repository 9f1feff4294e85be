"""Behaviour that changes overnight is told as a warning, and the night is published all the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from assets.stages import all_stages
from pipelines.night import Night
from pipelines.query import run_query
from pipelines.sample_shop import SampleShop, write_shop
from pipelines.settings import Settings
from pipelines.views import FILE_NAME
from tests.assets.small_shop import run_night, shop_settings

CHECK = "behaviour_is_as_familiar_as_before"
SHOP = SampleShop(num_days=8, num_users=400, num_items=200, num_clusters=20, events_per_day=1000).without_dirt()
*NIGHTS_BEFORE, LAST_NIGHT = SHOP.days[-4:]
AFTER_TRAINING = ("metrics", "recommendations", "related_items", "published_views")


def settings_in(folder: Path) -> Settings:
    """The small shop's settings, for Sparsey alone, in a size that takes no second."""
    training = {"models": {"sparsey": "tiny"}, "settings": {"sparsey": {"num_units": 1024, "choose_weight": False}}}
    given = shop_settings(folder).model_dump() | {"folder": folder, "training": training}
    return Settings.model_validate(given | {"recommendations": given["recommendations"] | {"serve": "sparsey"}})


def make_night(settings: Settings, first: int, last: int) -> None:
    """Make what the evaluation of a night needs, without checkpoints; data stages take the range of days at once."""
    days, store = SHOP.days, settings.open_store()
    for stage in all_stages(settings):
        if not set(stage.tables) & set(AFTER_TRAINING):
            night = Night(
                settings, store, days[first if stage.takes_range else last], days[last], f"{stage.name}-{last}"
            )
            store.publish(stage.build(night))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose nights before the last one were evaluated, and passed."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(SHOP, folder)
    settings = settings_in(folder)
    first = 0
    for night in NIGHTS_BEFORE:
        last = SHOP.day_index(night)
        make_night(settings, first, last)
        first = last + 1
        (check,) = checks(run_night(settings, night, "metrics"))
        assert check.passed
    return folder


def checks(result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    return [evaluation for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == CHECK]


def run_last_night(folder: Path, *assets: str) -> dg.AssetCheckEvaluation:
    """Run these assets of the last night, which has to succeed; return what its check found."""
    settings, last = settings_in(folder), SHOP.day_index(LAST_NIGHT)
    make_night(settings, last, last)
    result = run_night(settings, LAST_NIGHT, *assets)
    assert result.success
    (check,) = checks(result)
    return check


def exchange_items(log: Path) -> None:
    """Put for every item of a log another one of it: each is known, but what goes together is new."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    items = sorted({row["item"] for row in rows})
    others = dict(zip(items, np.random.default_rng(0).permutation(items).tolist(), strict=True))
    log.write_text("".join(json.dumps(row | {"item": others[row["item"]]}) + "\n" for row in rows))


def test_behaviour_that_changes_is_told_with_its_slices_and_the_night_is_published(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = shutil.copytree(folder, tmp_path / "shop")
    exchange_items(changed / f"logs/events-{LAST_NIGHT}.jsonl")
    check = run_last_night(changed, *AFTER_TRAINING)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    rows: Any = check.metadata["samples"].value
    assert ("sparsey", "users", len(NIGHTS_BEFORE)) in {(row["model"], row["slice"], row["num_nights"]) for row in rows}
    for row in rows:
        assert row["value"] <= row["high"] < row["earlier_mean"] - 0.1
        assert row["num_cases"] >= 100
    terminal = "\n".join(record.getMessage() for record in caplog.records)
    assert f"metrics, night {LAST_NIGHT}: 1 of" in terminal
    assert f"{CHECK} (warning)" in terminal
    assert '"slice": "users"' in terminal
    assert "max_familiarity_fall" in Path(str(check.metadata["data_docs"].value)).read_text()
    views = settings_in(changed).work_folder / FILE_NAME
    assert [row[0] for row in run_query(views, "familiarity", {})[1]] == [LAST_NIGHT, *reversed(NIGHTS_BEFORE)]
    assert settings_in(changed).open_store().partitions("recommendations") == [LAST_NIGHT]


def test_behaviour_that_goes_on_as_before_is_told_nowhere(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_last_night(shutil.copytree(folder, tmp_path / "shop"), "metrics").passed
    assert CHECK not in caplog.text
