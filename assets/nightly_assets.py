"""The assets: one multi-asset a stage, and the views through which people read a complete night."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.asset_checks import check_specs
from assets.checkpoints import build_docs
from assets.night_run import docs_root, night_of, run_stage
from assets.presentation import column_schema
from assets.stages import Stage, all_stages
from pipelines.contracts import CONTRACTS
from pipelines.expectations import suite
from pipelines.retention import prune
from pipelines.settings import Settings
from pipelines.training import CHECKPOINTS
from pipelines.views import write_views

VIEWS = "published_views"
PERISHABLE = frozenset(
    {name for name, contract in CONTRACTS.items() if contract.snapshot}
    | {"recommendations", "related_items", CHECKPOINTS}
)
"""Tables of which the settings keep the newest nights: the others are history, and grow."""

OWNERS = ["team:recommendations"]


def nights(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a day from the first night of the settings on, in the zone of the nights."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.nights.first.isoformat(), timezone=settings.nights.time_zone
    )


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Every stage as assets with its checks, then the published views."""
    stages = all_stages(settings)
    return [*(_stage_assets(stage, settings) for stage in stages), _views_asset(settings, stages)]


def _stage_assets(stage: Stage, settings: Settings) -> dg.AssetsDefinition:
    suites = {asset: suite(CONTRACTS[table], settings) for asset, table in stage.tables.items()}

    @dg.multi_asset(
        name=stage.name,
        specs=[_spec(stage, asset) for asset in stage.tables],
        check_specs=[spec for asset in stage.tables for spec in check_specs(asset, suites[asset])],
        partitions_def=nights(settings),
        backfill_policy=dg.BackfillPolicy.single_run() if stage.takes_range else dg.BackfillPolicy.multi_run(1),
    )
    def stage_assets(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
        yield from run_stage(context, settings, stage, suites)

    return stage_assets


def _spec(stage: Stage, asset: str) -> dg.AssetSpec:
    contract = CONTRACTS[stage.tables[asset]]
    return dg.AssetSpec(
        asset,
        deps=stage.after,
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=OWNERS,
        description=stage.descriptions.get(asset) or f"{contract.grain[0].upper()}{contract.grain[1:]}.",
        metadata={"dagster/column_schema": column_schema(contract), "key": ", ".join(contract.key)},
    )


def _views_asset(settings: Settings, stages: tuple[Stage, ...]) -> dg.AssetsDefinition:
    read = {asset for stage in stages for asset in stage.after}

    @dg.asset(
        name=VIEWS,
        deps=[asset for stage in stages for asset in stage.tables if asset not in read],
        group_name="recommendations",
        kinds={"duckdb"},
        owners=OWNERS,
        partitions_def=nights(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        description="The file of DuckDB views over a complete night: until it is replaced, readers see the one before.",
    )
    def published_views(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        night = night_of(context, settings)
        path = write_views(night.store, settings)
        index = build_docs(docs_root(night.store))
        pruned = prune(night.store, PERISHABLE, settings.store.keep_nights, settings.store.keep_days, datetime.now(UTC))
        return dg.MaterializeResult(
            metadata={
                "duckdb": dg.MetadataValue.path(path),
                "data_docs": dg.MetadataValue.path(index),
                "let_go": str(pruned),
            }
        )

    return published_views
