import importlib

import dagster as dg
import pytest

import assets.definitions


def test_the_code_location_follows_the_settings_file_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLY_SETTINGS", "configs/online_retail.toml")
    loaded = importlib.reload(assets.definitions)
    schedule = loaded.defs.resolve_schedule_def("every_night")
    assert schedule.execution_timezone == "Europe/London"


def test_without_a_setting_it_is_the_sample_shop_and_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTLY_SETTINGS", raising=False)
    loaded = importlib.reload(assets.definitions)
    dg.Definitions.validate_loadable(loaded.defs)
    assert dg.AssetKey("trained_sasrec") in loaded.defs.resolve_asset_graph().get_all_asset_keys()
