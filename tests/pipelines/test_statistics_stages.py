from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipelines.night import ONE_DAY
from pipelines.statistics_stages import (
    build_item_frequency,
    build_item_neighbours,
    build_metadata_vocabulary,
    build_training_sequences,
)
from pipelines.store import Store, Write
from tests.pipelines.small_log import (
    SNAPSHOTS,
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
from tests.pipelines.wild_log import (
    LAST,
    LOG_STAGES,
    NUM_DAYS,
    Reading,
    copy_of,
    in_chunks,
    run_nights,
    run_ranges,
    spy_on,
    wild_settings,
    write_wild_log,
)


def shuffled(numbers: range, seed: int) -> list[int]:
    order = list(numbers)
    Random(seed).shuffle(order)
    return order


def days_between(first: int, last: int) -> list[date]:
    return [day(number) for number in range(first, last + 1)]


def by_table(readings: list[Reading]) -> dict[str, list[Reading]]:
    return {table: [r for r in readings if r.table == table] for table in {r.table for r in readings}}


def test_nights_one_by_one_equal_one_backfill_and_any_of_them_again_changes_nothing(wild: Path, tmp_path: Path) -> None:
    write_wild_log(tmp_path)
    settings = wild_settings(tmp_path, "nightly")
    store = run_nights(settings, range(NUM_DAYS))
    expected = content(Store(wild / "backfill"))
    assert_equal(content(store), expected)
    before, version = state(store), store.version()
    run(settings, day(LAST))
    assert state(store) == before
    assert store.version() == version
    run(settings, day(4))  # as of that night, there is more to say by now
    after = state(store)
    assert {table for table in before if before[table] != after[table]} <= {*SNAPSHOTS, "items"}
    run(settings, day(LAST))
    assert_equal(content(store), expected)


def test_days_in_any_order_equal_one_backfill(wild: Path, tmp_path: Path) -> None:
    write_wild_log(tmp_path)
    store = run_nights(wild_settings(tmp_path, "shuffled"), shuffled(range(NUM_DAYS), seed=3))
    assert_equal(content(store), content(Store(wild / "backfill")))


@pytest.mark.parametrize("first_days", [[0, 1, 8], [0, 3, 4, 9]])
def test_any_cut_into_backfills_equals_one_backfill(wild: Path, tmp_path: Path, first_days: list[int]) -> None:
    write_wild_log(tmp_path)
    store = run_ranges(wild_settings(tmp_path, "cut"), first_days)
    assert_equal(content(store), content(Store(wild / "backfill")))


def test_a_backfill_in_chunks_of_days_writes_the_same_rows(
    wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wild_log(tmp_path)
    in_chunks(monkeypatch, max_events=60)
    readings = spy_on(monkeypatch)
    store = run_ranges(wild_settings(tmp_path, "chunks"), [0])
    assert min(len(by_table(readings)[table]) for table in ("sessions", "item_frequency", "training_sequences")) > 4
    found, expected = state(store), state(Store(wild / "backfill"))
    # DuckDB marks a column as never null where it happens to know; the rows are the same.
    assert {table for table in found if found[table] != expected[table]} <= {"item_users"}
    assert_equal(content(store), content(Store(wild / "backfill")))


def test_a_night_reads_the_days_since_the_former_one_and_no_history(
    wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = copy_of(wild, tmp_path)
    readings = spy_on(monkeypatch)
    run(settings, day(NUM_DAYS))
    found = {table: only for table, (only,) in by_table(readings).items()}
    two_days, yesterday, tonight = days_between(LAST, NUM_DAYS), [day(LAST)], [day(NUM_DAYS)]
    assert len(found["sessions"].read["interactions"]) == 4
    assert (found["item_users"].read["events"], found["item_users"].written) == (two_days, tonight)
    assert found["item_frequency"].read == {
        "events": two_days,
        "session_items": two_days,
        "new_item_users": tonight,
        "former_item_frequency": yesterday,
    }
    assert found["interval_uniformity"].read == {"events": two_days, "former_interval_uniformity": yesterday}
    assert found["metadata_vocabulary"].read["tokens"] == tonight
    assert found["training_sequences"].written == two_days
    assert found["training_sequences"].read["events"] == days_between(LAST - 1, NUM_DAYS)


def test_neighbours_read_their_window(wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = copy_of(wild, tmp_path)
    window = settings.statistics.model_copy(update={"neighbour_days": 3})
    readings = spy_on(monkeypatch)
    run(settings.model_copy(update={"statistics": window}), day(LAST), stages=[build_item_neighbours])
    assert readings[0].read == {"events": days_between(LAST - 3, LAST), "item_frequency": [day(LAST)]}


def test_sequences_that_stayed_the_same_are_not_gathered_again_every_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    for number in range(6):  # every midnight lies in a session, which the night after it makes longer
        put_log(tmp_path, number, [event("u", "i", at(0, number)), event("u", "i", at(23.9, number))])
    readings = spy_on(monkeypatch)
    for number in range(6):
        run(settings, day(number))
    written = [reading.written for reading in by_table(readings)["training_sequences"]]
    assert written == [[day(0)], *(days_between(number - 1, number) for number in range(1, 6))]


def test_statistics_go_on_from_before_the_day_of_a_late_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    for number in range(4):
        put_log(tmp_path, number, [event("u", f"i{number}", at(12, number)), event("v", "i", at(13, number))])
        run(settings, day(number))
    put_log(tmp_path, 4, [event("u", "i", at(14, 2)), event("w", "i", at(12, 4))])
    readings = spy_on(monkeypatch)
    store = run(settings, day(4))
    found = by_table(readings)
    three_days = days_between(2, 4)
    for table in ("item_frequency", "interval_uniformity"):
        assert [reading.read[f"former_{table}"] for reading in found[table]] == [[day(1)], [day(2)], [day(3)]]
        assert [reading.written for reading in found[table]] == [[on] for on in three_days]
    assert [on for reading in found["item_users"] for on in reading.written] == three_days
    assert [on for reading in found["training_sequences"] for on in reading.written] == three_days
    assert dict(newest(store, "item_frequency", "item_id", "num_events"))["i"] == 6
    assert [row for row in rows_of(store, "item_users", "first_date", "item_id", "user_id") if row[1] == "i"] == [
        (day(0), "i", "v"), (day(2), "i", "u"), (day(4), "i", "w"),
    ]  # fmt: skip
    assert_equal(content(store), content(run(settings_of(tmp_path, store={"root": "fresh"}), day(0), day(4))))


@pytest.mark.parametrize("days_late", [1, 2, 3])
def test_a_night_reads_no_history_though_every_file_brings_late_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days_late: int
) -> None:
    settings = settings_of(tmp_path, events={"lateness_days": 3})
    for number in range(14):
        late = [event("w", f"i{number}", at(15, number - days_late))] if number >= days_late else []
        put_log(tmp_path, number, [event("u", "i", at(12, number)), *late])
    run(settings, day(0), day(9))
    readings = spy_on(monkeypatch)
    for number in range(10, 14):
        readings.clear()
        store = run(settings, day(number))
        found = by_table(readings)
        for table in ("item_frequency", "interval_uniformity"):
            assert found[table][0].read[f"former_{table}"] == [day(number - days_late - 1)]
            assert {on for reading in found[table] for on in reading.read["events"]} == set(
                days_between(number - days_late - 1, number)
            )
    assert_equal(content(store), content(run(settings_of(tmp_path, store={"root": "fresh"}), day(0), day(13))))


@pytest.mark.parametrize(
    ("lateness_days", "days_ago"), [(0, [0]), (1, [0, 1]), (6, [0, 1, 2, 4, 6]), (99, [0, 1, 2, 4, 8])]
)
def test_snapshots_are_kept_for_what_late_events_will_ask_for(
    tmp_path: Path, lateness_days: int, days_ago: list[int]
) -> None:
    for number in range(10):
        put_log(tmp_path, number, [event("u", "i", at(12, number))])
    store = run(settings_of(tmp_path, events={"lateness_days": lateness_days}), day(0), day(9))
    for table in ("item_frequency", "interval_uniformity"):
        assert store.partitions(table) == [day(9 - num_days) for num_days in reversed(days_ago)]
    assert rows_of(store, "item_frequency", "as_of_date", "num_events") == [
        (day(9 - num_days), 10 - num_days) for num_days in reversed(days_ago)
    ]


def test_statistics_go_on_from_what_is_counted_and_not_from_what_was(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in range(6):
        put_log(tmp_path, number, [event("u", "i", at(12, number))])
        run(settings, day(number))
    before = state(settings.open_store())
    put_log(tmp_path, 1, [event("u", "i", at(12, 1)), event("v", "i", at(13, 1))])
    for number in (1, 5):
        run(settings, day(number))
    put_log(tmp_path, 1, [event("u", "i", at(12, 1))])
    store = settings.open_store()
    for number in (1, 5):
        store = run(settings, day(number))
    assert rows_of(store, "item_users", "first_date", "item_id", "user_id") == [(day(0), "i", "u")]
    assert state(store)["interactions"] == before["interactions"]
    assert_equal(content(store), content(run(settings_of(tmp_path, store={"root": "fresh"}), day(0), day(5))))


def test_who_met_which_item_is_found_anew_where_a_day_is_missing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in range(4):
        put_log(tmp_path, number, [event("u", f"i{min(number, 2)}", at(12, number))])
        run(settings, day(number))
    store = settings.open_store()
    store.publish([Write("item_users", (), frozenset({day(2).isoformat()}))])
    run(settings, day(3))
    assert_equal(content(store), content(run(settings_of(tmp_path, store={"root": "fresh"}), day(0), day(3))))


OTHER_RULES: dict[str, dict[str, Any]] = {
    "a gap": {"sessions": {"gap_minutes": 5}},
    "a weight": {"events": {"event_types": [{"name": "view"}, {"name": "cart", "weight": 0}, {"name": "look"}]}},
    "a granularity": {"statistics": {"time_granularity": "day"}},
}


@pytest.mark.parametrize("rules", OTHER_RULES.values(), ids=OTHER_RULES)
def test_other_rules_make_anew_what_they_shape(wild: Path, tmp_path: Path, rules: dict[str, Any]) -> None:
    settings = copy_of(wild, tmp_path)
    former = state(settings.open_store())
    counted_before = {part.slice for part in settings.open_store().parts("item_users")}
    fixed = wild_settings(tmp_path, "fresh")
    kinds = {**fixed.events.model_dump(), **rules.get("events", {})}
    other = fixed.model_validate({**fixed.model_dump(), "folder": tmp_path, **rules, "events": kinds})
    changed = other.model_copy(update={"store": settings.store})
    store, fresh = run(changed, day(NUM_DAYS)), run(other, day(0), day(NUM_DAYS))
    found, expected = content(store), content(fresh)
    found.pop("interactions"), expected.pop("interactions")  # their weight is that of the day on which they came
    assert_equal(found, expected)
    for table in ("sessions", "training_sequences"):
        assert len({part.slice for part in store.parts(table)}) == 1, table
    assert {part.slice for part in store.parts("item_users")}.isdisjoint(counted_before)
    rebuilt = set(state(store)["sessions"]).isdisjoint(former["sessions"][:-2])
    assert rebuilt == ("sessions" in rules)


def test_rules_that_are_tried_and_taken_back_leave_no_trace(wild: Path, tmp_path: Path) -> None:
    settings = copy_of(wild, tmp_path)
    kinds = tuple(
        kind.model_copy(update={"weight": float(kind.name == "look")}) for kind in settings.events.event_types
    )
    tried = settings.model_copy(update={"events": settings.events.model_copy(update={"event_types": kinds})})
    run(tried, day(NUM_DAYS))
    store = run(settings, day(NUM_DAYS))
    fresh = run(wild_settings(tmp_path, "fresh"), day(0), day(NUM_DAYS))
    assert_equal(content(store), content(fresh))


def test_rules_of_ranks_alone_leave_what_is_counted(
    wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = copy_of(wild, tmp_path)
    ranks = {"frequent_share": 0.9, "frequent_by": "gap_variance", "uniform_share": 0.1, "uniform_by": "gap_variance"}
    other = settings.model_copy(update={"statistics": settings.statistics.model_copy(update=ranks)})
    readings = spy_on(monkeypatch)
    store = run(other, day(NUM_DAYS))
    (counted,) = by_table(readings)["item_frequency"]
    assert counted.read["former_item_frequency"] == [day(LAST)]
    fresh = run(other.model_copy(update={"store": wild_settings(tmp_path, "fresh").store}), day(0), day(NUM_DAYS))
    assert_equal(content(store), content(fresh))


def test_a_night_again_keeps_the_late_events_on_items_that_a_later_night_numbered(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    stages = (*LOG_STAGES, build_metadata_vocabulary, build_training_sequences)
    for number in range(4):
        late = [event("u", "new", at(5, on)) for on in (1, 2)] if number == 3 else []
        put_log(tmp_path, number, [event("u", f"i{number}", at(1, number)), *late])
        store = run(settings, day(number), stages=stages)
    before = state(store)
    assert rows_of(store, "training_sequences", "item_numbers") == [[2], [3, 6], [4, 6], [5]]
    for number in (1, 2, 3):
        run(settings, day(number), stages=stages)
        assert state(store)["training_sequences"] == before["training_sequences"]
    assert state(store) == before


def test_a_first_night_without_history_and_a_gap_of_days_are_nothing_special(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    put_log(tmp_path, 4, [event("u", "i", at(3, 4)), event("u", "j", at(1, 3))])
    for number in (0, 4):
        store = run(settings, day(number))
    assert newest(store, "item_frequency", "item_id", "num_events", "num_users") == [("i", 2, 1), ("j", 1, 1)]
    assert newest(store, "interval_uniformity", "user_id", "num_gaps") == [("u", 2)]
    fresh = run(settings_of(tmp_path, store={"root": "fresh"}), day(0), day(4))
    found, expected = content(store), content(fresh)
    assert found["training_sequences"] == expected["training_sequences"]
    for table in (*SNAPSHOTS, "item_users", "sessions"):
        assert found[table] == expected[table], table


def test_parts_of_the_statistics_are_described_by_day(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u", "i", at(1)), event("v", "j", at(1, -2))])
    store = run(settings_of(tmp_path), day(0), stages=LOG_STAGES)
    run(settings_of(tmp_path), day(0), stages=[build_item_frequency])
    days = [day(0) - 2 * ONE_DAY, day(0) - ONE_DAY, day(0)]
    assert [(p.partition, p.num_rows) for p in store.parts("item_users")] == [
        (on.isoformat(), rows) for on, rows in zip(days, (1, 0, 1), strict=True)
    ]
    assert [(p.partition, p.num_rows) for p in store.parts("item_frequency")] == [
        (on.isoformat(), rows) for on, rows in zip(days, (1, 1, 2), strict=True)
    ]


def test_only_items_with_a_number_are_in_the_sequences(tmp_path: Path) -> None:
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    store = run(settings_of(tmp_path), day(0), stages=[*LOG_STAGES, build_training_sequences])
    assert rows_of(store, "training_sequences") == []
    assert [part.num_rows for part in store.parts("training_sequences")] == [0]
