"""A small shop whose nights have run: what the tests of the assets start from."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from assets.run import Plan, plan_nights, run_plan
from pipelines.sample_shop import SampleShop, write_day, write_shop
from pipelines.settings import Settings
from pipelines.views import write_views

SHOP = SampleShop(num_days=5, num_users=60, num_items=40, num_clusters=4, events_per_day=150, new_items_per_day=1)
LAST_NIGHT = SHOP.first_day + timedelta(days=SHOP.num_days - 1)
NEXT_NIGHT = LAST_NIGHT + timedelta(days=1)


def shop_settings(folder: Path) -> Settings:
    """Settings of the small shop, without a model that takes seconds to train."""
    return Settings.model_validate(
        {
            "folder": folder,
            "events": {
                "path": "logs/events-{day}.jsonl*",
                "format": "json",
                "columns": {
                    "user": "user",
                    "session": "session",
                    "item": "item",
                    "time": "time",
                    "event_type": "event",
                },
                "event_types": [
                    {"name": "view", "weight": 1},
                    {"name": "cart", "weight": 2},
                    {"name": "purchase", "weight": 3},
                ],
                "identical_rows": "quarantine",
            },
            "catalogue": {
                "path": "catalogue/catalogue-{day}.jsonl",
                "format": "json",
                "columns": {
                    "id": "id",
                    "title": "title",
                    "category": "category",
                    "brand": "brand",
                    "price": "price",
                    "attributes": {"colour": "attributes.colour"},
                },
            },
            "nights": {"first": SHOP.first_day, "run_last": 2},
            "training": {"models": {"popular": "tiny", "markov": "tiny"}},
            "recommendations": {"k": 5, "related_k": 3, "serve": "markov"},
            "validation": {"min_quarantined_rows": 10},
        }
    )


def run_shop(folder: Path) -> Settings:
    """Write the shop and run all its nights."""
    write_shop(SHOP, folder)
    settings = shop_settings(folder)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_plan(settings, plan_nights(settings), instance)
    return settings


def copy_shop(source: Path, target: Path) -> Settings:
    """Copy a shop with its store; the views of the copy show the copy."""
    shutil.copytree(source, target)
    settings = shop_settings(target)
    write_views(settings.open_store(), settings)
    return settings


def write_next_day(settings: Settings) -> tuple[Path, Path]:
    """Write the log and the catalogue of the night after the last one; return their paths."""
    write_day(SHOP, settings.folder, NEXT_NIGHT)
    day = NEXT_NIGHT.isoformat()
    return settings.folder / f"logs/events-{day}.jsonl", settings.folder / f"catalogue/catalogue-{day}.jsonl"


def run_night(settings: Settings, night: date, *assets: str) -> dg.ExecuteInProcessResult:
    """Run one night, or some assets of it, through the job; a failure is returned, not raised."""
    from assets.deployment import NIGHTLY_JOB, build_definitions

    job = build_definitions(settings).resolve_job_def(NIGHTLY_JOB)
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            partition_key=night.isoformat(),
            instance=instance,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
        )


def single(night: date) -> Plan:
    """A plan of one night."""
    return Plan(None, (night,))
