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
