import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.recommender import Recommender
from models.registry import model_class
from models.sequences import Sequences
from pipelines import scoring
from pipelines.contracts import RECOMMENDATIONS, RELATED_ITEMS, Contract
from pipelines.engine import create_views, scan_table
from pipelines.night import Night
from pipelines.ranking import NO_HISTORY, NOTHING_LEFT, Lists
from pipelines.scoring import build_recommendations, build_related_items, subjects_sql
from pipelines.settings import Settings
from pipelines.store import Write
from pipelines.training_data import load_training_data
from tests.pipelines.small_store import Row, Visit, day, make_night, read, shape, shop_settings, train

VERSIONS = ("model_version", "data_version", "rule_version")
EVERY_MODEL = ("popular", "markov", "itemknn", "sasrec")
ITEMS = "abcdefghij"

# Everybody walks through the alphabet, so what follows an item is known; o'hara's name needs quoting.
WALKS = (
    Visit("ann", 0, "abc"),
    Visit("ann", 1, "de"),
    Visit("ann", 2, "f"),
    Visit("bob", 0, "cdefg"),
    Visit("bob", 1, "h"),
    Visit("o'hara", 0, "efghij"),
    Visit("?v", 2, "ab"),
    Visit("?old", 1, "bcd"),
    Visit("eve", 2, "a", kind="look"),
)

Build = Callable[[Night], list[Write]]


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(
    root: Path, settings: Settings, *, visits: tuple[Visit, ...] = WALKS, items: str = ITEMS, **options: Any
) -> Night:
    return train(make_night(root, visits, 2, settings, items=items, **options))


def rows_of(build: Build, night: Night) -> list[Row]:
    (write,) = build(night)
    return read(night, write)


def lists_by(rows: list[Row], *key: str, item: str = "item_id") -> dict[tuple[str, ...], str]:
    """The items of every list, joined in the order of their rows."""
    lists: dict[tuple[str, ...], str] = defaultdict(str)
    for row in rows:
        lists[tuple(row[name] for name in key)] += row[item]
    return dict(lists)


def group(rows: list[Row], *key: str) -> dict[tuple[str, ...], list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in key)].append(row)
    return groups


def subjects(visits: list[Visit], last: int, root: Path, zone: str = "UTC", active_days: int = 90) -> list[str]:
    """Names of the subjects that get a list, sorted; anonymous ones with their question mark."""
    night = make_night(root, visits, last, shop_settings(zone=zone, active_days=active_days))
    with night.connect() as con:
        create_views(con, {"sessions": scan_table(night.store, "sessions", until=night.day)})
        found = con.execute(subjects_sql(night)).fetchall()
    return sorted(("?" if kind == "session" else "") + name for kind, name in found)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    settings = shop_settings("markov", "popular", "itemknn", "sasrec", k=4, related_k=3, active_days=3)
    return trained(tmp_path_factory.mktemp("shop"), settings)


@pytest.fixture(scope="module")
def recommended(night: Night) -> list[Row]:
    return rows_of(build_recommendations, night)


def test_users_count_as_active_from_the_first_of_the_last_days_on(tmp_path: Path) -> None:
    visits = [Visit(f"u{number}", number, "a") for number in range(10)]
    assert subjects(visits, 9, tmp_path / "3", active_days=3) == ["u7", "u8", "u9"]
    assert subjects(visits, 9, tmp_path / "1", active_days=1) == ["u9"]


def test_a_session_over_midnight_belongs_to_both_days(tmp_path: Path) -> None:
    visits = [Visit("over", 7, "ab" * 40, hour=23), Visit("before", 7, "ab", hour=23), Visit("ann", 9, "a")]
    assert subjects(visits, 9, tmp_path, active_days=2) == ["ann", "over"]


def test_activity_is_counted_in_the_zone_of_the_nights(tmp_path: Path) -> None:
    visits = [Visit("late", 7, "a", hour=23), Visit("early", 7, "a", hour=22.5), Visit("?late", 8, "a", hour=23)]
    zone = "Etc/GMT-1"  # an hour east of Greenwich
    assert subjects(visits, 9, tmp_path, zone=zone, active_days=2) == ["?late", "late"]


def test_anonymous_sessions_get_a_list_in_their_own_night_only(tmp_path: Path) -> None:
    visits = [Visit("?before", 8, "ab"), Visit("?today", 9, "ab"), Visit("?over", 8, "ab" * 40, hour=23.5)]
    assert subjects(visits, 9, tmp_path, active_days=90) == ["?over", "?today"]


def test_who_comes_back_is_one_subject_and_who_shares_a_name_with_a_session_is_two(tmp_path: Path) -> None:
    visits = [Visit("x", 8, "a"), Visit("x", 9, "b"), Visit("?x", 9, "b"), Visit("?x", 9, "c", hour=20)]
    assert subjects(visits, 9, tmp_path) == ["?x", "x"]


def test_later_days_are_not_looked_at(tmp_path: Path) -> None:
    later = (Visit("ann", 3, "j"), Visit("late", 3, "a"), Visit("?late", 3, "a"))
    now = trained(tmp_path / "now", shop_settings("markov"))
    again = trained(tmp_path / "again", shop_settings("markov"), visits=(*WALKS, *later))
    assert rows_of(build_recommendations, again) == rows_of(build_recommendations, now)


def test_every_model_ranks_for_every_active_subject(recommended: list[Row]) -> None:
    lists = lists_by(recommended, "model", "subject_type", "subject_id")
    active = [("session", "v"), ("user", "ann"), ("user", "bob"), ("user", "eve"), ("user", "o'hara")]
    assert set(lists) == {(model, *subject) for model, subject in product(EVERY_MODEL, active)}
    assert all(len(items) == 4 == len(set(items)) for items in lists.values())


def test_a_list_continues_the_whole_history_of_its_subject(recommended: list[Row]) -> None:
    lists = lists_by([row for row in recommended if row["model"] == "markov"], "subject_type", "subject_id")
    assert lists["user", "ann"][0] == "g"  # after f, which she saw on the night itself
    assert lists["user", "bob"][0] == "i"
    assert lists["session", "v"][0] == "c"
    assert lists["user", "o'hara"][0] == "j"  # nothing follows j, but i, seen before, asks for j


def test_a_user_who_did_nothing_that_teaches_gets_what_is_popular(recommended: list[Row]) -> None:
    # Events of the week: c, d, e 3 each, f 3, b 3; a 2, g 2, h 2; i, j 1. Ties go by name, the look does not count.
    for model in EVERY_MODEL:
        rows = [row for row in recommended if (row["model"], row["subject_id"]) == (model, "eve")]
        assert "".join(row["item_id"] for row in rows) == "bcde"
        assert {(row["source"], row["reason"]) for row in rows} == {("fallback", NO_HISTORY)}
        assert [row["score"] for row in rows] == pytest.approx([3 / 23] * 4)


def test_what_a_model_ranked_says_so(recommended: list[Row]) -> None:
    others = [row for row in recommended if row["subject_id"] != "eve"]
    for model in EVERY_MODEL:
        for row in (row for row in others if row["model"] == model):
            by_model = model in ("popular", "sasrec") or row["score"] >= 0
            expected = ("model", model_class(model).reason) if by_model else ("fallback", NOTHING_LEFT)
            assert (row["source"], row["reason"]) == expected


@pytest.mark.parametrize(
    ("build", "contract"), [(build_recommendations, RECOMMENDATIONS), (build_related_items, RELATED_ITEMS)]
)
def test_rows_have_the_shape_and_the_order_of_their_contract(night: Night, build: Build, contract: Contract) -> None:
    (write,) = build(night)
    assert shape(night, write).equals(contract.schema)
    assert [(part.partition, part.slice) for part in write.parts] == [
        (night.day.isoformat(), model) for model in night.settings.training.models
    ]
    rows = read(night, write)
    assert all(row[name] is not None for row in rows for name in contract.required)
    assert {row["as_of_date"] for row in rows} == {night.day}
    order = {model: place for place, model in enumerate(night.settings.training.models)}
    keys = [(order[row["model"]], *(row[name] for name in contract.key[2:])) for row in rows]
    assert keys == sorted(set(keys))


def test_ranks_run_from_one_and_scores_fall_with_them(recommended: list[Row]) -> None:
    for rows in group(recommended, "model", "subject_type", "subject_id").values():
        assert [row["rank"] for row in rows] == [1, 2, 3, 4]
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_chunks_of_subjects_give_the_same_rows_as_all_at_once(
    night: Night, recommended: list[Row], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    related = rows_of(build_related_items, night)
    monkeypatch.setattr("pipelines.scoring.CHUNK_SUBJECTS", chunk)
    assert rows_of(build_recommendations, night) == recommended
    assert rows_of(build_related_items, night) == related


def test_the_same_night_trained_and_scored_twice_gives_the_same_bytes(night: Night, tmp_path: Path) -> None:
    again = trained(tmp_path, night.settings)
    for build in (build_recommendations, build_related_items):
        (first,), (second,) = build(night), build(again)
        assert [part.sha256 for part in first.parts] == [part.sha256 for part in second.parts]
        assert len({part.sha256 for part in first.parts}) == len(EVERY_MODEL)


@pytest.fixture(scope="module")
def with_unlisted(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A shop that no longer lists b, c and h, although they are popular; k is larger than what is left."""
    settings = shop_settings(*EVERY_MODEL, k=8, related_k=8, exclude_seen=True)
    return trained(tmp_path_factory.mktemp("unlisted"), settings, unlisted="bch")


def test_unlisted_items_are_never_shown(with_unlisted: Night) -> None:
    lists = lists_by(rows_of(build_recommendations, with_unlisted), "model", "subject_type", "subject_id")
    assert len(lists) == 5 * 4
    assert {"".join(sorted(items)) for items in lists.values()} == {"adefgij"}
    related = rows_of(build_related_items, with_unlisted)
    assert {row["item_id"] for row in related} == {row["related_item_id"] for row in related} == set("adefgij")


def test_seen_items_stand_last_and_marked_where_they_are_excluded(with_unlisted: Night) -> None:
    rows = rows_of(build_recommendations, with_unlisted)
    for model in EVERY_MODEL:
        ann = [row for row in rows if (row["model"], row["subject_id"]) == (model, "ann")]
        assert {row["item_id"] for row in ann[:3]} == set("gij")
        assert "".join(row["item_id"] for row in ann[3:]) == "defa"  # by popularity
        reached = {"popular": 3, "sasrec": 3, "markov": 1}.get(model, sum(row["score"] >= 0 for row in ann[:3]))
        assert [row["source"] for row in ann] == ["model"] * reached + ["fallback"] * (7 - reached)
        assert [row["reason"] for row in ann] == [model_class(model).reason] * reached + [NOTHING_LEFT] * (7 - reached)
        assert [row["rank"] for row in ann] == [1, 2, 3, 4, 5, 6, 7]


def test_related_items_are_those_that_follow_and_never_the_item_itself(night: Night) -> None:
    related = rows_of(build_related_items, night)
    lists = lists_by(related, "model", "item_id", item="related_item_id")
    assert set(lists) == set(product(EVERY_MODEL, ITEMS))
    assert all(len(items) == 3 == len(set(items)) and item not in items for (_, item), items in lists.items())
    for item, follower in pairwise(ITEMS):
        assert lists["markov", item][0] == follower


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_an_item_is_not_related_to_itself_even_if_nothing_else_is_left(tmp_path: Path, exclude_seen: bool) -> None:
    settings = shop_settings("popular", "markov", related_k=3, exclude_seen=exclude_seen)
    shop = trained(tmp_path, settings, unlisted=ITEMS[2:])
    related = lists_by(rows_of(build_related_items, shop), "model", "item_id", item="related_item_id")
    assert related == {(model, a): b for model in ("popular", "markov") for a, b in ("ab", "ba")}


def test_the_only_listed_item_has_no_related_items(tmp_path: Path) -> None:
    shop = trained(tmp_path, shop_settings("popular"), unlisted=ITEMS[1:])
    assert rows_of(build_related_items, shop) == []
    assert lists_by(rows_of(build_recommendations, shop), "subject_id") == {
        (name,): "a" for name in ("ann", "bob", "eve", "o'hara", "v")
    }


def test_lists_that_cannot_be_full_are_told_with_whose_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    visits = [Visit("ann", 0, "abc"), Visit("bob", 1, "bca"), Visit("?x", 1, "ab")]
    night = train(make_night(tmp_path, visits, 1, shop_settings("markov", k=5), unlisted="c"))
    assert len(rows_of(build_recommendations, night)) == 2 * 3
    told = rf"recommendations of {day(1)} by markov: (\d) of \1 lists have fewer than 5 items, for example that of "
    assert sum(map(int, re.findall(told, caplog.text))) == 3  # in as many messages as there are chunks
    assert "that of session x with 2; 2 are listed" in caplog.text


def test_a_night_without_an_active_subject_has_an_empty_table(tmp_path: Path) -> None:
    quiet = train(make_night(tmp_path, WALKS, 9, shop_settings(active_days=2)))
    (write,) = build_recommendations(quiet)
    assert shape(quiet, write).equals(RECOMMENDATIONS.schema)
    assert read(quiet, write) == []


def test_lists_are_written_before_there_can_be_an_evaluation(tmp_path: Path) -> None:
    first = train(make_night(tmp_path, [Visit("ann", 0, "abc"), Visit("bob", 0, "ab")], 0, shop_settings(*EVERY_MODEL)))
    lists = lists_by(rows_of(build_recommendations, first), "model", "subject_id")
    assert {key: set(items) for key, items in lists.items()} == {
        key: set("abc") for key in product(EVERY_MODEL, ("ann", "bob"))
    }
    assert lists["markov", "bob"][0] == "c"


def versions(night: Night) -> dict[str, str]:
    """Model, data and rule version; every row of both tables has the same."""
    rows = [row for build in (build_recommendations, build_related_items) for row in rows_of(build, night)]
    (found,) = {tuple(row[name] for name in VERSIONS) for row in rows}
    return dict(zip(VERSIONS, found, strict=True))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return trained(tmp_path_factory.mktemp("base"), shop_settings("markov"))


@pytest.fixture(scope="module")
def before(base: Night) -> dict[str, str]:
    return versions(base)


def changed(before: dict[str, str], night: Night) -> set[str]:
    after = versions(night)
    return {name for name in VERSIONS if before[name] != after[name]}


def test_versions_stay_if_a_night_is_done_again(base: Night, before: dict[str, str], tmp_path: Path) -> None:
    assert changed(before, trained(tmp_path, base.settings)) == set()


@pytest.mark.parametrize(("name", "value"), [("k", 6), ("related_k", 6), ("active_days", 2), ("exclude_seen", True)])
def test_a_rule_changes_the_rule_version_alone(base: Night, before: dict[str, str], name: str, value: object) -> None:
    rules = base.settings.recommendations.model_copy(update={name: value})
    settings = base.settings.model_copy(update={"recommendations": rules})
    assert changed(before, replace(base, settings=settings)) == {"rule_version"}


def test_which_model_is_served_shapes_no_list(base: Night, before: dict[str, str]) -> None:
    rules = base.settings.recommendations.model_copy(update={"serve": "popular"})
    settings = base.settings.model_copy(update={"recommendations": rules})
    assert changed(before, replace(base, settings=settings)) == set()


def test_another_preset_changes_the_model_version_alone(before: dict[str, str], tmp_path: Path) -> None:
    other = shop_settings("markov", training={"models": {"markov": "paper"}})
    assert changed(before, trained(tmp_path, other)) == {"model_version"}


@pytest.mark.parametrize(
    ("visits", "options", "expected"),
    [
        ((*WALKS, Visit("cy", 2, "ja")), {}, {"model_version", "data_version"}),
        ((*WALKS, Visit("cy", 2, "ja", kind="look")), {}, {"data_version"}),
        (WALKS, {"unlisted": "c"}, {"data_version"}),
        (WALKS, {"items": ITEMS + "k"}, {"model_version", "data_version"}),
        (WALKS, {"brand": "maker"}, {"model_version", "data_version"}),
    ],
    ids=["an event", "an event that teaches nothing", "an item no longer listed", "a new item", "a new token"],
)
def test_data_change_the_versions_of_what_is_made_from_them(
    base: Night,
    before: dict[str, str],
    tmp_path: Path,
    visits: tuple[Visit, ...],
    options: dict[str, str],
    expected: set[str],
) -> None:
    assert changed(before, trained(tmp_path, base.settings, visits=visits, **options)) == expected


def test_a_checkpoint_that_has_seen_the_next_day_serves_no_list(tmp_path: Path) -> None:
    night = make_night(tmp_path, (*WALKS, Visit("ann", 3, "gh")), 3, shop_settings(), items=ITEMS)
    (part,) = train(night).current("checkpoints")
    earlier = make_night(tmp_path / "earlier", WALKS, 2, shop_settings(), items=ITEMS)
    train(earlier)
    (own,) = earlier.current("checkpoints")
    stolen = night.store.work / part.path
    target = earlier.store.work / own.path
    for path in (target / "serving").iterdir():
        path.write_bytes((stolen / "serving" / path.name).read_bytes())
    with pytest.raises(ValueError, match=f"has seen events up to {day(3)}, but only days up to {day(2)}"):
        build_recommendations(earlier)


def test_a_model_is_told_whose_history_it_ranks(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[int, list[int]] = {}
    rank = scoring.rank

    def look(model: Recommender, fallback: Recommender, histories: Sequences, *arguments: Any, **more: Any) -> Lists:
        asked.update(zip(histories.subjects.tolist(), _lists(histories), strict=True))
        return rank(model, fallback, histories, *arguments, **more)

    monkeypatch.setattr(scoring, "rank", look)
    build_recommendations(night)
    everything = load_training_data(night).everything
    learnt = dict(zip(everything.subjects.tolist(), _lists(everything), strict=True))
    known = [key for key, history in asked.items() if history]
    assert len(known) > 3
    assert all(asked[key] == learnt[key] for key in known)


def _lists(sequences: Sequences) -> list[list[int]]:
    return [row.tolist() for row in np.split(sequences.items, sequences.offsets[1:-1])]
