from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from pipelines.log_stages import build_sessions
from pipelines.night import rules_hash
from pipelines.sample_shop import SampleShop, ShopTruth, write_shop
from pipelines.settings import Sessions, Settings
from pipelines.store import Store
from tests.pipelines.small_log import (
    KEPT,
    SNAPSHOTS,
    STAGES,
    assert_equal,
    at,
    content,
    day,
    event,
    newest,
    put_log,
    rows_of,
    run,
    settings_of,
    state,
)
from tests.pipelines.wild_log import LAST, LOG_STAGES, NUM_DAYS, copy_of, in_chunks, spy_on, wild_settings

SHOP = SampleShop(num_days=5, num_users=60, num_items=60, num_clusters=5, events_per_day=200, late_event=0.05)
REASONS = {
    "null_user": "missing_user", "null_item": "missing_item", "bad_time": "unreadable_time",
    "future_time": "in_the_future", "unknown_item": "unknown_item", "duplicate_row": "identical_row",
    "malformed": "malformed_row",
}  # fmt: skip
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
    assert_equal(content(store_of(shop)), content(store_of(shop, "backfill")))
    assert newest(store_of(shop), "items") == newest(store_of(shop, "backfill"), "items")


def test_the_last_night_again_changes_nothing(shop: tuple[Path, ShopTruth]) -> None:
    store = store_of(shop)
    before, version = state(store), store.version()
    run(shop_settings(shop[0], "nightly"), SHOP.days[-1])
    assert state(store) == before
    assert store.version() == version
    assert all(before[table] for table in (*KEPT, *SNAPSHOTS, "metadata_vocabulary", "training_sequences"))


def test_a_former_night_again_changes_no_row_that_its_events_made(shop: tuple[Path, ShopTruth]) -> None:
    # What is measured as of that night now counts the events of its day that later files brought.
    settings, store = shop_settings(shop[0], "nightly"), store_of(shop)
    before, told = state(store), content(store)
    run(settings, SHOP.days[2])
    after = state(store)
    assert {table for table in before if before[table] != after[table]} <= set(SNAPSHOTS)
    assert_equal(content(store), told)


def test_without_late_events_a_former_night_again_changes_nothing(tmp_path: Path) -> None:
    write_shop(SHOP.model_copy(update={"late_event": 0.0, "num_days": 3}), tmp_path)
    settings = shop_settings(tmp_path, "store")
    for night in SHOP.days[:3]:
        store = run(settings, night)
    before, version = state(store), store.version()
    run(settings, SHOP.days[1])
    assert state(store) == before
    assert store.version() == version


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
        store = run(nightly, day(number), stages=STAGES[:3])
    assert_equal(content(run(nightly, day(3), stages=STAGES[3:])), content(run(backfill, day(0), day(3))))
    before = state(store)
    assert state(run(nightly, day(2), stages=STAGES[:3])) == before


def sessions_of(store: Store, number: int) -> list[tuple[str, ...]]:
    """Items of the sessions that start on a day, sorted by user."""
    rows = rows_of(store, "sessions", "user_id", "item_ids", since=day(number), until=day(number))
    return [(user, *items) for user, items in sorted(rows)]


def test_a_late_event_reopens_its_day_and_one_that_is_later_goes_to_quarantine(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, events={"lateness_days": 2})
    for number in range(5):
        put_log(tmp_path, number, [event("u", f"i{number}", at(12, number))])
        store = run(settings, day(number), stages=LOG_STAGES)
    before = store.parts("sessions")
    late = [event("u", "late", at(12.1, 3)), event("v", "later", at(12, 2)), event("u", "i5", at(12, 5))]
    put_log(tmp_path, 5, late)
    store = run(settings, day(5), stages=LOG_STAGES)
    assert rows_of(store, "quarantine", "source_row", "reason") == [(2, "too_late")]
    assert [sessions_of(store, number) for number in (2, 3, 5)] == [
        [("u", "i2")], [("u", "i3", "late")], [("u", "i5")],
    ]  # fmt: skip
    assert [part for part in store.parts("sessions") if part not in before] == [
        *store.parts("sessions", since=day(3), until=day(3)),
        *store.parts("sessions", since=day(5), until=day(5)),
    ]


def test_a_late_event_joins_what_was_two_sessions_over_midnight(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "a", at(23.7))])
    put_log(tmp_path, 1, [event("u", "c", at(0.3, 1)), event("u", "d", at(12, 1))])
    for number in (0, 1):
        store = run(settings, day(number), stages=LOG_STAGES)
    assert (sessions_of(store, 0), sessions_of(store, 1)) == ([("u", "a")], [("u", "c"), ("u", "d")])
    put_log(tmp_path, 2, [event("u", "b", at(0, 1))])
    store = run(settings, day(2), stages=LOG_STAGES)
    assert (sessions_of(store, 0), sessions_of(store, 1)) == ([("u", "a", "b", "c")], [("u", "d")])
    put_log(tmp_path, 2, [event("u", "e", at(12, 2))])  # a corrected file takes it back
    store = run(settings, day(2), stages=LOG_STAGES)
    assert (sessions_of(store, 0), sessions_of(store, 1)) == ([("u", "a")], [("u", "c"), ("u", "d")])


def test_sessions_read_the_night_two_days_before_it_and_no_history(
    wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = copy_of(wild, tmp_path)
    run(settings, day(NUM_DAYS), stages=LOG_STAGES[:2])
    readings = spy_on(monkeypatch)
    run(settings, day(NUM_DAYS), stages=[build_sessions])
    (reading,) = readings
    assert reading.read["interactions"] == [day(number) for number in range(NUM_DAYS - 3, NUM_DAYS + 1)]
    assert reading.written == [day(NUM_DAYS - 1), day(NUM_DAYS)]


def test_sessions_are_made_in_chunks_of_days_as_they_are_all_at_once(
    wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = copy_of(wild, tmp_path)
    expected = state(settings.open_store())["sessions"]
    in_chunks(monkeypatch, max_events=60)
    readings = spy_on(monkeypatch)
    store = run(settings, day(0), day(LAST), stages=[build_sessions])
    assert len(readings) > 4
    assert all(len(reading.read["interactions"]) <= len(reading.written) + 3 for reading in readings)
    assert state(store)["sessions"] == expected


def test_other_rules_make_all_sessions_anew_and_the_same_rules_none(wild: Path, tmp_path: Path) -> None:
    settings = copy_of(wild, tmp_path)
    rules = {"gap_minutes": 12, "max_events": 50, "immediate_repeats": "drop"}
    other = settings.model_copy(update={"sessions": Sessions.model_validate(rules)})
    store = run(other, day(NUM_DAYS), stages=LOG_STAGES)
    fresh = run(wild_settings(tmp_path, "fresh", sessions=rules), day(0), day(NUM_DAYS), stages=LOG_STAGES)
    assert state(store)["sessions"] == state(fresh)["sessions"]
    shaped_by = rules_hash(other.sessions, other.nights.time_zone)
    assert {part.slice for part in store.parts("sessions")} == {shaped_by}
    assert shaped_by != rules_hash(settings.sessions, settings.nights.time_zone)
    before = store.parts("sessions", until=day(NUM_DAYS - 2))
    put_log(tmp_path, NUM_DAYS + 1, [])
    run(other, day(NUM_DAYS + 1), stages=LOG_STAGES)
    assert store.parts("sessions", until=day(NUM_DAYS - 2)) == before
