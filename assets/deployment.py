"""One deployment: the assets, jobs and schedule that follow from a settings file."""

import warnings
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (  # what define_asset_job returns
    UnresolvedAssetJobDefinition,
)
from dagster._utils.schedules import is_valid_cron_schedule  # the check that dg.schedule itself makes, too late

from assets.nightly_assets import build_assets
from assets.stages import all_stages
from pipelines.errors import InputError
from pipelines.settings import Settings

# Backfill policies are beta, and pinned with Dagster's version. The nightly job has stages of both policies; Dagster
# then goes night by night, which is what a nightly job should do.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy")
warnings.filterwarnings("ignore", message="Asset job nightly materializes assets with varying BackfillPolicies")

NIGHTLY_JOB: Final = "nightly"
BACKFILL_JOB: Final = "backfill_data"


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that Dagster loads for one deployment; all stages of a run share one process."""
    nightly = dg.define_asset_job(NIGHTLY_JOB, dg.AssetSelection.all())
    in_range = [asset for stage in all_stages(settings) if stage.takes_range for asset in stage.tables]
    backfill = dg.define_asset_job(BACKFILL_JOB, in_range)
    return dg.Definitions(
        assets=build_assets(settings),
        jobs=[nightly, backfill],
        schedules=[_schedule(settings, nightly)],
        executor=dg.in_process_executor,
    )


def _schedule(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Runs the night that ended before the tick; off until somebody turns it on."""
    zone = ZoneInfo(settings.nights.time_zone)
    if not is_valid_cron_schedule(settings.nights.schedule):
        raise InputError(
            "nights.schedule is no cron schedule",
            where="settings, [nights]",
            value=settings.nights.schedule,
            allowed="five fields: minute, hour, day of the month, month, day of the week",
            fix='write for instance "30 2 * * *", every night at half past two',
        )

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
