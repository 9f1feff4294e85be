"""A night with a model that knows items by their metadata: items that nobody has touched are ranked like any other."""

import logging
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.night import Night
from pipelines.scoring import build_recommendations, build_related_items
from pipelines.settings import Beam
from tests.pipelines.small_store import Row, Visit, make_night, read, shop_settings, train

pytestmark = pytest.mark.usefixtures("one_thread")

# Who likes shoes sees no hats. Of k, l (new) and m (new, not for sale) there is no event, and of z not even a category.
SHOES, HATS, COLD = "abcdkm", "efghl", "klmz"
CATEGORIES = dict.fromkeys(SHOES, "shoes") | dict.fromkeys(HATS, "hats")
VISITS = [
    Visit(f"{taste}{number}", number % 4, items[number % 4 :] + items[: number % 4])
    for taste, items in (("shoe", "abcd"), ("hat", "efgh"))
    for number in range(20)
]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    settings = shop_settings(
        "m2trec", k=5, related_k=3, training={"settings": {"m2trec": {"num_epochs": 30, "learning_rate": 0.02}}}
    )
    root = tmp_path_factory.mktemp("shop")
    return train(make_night(root, VISITS, 3, settings, items="abcdefghklmz", unlisted="m", categories=CATEGORIES))


@pytest.fixture(scope="module")
def recommended(night: Night) -> list[Row]:
    (write,) = build_recommendations(night)
    return read(night, write)


def test_items_without_an_event_are_recommended_to_those_whom_they_suit(recommended: list[Row]) -> None:
    lists: dict[str, str] = defaultdict(str)
    for row in recommended:
        lists[row["subject_id"]] += row["item_id"]
    assert len(lists) == 40
    for subject, items in lists.items():
        liked = SHOES if subject.startswith("shoe") else HATS
        assert set(items) == set(liked) - {"m"}


def test_a_reason_names_the_matched_field(recommended: list[Row]) -> None:
    reasons = {row["item_id"]: row["reason"] for row in recommended}
    assert {reasons[item] for item in "kl"} == {"matched on category level 1"}
    assert set(reasons.values()) <= {"matched on category level 1", "expected next by its metadata"}
    assert {row["source"] for row in recommended} == {"model"}


def test_a_new_item_has_related_ones_too(night: Night) -> None:
    (write,) = build_related_items(night)
    related: dict[str, str] = defaultdict(str)
    for row in read(night, write):
        related[row["item_id"]] += row["related_item_id"]
    assert set(related) == set("abcdefghklz")
    assert set(related["k"]) <= set("abcd")
    assert set(related["l"]) <= set("efgh")


def test_beam_writes_the_same_rows(night: Night, recommended: list[Row]) -> None:
    beam = Beam(buckets=2, options={"direct_runner_bundle_repeat": 1})
    settings = night.settings.model_copy(update={"engine": "beam", "beam": beam})
    (write,) = build_recommendations(replace(night, settings=settings, run_id="beam"))
    assert Counter(map(repr, read(night, write))) == Counter(map(repr, recommended))


def test_what_the_catalogue_lacks_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "nightly"):
        train(make_night(tmp_path, VISITS, 3, shop_settings("m2trec"), items="abcdefghz", categories=CATEGORIES))
    told = [message for message in caplog.messages if message.startswith("m2trec: ")]
    assert "m2trec: 1 of 9 items have no value in any field: no metadata tells them from one another" in told
