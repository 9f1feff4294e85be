"""One deployment: the assets, jobs and schedule that follow from a settings file."""

from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (  # what define_asset_job returns
    UnresolvedAssetJobDefinition,
)

from assets.nightly_assets import build_assets, nights
from assets.stages import all_stages
from pipelines.settings import Settings

NIGHTLY_JOB: Final = "nightly"
BACKFILL_JOB: Final = "backfill_data"


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that Dagster loads for one deployment; all stages of a run share one process."""
    nightly = dg.define_asset_job(NIGHTLY_JOB, dg.AssetSelection.all(), partitions_def=nights(settings))
    in_range = [asset for stage in all_stages(settings) if stage.takes_range for asset in stage.tables]
    backfill = dg.define_asset_job(BACKFILL_JOB, in_range, partitions_def=nights(settings))
    return dg.Definitions(
        assets=build_assets(settings),
        jobs=[nightly, backfill],
        schedules=[_schedule(settings, nightly)],
        executor=dg.in_process_executor,
    )


def _schedule(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Runs the night that ended before the tick; off until somebody turns it on."""
    zone = ZoneInfo(settings.nights.time_zone)

    @dg.schedule(
        name="every_night",
        cron_schedule=settings.nights.schedule,
        execution_timezone=settings.nights.time_zone,
        job=job,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def every_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        night = context.scheduled_execution_time.astimezone(zone).date() - timedelta(days=1)
        return dg.RunRequest(run_key=night.isoformat(), partition_key=night.isoformat())

    return every_night
