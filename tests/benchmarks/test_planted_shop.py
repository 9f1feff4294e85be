import json
from collections import defaultdict
from pathlib import Path

from benchmarks.planted_shop import read_shop
from pipelines.sample_shop import SampleShop, write_shop
from tests.pipelines.small_sequences import lists_of

SMALL = SampleShop(num_users=30, num_items=40, num_clusters=4, events_per_day=60, num_days=5)


def test_the_users_of_the_shop_did_what_its_logs_say(tmp_path: Path) -> None:
    items, sequences = read_shop(SMALL)
    write_shop(SMALL.without_dirt(), tmp_path)
    did = defaultdict(list)
    for path in sorted((tmp_path / "logs").iterdir()):
        for event in map(json.loads, path.read_text().splitlines()):
            if event["user"] is not None:
                did[event["user"]].append((event["time"], event["item"]))
    expected = sorted([item for _, item in sorted(events)] for events in did.values())
    assert sorted([items.ids[number].as_py() for number in row] for row in lists_of(sequences)) == expected
    assert len(expected) > 20


def test_times_are_seconds_from_the_shops_first_day() -> None:
    _, sequences = read_shop(SMALL)
    assert set(sequences.times // 86_400) == {20_454, 20_455, 20_456, 20_457, 20_458}  # from 1 January 2026
