from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from assets.deployment import build_definitions
from pipelines.errors import InputError
from tests.assets.small_shop import shop_settings

ZONE = ZoneInfo("America/New_York")


@pytest.fixture
def definitions() -> dg.Definitions:
    settings = shop_settings(Path("/"))
    nights = settings.nights.model_copy(update={"time_zone": ZONE.key, "schedule": "15 3 * * *"})
    return build_definitions(settings.model_copy(update={"nights": nights}))


def test_the_schedule_runs_the_night_that_has_just_ended_in_the_zone_of_the_nights(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("every_night")
    assert schedule.cron_schedule == "15 3 * * *"
    assert schedule.execution_timezone == ZONE.key
    for day, night in (("2026-03-09", "2026-03-08"), ("2026-11-02", "2026-11-01")):
        tick = datetime.fromisoformat(f"{day}T03:15").replace(tzinfo=ZONE)
        repository = definitions.get_repository_def()
        with dg.build_schedule_context(scheduled_execution_time=tick, repository_def=repository) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or ()
        assert request.partition_key == night


def test_the_schedule_is_off_until_somebody_turns_it_on(definitions: dg.Definitions) -> None:
    assert definitions.resolve_schedule_def("every_night").default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_asset_graph_is_this(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(p.to_user_string() for p in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "source_files": [],
        "interactions": [],
        "quarantine": [],
        "item_observations": [],
        "items": ["item_observations"],
        "sessions": ["interactions"],
        "item_frequency": ["items", "sessions"],
        "item_users": ["items", "sessions"],
        "interval_uniformity": ["sessions"],
        "item_neighbours": ["item_frequency"],
        "metadata_vocabulary": ["items"],
        "training_sequences": ["metadata_vocabulary", "sessions"],
        "trained_popular": ["training_sequences"],
        "trained_markov": ["training_sequences"],
        "metrics": ["interval_uniformity", "trained_markov", "trained_popular"],
        "recommendations": ["trained_markov", "trained_popular"],
        "related_items": ["trained_markov", "trained_popular"],
        "published_views": [
            "item_neighbours",
            "item_users",
            "metrics",
            "quarantine",
            "recommendations",
            "related_items",
            "source_files",
        ],
    }


def test_every_check_but_the_one_that_warns_blocks_what_comes_after(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert len(specs) > 50
    assert [spec.name for spec in specs if not spec.blocking] == ["behaviour_is_as_familiar_as_before"]


def test_a_schedule_that_is_no_cron_is_refused_when_the_deployment_is_built() -> None:
    settings = shop_settings(Path("/"))
    nights = settings.nights.model_copy(update={"schedule": "every day"})
    with pytest.raises(InputError, match=r"nights\.schedule is no cron schedule"):
        build_definitions(settings.model_copy(update={"nights": nights}))
