from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts import CONTRACTS
from pipelines.errors import InputError
from pipelines.evaluation import build_metrics
from pipelines.log_stages import build_interactions, build_items, build_sessions
from pipelines.night import Night, days_between, replace_days, rules_hash
from pipelines.ranking import NO_HISTORY
from pipelines.scoring import build_recommendations, build_related_items
from pipelines.settings import EventType, Sessions, Settings
from pipelines.statistics_stages import build_item_frequency, build_metadata_vocabulary, build_training_sequences
from pipelines.store import Write
from pipelines.training import train_model
from tests.pipelines.served_store import row_of
from tests.pipelines.small_log import (
    KEPT,
    SNAPSHOTS,
    STAGES,
    Stage,
    assert_equal,
    at,
    content,
    day,
    event,
    json_bytes,
    newest,
    put,
    put_log,
    rows_of,
    run,
    settings_of,
    state,
)

MODELS = ("popular", "markov", "itemknn")
LEARNT_FROM = (*STAGES[:3], build_metadata_vocabulary, build_training_sequences)
HOSTILE = ["o'brien\"; drop table sessions; --", "two\nlines", "🙂 ö", "x" * 10_000, "../..", "null", "\\", "%s {day}"]


def test_what_a_stage_builds_is_invisible_until_it_is_published(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "i", at(1))])
    store = run(settings, day(0), stages=[build_interactions])
    put_log(tmp_path, 1, [event("u", "j", at(1, 1))])
    before = store.version()
    writes = build_interactions(Night(settings, store, day(1), day(1), "dies"))
    assert {write.table: sum(part.num_rows for part in write.parts) for write in writes} == {
        "interactions": 1, "quarantine": 0, "item_observations": 1, "source_files": 1,
    }  # fmt: skip
    assert store.version() == before
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


def test_a_night_knows_the_newest_nights_before_it_that_have_rows(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    store = settings.open_store()
    for number in range(6):
        night = Night(settings, store, day(number), day(number), f"r{number}")
        rows = [] if number == 4 else [row_of("metrics", as_of_date=night.day)]
        parts = [night.write_rows("metrics", some, name) for name, some in (("markov", []), ("popular", rows))]
        store.publish([replace_days("metrics", parts, [night.day])])
    earlier = Night(settings, store, day(5), day(5), "r").earlier("metrics", 3)
    assert [(part.partition, part.slice) for part in earlier] == [
        (day(number).isoformat(), "popular") for number in (1, 2, 3)
    ]
    assert night.earlier("items", 3) == []


def test_views_show_snapshots_of_the_night_and_other_tables_up_to_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in range(3):
        put_log(tmp_path, number, [event("u", f"i{number}", at(1, number))])
        store = run(settings, day(number), stages=(build_interactions, build_items, build_sessions))
    night = Night(settings, store, day(1), day(1), "r")
    views = {table: night.published(table) for table in CONTRACTS}
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
    assert [part.num_rows for part in store.parts("training_sequences")] == [0, 1, 0]
    assert [part.num_rows for part in store.parts("sessions")] == [0, 1, 0]


def test_a_night_knows_the_parts_of_all_nights_but_itself(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [])
    for number in (0, 1, 2):
        store = run(settings, day(number), stages=(build_interactions, build_items))
    others = Night(settings, store, day(1), day(1), "r").others("items")
    assert [part.partition for part in others] == [day(0).isoformat(), day(2).isoformat()]


def test_a_relation_is_the_published_files_of_some_days_and_has_columns_without_any(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in range(3):
        put_log(tmp_path, number, [event("u", f"i{number}", at(1, number))])
        store = run(settings, day(number), stages=[build_interactions])
    night = Night(settings, store, day(2), day(2), "r")
    relation = night.relation("interactions", "select item_id from files", since=day(1), until=day(1))
    assert relation.table == "interactions"
    assert list(relation.paths) == store.paths(store.parts("interactions", since=day(1), until=day(1)))
    with night.connect() as con:
        assert con.execute(relation.select()).fetchall() == [("i1",)]
        nothing = con.execute(night.relation("sessions").select())
        assert [column[0] for column in nothing.description] == CONTRACTS["sessions"].column_names
        assert nothing.fetchall() == []


def test_days_hashes_and_writes_are_those_of_their_definitions() -> None:
    assert days_between(date(2026, 2, 27), date(2026, 3, 1)) == [
        date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1),
    ]  # fmt: skip
    assert days_between(day(1), day(0)) == []
    assert replace_days("t", [], [day(0)]) == Write("t", (), frozenset({"2026-01-01"}))
    hashes = [
        rules_hash(Sessions()), rules_hash(Sessions(gap_minutes=31)), rules_hash(Sessions(), "UTC"),
        rules_hash(EventType(name="a"), "b"), rules_hash("ab"), rules_hash("a", "b"),
    ]  # fmt: skip
    assert len(set(hashes)) == len(hashes)
    assert all(len(text) == 8 and int(text, 16) >= 0 for text in hashes)
    assert rules_hash(Sessions(gap_minutes=30)) == rules_hash(Sessions())


@pytest.mark.parametrize("build", [build_interactions, build_sessions, build_item_frequency, build_training_sequences])
def test_of_two_runs_of_one_night_the_one_that_publishes_first_wins(tmp_path: Path, build: Stage) -> None:
    settings = settings_of(tmp_path)
    put_log(tmp_path, 0, [event("u", "a", at(1)), event("u", "b", at(2))])
    store = run(settings, day(0))
    slow = Night(settings, store, day(0), day(0), "slow", seen=store.version())
    writes = build(slow)
    put_log(tmp_path, 0, [event("u", "a", at(1)), event("w", "b", at(3))])  # a corrected file, and a run that reads it
    run(settings, day(0))
    won, rows = state(store), content(store)
    with pytest.raises(InputError, match=r"another run published \w+ of 2026-01-01 in the meantime"):
        store.publish(writes, seen=slow.seen, run=slow.run_id)
    assert state(store) == won
    assert_equal(content(store), rows)
    again = build(Night(settings, store, day(0), day(0), "again"))
    store.publish(again, seen=slow.seen, run="again")  # nothing to refuse: it says the same
    assert state(store) == won


def test_runs_of_different_nights_do_not_hinder_each_other(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, store={"root": "together"})
    for number in (0, 1):
        put_log(tmp_path, number, [event("u", f"i{number}", at(12, number))])
    store = settings.open_store()
    nights = [Night(settings, store, day(n), day(n), f"run-{n}", seen=store.version()) for n in (0, 1)]
    writes = [build_interactions(night) for night in nights]
    for night, made in zip(nights, writes, strict=True):
        store.publish(made, seen=night.seen, run=night.run_id)
    assert rows_of(store, "interactions", "item_id") == ["i0", "i1"]


def whole_night(settings: Settings) -> tuple[Stage, ...]:
    """Every stage of a night, with its models."""
    training = [partial(train_model, name=name) for name in settings.training.models]
    return (*STAGES, *training, build_metrics, build_recommendations, build_related_items)


def shop_of(folder: Path, **sections: Any) -> Settings:
    events = {"path": "logs/{day}*.jsonl", "format": "json", **sections.pop("events", {})}
    models = {"training": {"models": dict.fromkeys(MODELS, "tiny")}, "recommendations": {"serve": "markov", "k": 4}}
    return settings_of(folder, events=events, **{**models, **sections})


def test_hostile_ids_go_through_whole_nights(tmp_path: Path) -> None:
    settings = shop_of(tmp_path)
    for number in range(4):
        walks = [
            event(who, HOSTILE[(place + step) % len(HOSTILE)], at(9 + step, number))
            for place, who in enumerate(HOSTILE)
            for step in range(3)
        ]
        anonymous = [event(None, item, at(12, number), who) for who, item in zip(HOSTILE, HOSTILE[::-1], strict=True)]
        put(tmp_path, f"logs/{day(number)}.jsonl", json_bytes([*walks, *anonymous]))
    run(settings, day(0), day(2))
    store = run(settings, day(3), stages=whole_night(settings))
    assert rows_of(store, "quarantine") == []
    for table in ("sessions", "item_users"):
        assert set(rows_of(store, table, "user_id")) - {None} == set(HOSTILE), table
    assert set(newest(store, "item_neighbours", "item_id")) == set(HOSTILE)
    lists = set(rows_of(store, "recommendations", "model", "subject_type", "subject_id"))
    assert lists == {(model, kind, who) for model in MODELS for kind in ("user", "session") for who in HOSTILE}
    assert set(rows_of(store, "recommendations", "item_id")) <= set(HOSTILE)
    assert set(rows_of(store, "related_items", "item_id")) == set(HOSTILE)
    assert set(rows_of(store, "metrics", "model")) == set(MODELS)


def test_a_night_of_one_event_has_lists(tmp_path: Path) -> None:
    settings = shop_of(tmp_path, training={"models": {"popular": "tiny"}}, recommendations={"serve": "popular"})
    put(tmp_path, f"logs/{day(0)}.jsonl", json_bytes([event("u", "i", at(1))]))
    store = run(settings, day(0), stages=whole_night(settings))
    assert rows_of(store, "sessions", "user_id", "item_ids", "num_events") == [("u", ["i"], 1)]
    assert newest(store, "item_frequency", "item_id", "num_events", "share", "is_frequent") == [("i", 1, 1.0, True)]
    assert newest(store, "interval_uniformity", "user_id", "num_gaps", "is_uniform") == [("u", 0, False)]
    assert newest(store, "item_neighbours") == []
    assert rows_of(store, "training_sequences", "subject_id", "item_numbers") == [("u", [2])]
    assert rows_of(store, "recommendations", "subject_id", "item_id", "rank") == [("u", "i", 1)]
    assert rows_of(store, "related_items") == []


def test_a_night_without_events_after_a_full_one_gives_the_lists_of_the_full_one(tmp_path: Path) -> None:
    settings = shop_of(tmp_path)
    put(tmp_path, f"logs/{day(0)}.jsonl", json_bytes([event(who, i, at(9)) for who in "uvw" for i in "abc"]))
    lists = []
    for number in (0, 1):
        store = run(settings, day(number), stages=[*LEARNT_FROM, *whole_night(settings)[len(STAGES) :]])
        lists.append(newest(store, "recommendations", "model", "subject_id", "rank", "item_id", "score"))
    assert lists[0] == lists[1]
    assert {who for _, who, *_ in lists[0]} == set("uvw")


def test_a_night_without_any_event_has_nothing_to_learn_from(tmp_path: Path) -> None:
    settings = shop_of(tmp_path)
    put(tmp_path, f"logs/{day(1)}.jsonl", json_bytes([event("u", "i", at(1, 1))]))
    with pytest.raises(InputError, match="nothing to train popular on"):
        run(settings, day(0), stages=whole_night(settings))
    store = settings.open_store()
    assert {table: sum(part.num_rows for part in store.parts(table)) for table in (*KEPT, *SNAPSHOTS)} == dict.fromkeys(
        (*KEPT, *SNAPSHOTS), 0
    )


def test_rows_that_come_twice_count_twice_unless_the_settings_say_once(tmp_path: Path) -> None:
    rows = [event("u", "a", at(9)), event("u", "b", at(9.1))]
    for part in "ab":  # a line of its own, for a file that repeats another as a whole stops the night
        put(tmp_path, f"logs/{day(0)}-{part}.jsonl", json_bytes([*rows, event(part, "c", at(10))]))
    twice = content(run(shop_of(tmp_path, store={"root": "twice"}), day(0)))
    once = shop_of(tmp_path, store={"root": "once"}, events={"identical_rows": "quarantine"})
    found = content(run(once, day(0)))
    assert [len(row["item_ids"]) for row in twice["sessions"] if row["user_id"] == "u"] == [4]
    assert [row["item_ids"] for row in found["sessions"] if row["user_id"] == "u"] == [["a", "b"]]
    assert [row["reason"] for row in found["quarantine"]] == ["identical_row"] * 2
    same = [{table: row[table] for table in ("item_id", "user_id")} for row in twice["item_users"]]
    assert same == [{table: row[table] for table in ("item_id", "user_id")} for row in found["item_users"]]


def test_a_clock_that_goes_backwards_in_the_file_changes_nothing_but_the_place_of_the_rows(tmp_path: Path) -> None:
    rows = [event(f"u{n % 3}", f"i{n % 5}", at(9 + n * 0.11)) for n in range(40)]
    told = []
    for name, ordered in (("forward", rows), ("backward", rows[::-1])):
        put(tmp_path, f"{name}/{day(0)}.jsonl", json_bytes(ordered))
        store = run(shop_of(tmp_path, events={"path": f"{name}/{{day}}.jsonl"}, store={"root": f"of-{name}"}), day(0))
        told.append(content(store))
    places = [sorted(row["source_row"] for row in tables["interactions"]) for tables in told]
    assert places[0] == places[1] == list(range(1, 41))
    for tables in told:
        del tables["interactions"], tables["source_files"]  # they tell file and row
    assert_equal(*told)


def test_a_night_again_gives_its_lists_though_a_later_one_brought_late_events_on_new_items(tmp_path: Path) -> None:
    settings = shop_of(tmp_path, training={"models": {"markov": "tiny"}})
    stages: list[Stage] = [*LEARNT_FROM, partial(train_model, name="markov"), build_recommendations]
    for number in range(4):
        late = [event("u", "new", at(5, 1)), event("w", "new", at(6, 2))] if number == 3 else []
        walks = [event(who, item, at(hour, number)) for who in "uv" for hour, item in enumerate("abc", 9)]
        put(tmp_path, f"logs/{day(number)}.jsonl", json_bytes([*walks, *late]))
    run(settings, day(0), day(1), stages=LEARNT_FROM)
    store = run(settings, day(2), stages=stages)
    before = newest(store, "recommendations")
    run(settings, day(3), stages=stages)
    assert "new" in {row["item_id"] for row in newest(store, "recommendations")}
    run(settings, day(2), stages=stages)
    again = rows_of(store, "recommendations", since=day(2), until=day(2))
    assert [row for row in again if row["subject_id"] != "w"] == before
    assert {row["reason"] for row in again if row["subject_id"] == "w"} == {NO_HISTORY}
