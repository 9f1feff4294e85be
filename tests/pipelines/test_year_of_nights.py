"""A year of a real shop comes out the same, whatever the order in which its nights are run."""

import random
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest

from pipelines.log_stages import build_interactions, build_items, build_sessions
from pipelines.night import Night, days_between
from pipelines.settings import Settings
from pipelines.settings_file import load_settings
from pipelines.statistics_stages import (
    build_interval_uniformity,
    build_item_frequency,
    build_metadata_vocabulary,
    build_training_sequences,
)
from pipelines.store import Store, Write
from tests.pipelines.online_retail import online_retail_files

FIRST, LAST = date(2010, 12, 1), date(2011, 12, 9)
LOGS = (build_interactions, build_items, build_sessions)
STATISTICS = (build_item_frequency, build_interval_uniformity, build_metadata_vocabulary, build_training_sequences)
SAME = ("interactions", "quarantine", "source_files", "sessions", "item_frequency", "interval_uniformity", "item_users")


def settings_of(files: Path, root: Path) -> Settings:
    settings = load_settings(Path(__file__).parents[2] / "configs" / "online_retail.toml")
    events = settings.events.model_copy(update={"path": f"{files}/{{day}}.csv", "lateness_days": 100_000})
    storage = settings.store.model_copy(update={"root": str(root)})
    return settings.model_copy(update={"events": events, "store": storage})


def run(settings: Settings, first: date, last: date, stages: Sequence[Callable[[Night], list[Write]]]) -> Store:
    store = settings.open_store()
    for build in stages:
        store.publish(build(Night(settings, store, first, last, f"{first}-{last}", store.version())))
    return store


def content(settings: Settings, table: str) -> str:
    """A hash of all rows; of a snapshot those of the last night."""
    night = Night(settings, settings.open_store(), LAST, LAST, "")
    with night.connect() as con:
        row = con.execute(f"""
            select count(*) || ' ' || sum(md5_number_lower(to_json(t)::varchar)::hugeint)
            from ({night.published(table)}) as t
        """).fetchone()
    assert row is not None
    return str(row[0])


def tokens(settings: Settings, field: str) -> set[str]:
    night = Night(settings, settings.open_store(), LAST, LAST, "")
    with night.connect() as con:
        vocabulary = night.published("metadata_vocabulary")
        return {row[0] for row in con.execute(f"select token from ({vocabulary}) where field = ?", [field]).fetchall()}


@pytest.mark.all
def test_a_year_is_the_same_in_any_order_of_its_nights(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = online_retail_files(tmp_path_factory)
    nights = days_between(FIRST, LAST)
    one_by_one, backfill, shuffled = (settings_of(files, tmp_path / name) for name in ("one", "backfill", "shuffled"))
    for night in nights:
        run(one_by_one, night, night, (*LOGS, *STATISTICS))
    run(backfill, FIRST, LAST, (*LOGS, *STATISTICS))
    order = nights.copy()
    random.Random(7).shuffle(order)
    for night in order:
        run(shuffled, night, night, (build_interactions, build_sessions))
    run(shuffled, LAST, LAST, (build_items, *STATISTICS))
    assert sum(part.num_rows for part in one_by_one.open_store().parts("source_files")) == 305
    for table in SAME:
        assert content(one_by_one, table) == content(backfill, table) == content(shuffled, table), table
    assert tokens(one_by_one, "item") == tokens(backfill, "item") == tokens(shuffled, "item")
    # This shop renames its articles. Night by night, a word that a title had once keeps its number; the others meet the
    # last titles alone.
    assert tokens(one_by_one, "title") > tokens(backfill, "title") == tokens(shuffled, "title")
    rows = sum(
        part.num_rows for table in ("interactions", "quarantine") for part in one_by_one.open_store().parts(table)
    )
    assert rows == 541_909
