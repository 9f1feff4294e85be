from pathlib import Path

import dagster as dg

from assets.nightly_assets import build_assets, nights
from tests.assets.small_shop import shop_settings


def test_a_partition_is_a_day_of_the_zone_of_the_nights() -> None:
    settings = shop_settings(Path("/"))
    zoned = settings.model_copy(update={"nights": settings.nights.model_copy(update={"time_zone": "Asia/Tokyo"})})
    partitions = nights(zoned)
    assert partitions.get_first_partition_key() == "2026-01-01"
    window = partitions.time_window_for_partition_key("2026-01-02")
    assert window.start.isoformat() == "2026-01-02T00:00:00+09:00"


def test_stages_that_can_take_a_range_in_one_run_and_the_others_go_night_by_night() -> None:
    single_run = dg.BackfillPolicy.single_run()
    policies = {a.node_def.name: a.backfill_policy for a in build_assets(shop_settings(Path("/")))}
    assert policies["interactions"] == policies["sessions"] == single_run
    assert policies["metadata_vocabulary"] == policies["recommendations"] == dg.BackfillPolicy.multi_run(1)


def test_every_asset_has_an_owner_a_group_a_description_and_kinds() -> None:
    for definition in build_assets(shop_settings(Path("/"))):
        for spec in definition.specs:
            assert all((spec.owners, spec.group_name, spec.description, spec.kinds)), spec.key
