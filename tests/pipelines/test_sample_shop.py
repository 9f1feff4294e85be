import gzip
import json
import re
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sample_shop import DIRT_KINDS, SampleShop, ShopTruth, main, shop_truth, write_day, write_shop

CONFIG = SampleShop()
SMALL = SampleShop(num_days=3, num_users=60, num_items=60, num_clusters=5, events_per_day=200)
Row = dict[str, Any]


class Shop:
    """A shop read back from its files: each line's row and the kind of dirt that a reader finds in it."""

    def __init__(self, config: SampleShop, folder: Path) -> None:
        self.catalogues = {day: read_catalogue(config, folder, day) for day in config.days}
        self.rows: dict[date, list[tuple[str, Row]]] = {}
        for day in config.days:
            known, seen = {row["id"] for row in self.catalogues[day]}, set[str]()
            self.rows[day] = [
                classify(line, day, known, seen) for line in read_lines(config, folder, "logs/events", day)
            ]

    @cached_property
    def clean(self) -> list[Row]:
        return [row for rows in self.rows.values() for kind, row in rows if kind == "clean"]

    @cached_property
    def sound(self) -> list[Row]:
        """The clean rows and the late ones: all that a loader should keep."""
        return [row for rows in self.rows.values() for kind, row in rows if kind in ("clean", "late_event")]

    @cached_property
    def sessions(self) -> dict[str, list[Row]]:
        """The rows of each session, in order of time."""
        by_session = defaultdict(list)
        for row in sorted(self.sound, key=lambda row: row["time"]):
            by_session[row["session"]].append(row)
        return by_session


def read_lines(config: SampleShop, folder: Path, stem: str, day: date) -> list[str]:
    if config.compression == "gz":
        return gzip.decompress((folder / f"{stem}-{day}.jsonl.gz").read_bytes()).decode().split("\n")[:-1]
    return (folder / f"{stem}-{day}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def read_catalogue(config: SampleShop, folder: Path, day: date) -> list[Row]:
    return [json.loads(line) for line in read_lines(config, folder, "catalogue/catalogue", day)]


def classify(line: str, day: date, known: set[str], seen: set[str]) -> tuple[str, Row]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return "malformed", {}
    if line in seen:
        return "duplicate_row", row
    seen.add(line)
    if row["user"] is None and row["session"] is None:
        return "null_user", row
    if row["item"] is None:
        return "null_item", row
    if row["item"] not in known:
        return "unknown_item", row
    return classify_time(row, day), row


def classify_time(row: Row, day: date) -> str:
    try:
        row["time"] = datetime.fromisoformat(row["time"])
    except ValueError:
        return "bad_time"
    if row["time"].date() > day:
        return "future_time"
    return "late_event" if row["time"].date() < day else "clean"


def counts_by_kind(rows: list[tuple[str, Row]]) -> dict[str, int]:
    found = Counter(kind for kind, _ in rows)
    return {kind: found[kind] for kind in DIRT_KINDS}


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jsonl*")}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ShopTruth]:
    folder = tmp_path_factory.mktemp("shop")
    return folder, write_shop(CONFIG, folder)


@pytest.fixture(scope="module")
def truth(written: tuple[Path, ShopTruth]) -> ShopTruth:
    return written[1]


@pytest.fixture(scope="module")
def shop(written: tuple[Path, ShopTruth]) -> Shop:
    return Shop(CONFIG, written[0])


def test_every_kind_of_dirt_is_found_as_often_as_it_was_planted(shop: Shop, truth: ShopTruth) -> None:
    for day in CONFIG.days:
        assert len(shop.rows[day]) == truth.days[day].num_rows
        assert counts_by_kind(shop.rows[day]) == truth.days[day].num_planted
        assert sum(kind == "clean" for kind, _ in shop.rows[day]) == truth.days[day].num_clean
    assert all(sum(day.num_planted[kind] for day in truth.days.values()) > 100 for kind in DIRT_KINDS)


def test_no_kind_of_dirt_passes_one_row_in_twenty(truth: ShopTruth) -> None:
    assert all(max(day.num_planted.values()) < 0.05 * day.num_rows for day in truth.days.values())


def test_truth_needs_no_files(truth: ShopTruth) -> None:
    assert shop_truth(CONFIG) == truth


def test_mean_events_and_anonymous_share_are_as_asked(shop: Shop, truth: ShopTruth) -> None:
    assert sum(day.num_rows for day in truth.days.values()) == pytest.approx(2500 * 30, rel=0.05)
    assert np.mean([rows[0]["user"] is None for rows in shop.sessions.values()]) == pytest.approx(0.1, abs=0.01)


def test_clean_rows_refer_only_to_their_days_catalogue(shop: Shop, truth: ShopTruth) -> None:
    for day in CONFIG.days:
        catalogue = {row["id"] for row in shop.catalogues[day]}
        assert catalogue == {item for item, first in truth.first_days.items() if first <= day}
        assert {row["item"] for kind, row in shop.rows[day] if kind == "clean"} <= catalogue


def test_new_items_are_clicked_from_their_first_day(shop: Shop, truth: ShopTruth) -> None:
    for day in CONFIG.days[1:]:
        new = {item for item, first in truth.first_days.items() if first == day}
        assert len(new) == 3
        assert new <= {row["item"] for kind, row in shop.rows[day] if kind == "clean"}


def test_untouched_items_have_no_event(shop: Shop, truth: ShopTruth) -> None:
    assert len(truth.untouched_items) == 24
    assert not truth.untouched_items & {row["item"] for rows in shop.rows.values() for _, row in rows if row}
    assert truth.untouched_items <= {row["id"] for row in shop.catalogues[CONFIG.first_day]}


def test_successors_are_followed_far_more_often_than_by_chance(shop: Shop, truth: ShopTruth) -> None:
    pairs = [(before["item"], after["item"]) for rows in shop.sessions.values() for before, after in pairwise(rows)]
    followed = np.mean([truth.successors[before] == after for before, after in pairs])
    most_common = Counter(after for _, after in pairs).most_common(1)[0][1] / len(pairs)
    assert followed > 0.5
    assert most_common < 0.1
    same_cluster = np.mean([truth.clusters[before] == truth.clusters[after] for before, after in pairs])
    assert same_cluster > 0.8


def test_popularity_is_skewed(shop: Shop) -> None:
    counts = sorted(Counter(row["item"] for row in shop.clean).values(), reverse=True)
    assert sum(counts[:80]) > 0.35 * sum(counts)


def test_sessions_are_dense_and_a_users_sessions_lie_apart(shop: Shop) -> None:
    by_user = defaultdict(list)
    for rows in shop.sessions.values():
        times = [row["time"] for row in rows]
        assert times[-1] - times[0] <= timedelta(minutes=60)
        by_user[rows[0]["user"]].append((times[0], times[-1]))
        assert len({row["user"] for row in rows}) == 1
    by_user.pop(None)
    for spans in by_user.values():
        spans.sort()
        assert all(after[0] - before[1] > timedelta(hours=1) for before, after in pairwise(spans))


def test_gaps_within_a_session_are_short(tmp_path: Path) -> None:
    write_shop(SMALL.without_dirt(), tmp_path)
    sessions = Shop(SMALL.without_dirt(), tmp_path).sessions.values()
    gaps = [after["time"] - before["time"] for rows in sessions for before, after in pairwise(rows)]
    assert timedelta(0) < min(gaps)
    assert max(gaps) <= timedelta(minutes=10)


def test_some_sessions_cross_midnight(shop: Shop) -> None:
    crossing = [rows for rows in shop.sessions.values() if rows[0]["time"].date() != rows[-1]["time"].date()]
    assert len(crossing) > 20


def test_sessions_per_start_day_equal_the_truth_in_a_clean_shop(tmp_path: Path) -> None:
    config = SMALL.without_dirt()
    truth = write_shop(config, tmp_path)
    starts = Counter(rows[0]["time"].date() for rows in Shop(config, tmp_path).sessions.values())
    assert starts == {day: counts.num_sessions for day, counts in truth.days.items()}


def test_uniform_users_come_more_evenly_than_bursty_ones(shop: Shop, truth: ShopTruth) -> None:
    starts = defaultdict(list)
    for rows in shop.sessions.values():
        starts[rows[0]["user"]].append(rows[0]["time"].timestamp())
    spread = {user: float(np.std(np.log(np.diff(sorted(times))))) for user, times in starts.items() if len(times) > 3}
    uniform = [spread[user] for user in truth.uniform_users & spread.keys()]
    bursty = [spread[user] for user in truth.bursty_users & spread.keys()]
    assert np.median(uniform) < 0.1
    assert np.median(bursty) > 1
    assert np.quantile(uniform, 0.9) < np.quantile(bursty, 0.1)


def test_hostile_ids_and_titles_come_back_unharmed(shop: Shop, truth: ShopTruth) -> None:
    assert truth.hostile_items <= {row["item"] for row in shop.clean}
    assert truth.hostile_users <= {row["user"] for row in shop.clean}
    titles = {row["title"] for row in shop.catalogues[CONFIG.first_day]}
    assert {
        "<script>alert(1)</script>",
        "'; DROP TABLE items; --",
        "Lamp\nwith a new line",
        "../../etc/passwd",
    } <= titles


def test_rows_have_the_fields_and_forms_of_the_format(written: tuple[Path, ShopTruth], shop: Shop) -> None:
    lines = read_lines(CONFIG, written[0], "logs/events", date(2026, 1, 3))
    row = next(json.loads(line) for line in lines if '"view"' in line and "u00" in line and line.endswith("}"))
    assert list(row) == ["user", "session", "item", "time", "event"]
    assert re.fullmatch(r"2026-01-03T\d\d:\d\d:\d\d\.\d{3}Z", row["time"])
    assert {row["event"] for row in shop.clean} == {"view", "cart", "purchase"}
    item = shop.catalogues[CONFIG.first_day][0]
    assert list(item) == ["id", "title", "description", "category", "brand", "price", "attributes"]
    assert list(item["attributes"]) == ["colour", "material"]


@pytest.mark.parametrize("compression", ["none", "gz"])
def test_the_same_settings_write_the_same_bytes(tmp_path: Path, compression: str) -> None:
    config = SMALL.model_copy(update={"compression": compression})
    write_shop(config, tmp_path / "a")
    write_shop(config, tmp_path / "b")
    first = file_bytes(tmp_path / "a")
    assert len(first) == 6
    assert first == file_bytes(tmp_path / "b")
    write_shop(config, tmp_path / "a")
    assert first == file_bytes(tmp_path / "a")


def test_a_shop_in_the_other_form_takes_the_place_of_the_first(tmp_path: Path) -> None:
    packed = SMALL.model_copy(update={"compression": "gz"})
    for config, suffix in ((SMALL, ".jsonl"), (packed, ".gz"), (SMALL, ".jsonl")):
        write_shop(config, tmp_path)
        assert len(file_bytes(tmp_path)) == 6
        assert all(name.endswith(suffix) for name in file_bytes(tmp_path))


def test_another_seed_writes_another_shop(tmp_path: Path) -> None:
    write_shop(SMALL, tmp_path / "a")
    write_shop(SMALL.model_copy(update={"seed": 8}), tmp_path / "b")
    other = file_bytes(tmp_path / "b")
    assert all(other[name] != content for name, content in file_bytes(tmp_path / "a").items())


def test_a_day_written_alone_equals_that_day_of_the_shop(tmp_path: Path) -> None:
    truth = write_shop(SMALL, tmp_path / "shop")
    counts = {day: write_day(SMALL, tmp_path / "days", day) for day in reversed(SMALL.days)}
    assert file_bytes(tmp_path / "days") == file_bytes(tmp_path / "shop")
    assert counts == truth.days


def test_another_night_equals_that_of_a_longer_shop(tmp_path: Path) -> None:
    longer = SMALL.model_copy(update={"num_days": 5})
    write_shop(longer, tmp_path / "longer")
    write_shop(SMALL, tmp_path / "continued")
    for day in longer.days[3:]:
        write_day(SMALL, tmp_path / "continued", day)
    assert file_bytes(tmp_path / "continued") == file_bytes(tmp_path / "longer")


def test_a_day_before_the_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2025-12-31 lies before first_day=2026-01-01"):
        write_day(SMALL, tmp_path, date(2025, 12, 31))


def test_a_clean_shop_has_the_same_events_without_dirt(tmp_path: Path) -> None:
    clean = write_shop(SMALL.without_dirt(), tmp_path / "clean")
    assert all(day.num_clean == day.num_rows for day in clean.days.values())
    write_shop(SMALL, tmp_path / "dirty")
    kept = {str(row) for row in Shop(SMALL, tmp_path / "dirty").sound}
    assert kept < {str(row) for row in Shop(SMALL.without_dirt(), tmp_path / "clean").sound}


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    num_users=st.integers(1, 80),
    num_clusters=st.integers(1, 6),
    new_items_per_day=st.integers(0, 4),
    bursty_share=st.floats(0, 1),
    anonymous_share=st.floats(0, 0.5),
    **dict.fromkeys(DIRT_KINDS, st.floats(0, 0.12)),
)
def test_any_small_shop_holds_what_its_truth_says(
    tmp_path_factory: pytest.TempPathFactory, num_users: int, num_clusters: int, **fields: Any
) -> None:
    sizes: dict[str, Any] = {"num_users": num_users, "num_clusters": num_clusters}
    sizes |= {"num_days": 2, "num_items": 5 * num_clusters, "events_per_day": 3 * num_users}
    config = SampleShop(**sizes, **fields)
    folder = tmp_path_factory.mktemp("any")
    truth = write_shop(config, folder)
    shop = Shop(config, folder)
    for day in config.days:
        assert counts_by_kind(shop.rows[day]) == truth.days[day].num_planted
        assert len(shop.rows[day]) == truth.days[day].num_rows
    assert not truth.untouched_items & {row["item"] for row in shop.clean}
    assert shop_truth(config) == truth


def test_command_line_writes_a_shop_and_another_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path), "--days", "2", "--events-per-day", "50", "--users", "40", "--gz", "--clean"]
    assert main(options) == 0
    assert main([*options, "--day", "2026-01-03"]) == 0
    assert len(file_bytes(tmp_path)) == 6
    config = SampleShop(num_days=3, events_per_day=50, num_users=40, compression="gz").without_dirt()
    num_rows = [day.num_rows for day in shop_truth(config).days.values()]
    told = capsys.readouterr().out
    assert f"{num_rows[0] + num_rows[1]} log rows of 2 days" in told
    assert f"{num_rows[2]} log rows of 1 days" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--days", "0"], "num_days=0"),
        (["--users", "10"], "at most 80 (8 a user)"),
        (["--items", "79"], "at least 80 (4 a cluster)"),
        (["--day", "2025-12-31"], "lies before first_day"),
    ],
)
def test_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert main(["--out", str(tmp_path), *options]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_command_line_refuses_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file"), "--days", "1"]) == 2
    assert "cannot write into --out" in capsys.readouterr().err
