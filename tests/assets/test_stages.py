from dataclasses import replace
from pathlib import Path

import pytest

from assets.stages import all_stages
from models.popular import Popular
from models.registry import model_class
from pipelines.contracts import CONTRACTS
from tests.assets.small_shop import shop_settings


def test_every_contract_is_written_by_some_stage() -> None:
    written = {table for stage in all_stages(shop_settings(Path("/"))) for table in stage.tables.values()}
    assert written == set(CONTRACTS)


def test_a_stage_comes_after_all_that_it_reads() -> None:
    made: set[str] = set()
    for stage in all_stages(shop_settings(Path("/"))):
        assert set(stage.after) <= made, stage.name
        made |= set(stage.tables)


def test_there_is_one_training_stage_a_model_and_all_of_them_feed_what_is_served() -> None:
    stages = {stage.name: stage for stage in all_stages(shop_settings(Path("/")))}
    assert {name for name in stages if name.startswith("trained_")} == {"trained_popular", "trained_markov"}
    assert set(stages["recommendations"].after) == {"trained_popular", "trained_markov"}


def test_a_model_of_statistics_is_trained_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Statistician(Popular):
        capabilities = replace(Popular.capabilities, uses_statistics=True)

    classes = {"popular": Statistician, "markov": model_class("markov")}
    monkeypatch.setattr("assets.stages.model_class", classes.__getitem__)
    after = {stage.name: set(stage.after) for stage in all_stages(shop_settings(Path("/")))}
    assert after["trained_popular"] == {"training_sequences", "item_neighbours", "interval_uniformity"}
    assert after["trained_markov"] == {"training_sequences"}


def test_only_stages_that_read_no_former_night_model_take_a_range() -> None:
    in_range = {stage.name for stage in all_stages(shop_settings(Path("/"))) if stage.takes_range}
    assert in_range == {
        "interactions",
        "items",
        "sessions",
        "item_frequency",
        "interval_uniformity",
        "item_neighbours",
    }
