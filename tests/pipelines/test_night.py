from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from pipelines.contracts import CONTRACTS
from pipelines.night import (
    Night,
    build_interactions,
    build_items,
    build_sessions,
    published_view,
)
from pipelines.sample_shop import SampleShop, ShopTruth, write_shop
from pipelines.settings import Settings
from pipelines.store import Store
from tests.pipelines.small_log import STAGES, at, day, event, newest, put_log, rows_of, run, settings_of

SHOP = SampleShop(num_days=5, num_users=60, num_items=60, num_clusters=5, events_per_day=200, late_event=0.05)
REASONS = {
    "null_user": "missing_user", "null_item": "missing_item", "bad_time": "unreadable_time",
    "future_time": "in_the_future", "unknown_item": "unknown_item", "duplicate_row": "identical_row",
    "malformed": "malformed_row",
}  # fmt: skip
EQUAL = ("source_files", "interactions", "quarantine", "item_observations", "sessions")
AS_OF = ("items", "item_frequency", "interval_uniformity", "metadata_vocabulary", "training_sequences")
EVENTS = {
    "path": "logs/events-{day}.jsonl",
    "format": "json",
    "columns": {"event_type": "event"},
    "event_types": [{"name": "view"}, {"name": "cart", "weight": 2}, {"name": "purchase", "weight": 3}],
    "identical_rows": "quarantine",
}
CATALOGUE = {
    "path": "catalogue/catalogue-{day}.jsonl",
    "format": "json",
    "columns": {"id": "id", "title": "title", "category": "category", "brand": "brand", "price": "price"},
}


def shop_settings(folder: Path, root: str, zone: str = "UTC") -> Settings:
    return settings_of(folder, events=EVENTS, catalogue=CATALOGUE, nights={"time_zone": zone}, store={"root": root})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ShopTruth]:
    """Folder of a dirty shop whose nights ran one by one (nightly) and as one range (backfill), and its truth."""
    folder = tmp_path_factory.mktemp("shop")
    truth = write_shop(SHOP, folder)
    for night in SHOP.days:
        run(shop_settings(folder, "nightly"), night)
    run(shop_settings(folder, "backfill"), SHOP.days[0], SHOP.days[-1])
    return folder, truth


def store_of(shop: tuple[Path, ShopTruth], root: str = "nightly") -> Store:
    return Store(shop[0] / root)


def state(store: Store) -> dict[str, list[tuple[str, str, int, str]]]:
    """Every published part by its content."""
    return {name: [(p.partition, p.slice, p.num_rows, p.sha256) for p in store.parts(name)] for name in CONTRACTS}


def assert_equal_rows(one: Store, other: Store) -> None:
    for table in EQUAL:
        assert rows_of(one, table) == rows_of(other, table), table
    for table in ("items", "item_frequency", "interval_uniformity"):
        assert newest(one, table) == newest(other, table), table
    tokens = ("field", "token", "count")
    assert sorted(newest(one, "metadata_vocabulary", *tokens)) == sorted(newest(other, "metadata_vocabulary", *tokens))


def test_the_planted_dirt_is_rejected_by_its_reasons_and_nothing_else_is(shop: tuple[Path, ShopTruth]) -> None:
    store, truth = store_of(shop), shop[1]
    for night in SHOP.days:
        planted = truth.days[night].num_planted
        expected = {reason: planted[kind] for kind, reason in REASONS.items() if planted[kind]}
        assert Counter(rows_of(store, "quarantine", "reason", since=night, until=night)) == expected
        accepted = rows_of(store, "interactions", "event_date", slices=[night.isoformat()])
        assert len(accepted) == truth.days[night].num_clean + planted["late_event"]
        assert accepted.count(night - timedelta(days=1)) == planted["late_event"]
    assert sum(day.num_planted["late_event"] for day in truth.days.values()) > 20


def test_hostile_ids_and_titles_reach_the_items(shop: tuple[Path, ShopTruth]) -> None:
    store, truth = store_of(shop), shop[1]
    titles = dict(newest(store, "items", "item_id", "title"))
    assert set(titles) == set(truth.clusters)
    assert truth.hostile_items <= set(titles)
    assert {"'; DROP TABLE items; --", "Lamp\nwith a new line", "Bowl 🥣 with a smile 🙂"} <= set(titles.values())
    first_seen = dict(newest(store, "items", "item_id", "first_seen"))
    assert first_seen == truth.first_days
    assert truth.hostile_users & set(rows_of(store, "sessions", "user_id"))


def test_nights_one_by_one_equal_one_backfill(shop: tuple[Path, ShopTruth]) -> None:
    assert_equal_rows(store_of(shop), store_of(shop, "backfill"))
    sequences = ("subject_type", "subject_id", "split", "event_times")
    nightly, backfill = (
        newest(store_of(shop, root), "training_sequences", *sequences) for root in ("nightly", "backfill")
    )
    assert nightly == backfill


def test_the_last_night_again_changes_nothing(shop: tuple[Path, ShopTruth]) -> None:
    store, before = store_of(shop), state(store_of(shop))
    run(shop_settings(shop[0], "nightly"), SHOP.days[-1])
    assert state(store) == before
    assert all(before[table] for table in (*EQUAL, *AS_OF))


def test_a_former_night_again_changes_no_row_that_its_events_made(shop: tuple[Path, ShopTruth]) -> None:
    # What is measured as of that night now counts the events of its day that later files brought.
    store, before = store_of(shop, "backfill"), state(store_of(shop, "backfill"))
    run(shop_settings(shop[0], "backfill"), SHOP.days[2], stages=STAGES[:3])
    after = state(store)
    assert {table: after[table] for table in EQUAL} | {"items": before["items"]} == {
        table: before[table] for table in (*EQUAL, "items")
    }


def test_without_late_events_a_former_night_again_changes_nothing(tmp_path: Path) -> None:
    write_shop(SHOP.model_copy(update={"late_event": 0.0, "num_days": 3}), tmp_path)
    settings = shop_settings(tmp_path, "store")
    for night in SHOP.days[:3]:
        store = run(settings, night)
    before = state(store)
    run(settings, SHOP.days[1])
    assert state(store) == before


def test_sessions_of_a_clean_shop_are_those_that_were_planted(tmp_path: Path) -> None:
    config = SHOP.without_dirt().model_copy(update={"num_days": 3})
    truth = write_shop(config, tmp_path)
    store = run(shop_settings(tmp_path, "store"), config.days[0], config.days[-1], STAGES[:3])
    assert Counter(rows_of(store, "sessions", "session_date")) == {
        day: counts.num_sessions for day, counts in truth.days.items()
    }
    # Every planted session has a name of its own, so that no pause within it was taken for its end.
    names = rows_of(store, "sessions", "source_session")
    assert len(names) == len(set(names))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_nights_of_a_wild_log_one_by_one_equal_one_backfill(tmp_path: Path, zone: str) -> None:
    draw = Random(7)
    for number in range(4):
        # Hours around midnight of both zones, pauses around the gap, up to three days late; 40 users and 10 visits.
        hours = [draw.choice([0, 4.6, 5, 23.6, 23.99, 12]) + draw.choice([0, 0.2, 0.5, 0.51]) for _ in range(120)]
        put_log(tmp_path, number, [
            event(f"u{draw.randrange(40)}", draw.choice("abc"), at(hour % 24, number - draw.choice([0, 0, 0, 1, 2, 3])))
            if draw.random() < 0.8 else event("", "d", at(hour % 24, number), f"s{draw.randrange(10)}")
            for hour in hours
        ])  # fmt: skip
    nightly, backfill = (settings_of(tmp_path, store={"root": root}, nights={"time_zone": zone}) for root in "ab")
    for number in range(4):
        run(nightly, day(number), stages=STAGES[:3])
    assert_equal_rows(run(nightly, day(3), stages=STAGES[3:]), run(backfill, day(0), day(3)))
    before = state(Store(nightly.store_root))
    assert state(run(nightly, day(2), stages=STAGES[:3])) == before


def test_what_a_stage_builds_is_invisible_until_it_is_published(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    store = run(settings, day(0), stages=[build_interactions])
    put_log(tmp_path, 1, [event("u", "j", at(1, 1))])
    before = store.manifest_path.read_bytes()
    writes = build_interactions(Night(settings, store, day(1), day(1), "dies"))
    assert {write.table: sum(part.num_rows for part in write.parts) for write in writes} == {
        "interactions": 1, "quarantine": 0, "item_observations": 1, "source_files": 1,
    }  # fmt: skip
    assert store.manifest_path.read_bytes() == before
    assert rows_of(store, "interactions", "item_id") == ["i"]
    store.publish(writes)
    assert rows_of(store, "interactions", "item_id") == ["i", "j"]


def test_a_night_knows_its_days_and_the_snapshots_of_and_before_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    store = run(settings, day(0), stages=(build_interactions, build_items))
    run(settings, day(2), stages=(build_interactions, build_items))
    night = Night(settings, store, day(1), day(3), "r")
    assert night.days == [day(1), day(2), day(3)]
    assert [part.partition for part in night.previous("items")] == ["2026-01-01"]
    assert night.current("items") == []
    assert [part.partition for part in Night(settings, store, day(2), day(2), "r").current("items")] == ["2026-01-03"]
    assert Night(settings, store, day(0), day(0), "r").previous("items") == []


def test_views_show_snapshots_of_the_night_and_other_tables_up_to_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in range(3):
        put_log(tmp_path, number, [event("u", f"i{number}", at(1, number))])
        store = run(settings, day(number), stages=(build_interactions, build_items, build_sessions))
    night = Night(settings, store, day(1), day(1), "r")
    views = {table: published_view(night, table) for table in CONTRACTS}
    assert set(views) == set(CONTRACTS)
    with night.connect() as con:
        shown = {
            name: sorted(con.execute(f"select unnest(item_ids) from ({views[name]})").fetchall())
            if name == "sessions"
            else sorted(con.execute(f"select item_id from ({views[name]})").fetchall())
            for name in ("interactions", "items", "sessions", "item_frequency")
        }
    both = [("i0",), ("i1",)]
    assert shown == {"interactions": both, "items": both, "sessions": both, "item_frequency": []}


def test_nights_without_any_event_pass_and_keep_what_is_known(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 1, [event("u", "i", at(1, 1))])
    assert rows_of(run(settings, day(0)), "items") == []
    store = run(settings, day(1))
    store = run(settings, day(2))
    assert newest(store, "items", "as_of_date", "item_id") == [(day(2), "i")]
    assert newest(store, "item_frequency", "num_events") == [1]
    assert newest(store, "training_sequences", "split") == ["test"]
    assert [part.num_rows for part in store.parts("sessions")] == [0, 1, 0]
