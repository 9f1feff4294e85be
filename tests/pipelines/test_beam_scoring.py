from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import scoring
from pipelines.night import Night
from pipelines.scoring import Scorer, build_recommendations, build_related_items, load_scorer
from pipelines.settings import Beam
from tests.pipelines.small_store import Visit, make_night, read, shop_settings, train

VISITS = [
    *[Visit(f"u{n}", n % 4, "abcdefgh"[n % 5 : n % 5 + 4], hour=8 + n / 10) for n in range(30)],
    Visit("it's\n🙂", 3, "hgf"), Visit("?guest", 3, "ab"), Visit("?guest", 3, "c", hour=20), Visit("?gone", 1, "ab"),
    Visit("idle", 0, "abc"), Visit("looks", 3, "abc", kind="look"), Visit("all", 2, "abcdefgh"),
]  # fmt: skip


def on_beam(night: Night, buckets: int = 3) -> Night:
    beam = Beam(buckets=buckets, options={"direct_runner_bundle_repeat": 1})
    return replace(night, settings=night.settings.model_copy(update={"engine": "beam", "beam": beam}), run_id="beam")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    settings = shop_settings("markov", "popular", exclude_seen=True, active_days=3, k=6, related_k=9)
    root = tmp_path_factory.mktemp("shop")
    return train(make_night(root, VISITS, 3, settings, items="abcdefghxy", unlisted="hy"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were loaded, in order."""
    names: list[str] = []

    def noted(night: Night, name: str) -> Scorer:
        names.append(name)
        return load_scorer(night, name)

    monkeypatch.setattr(scoring, "load_scorer", noted)
    return names


def test_the_lists_of_all_subjects_are_those_of_the_local_engine(
    night: Night, monkeypatch: pytest.MonkeyPatch, loads: list[str]
) -> None:
    (local,) = build_recommendations(night)
    expected = read(night, local)
    assert loads == ["markov", "popular"]
    monkeypatch.setattr(scoring, "CHUNK_SUBJECTS", 2)
    (write,) = build_recommendations(on_beam(night))
    assert Counter(map(repr, read(night, write))) == Counter(map(repr, expected))
    assert loads == ["markov", "popular"] * 2  # and not for every bucket, or bundle that ran again
    subjects = {(row["subject_type"], row["subject_id"]) for row in expected}
    assert subjects >= {("user", "it's\n🙂"), ("session", "guest"), ("user", "looks"), ("user", "all")}
    assert not subjects & {("session", "gone"), ("user", "idle")}
    assert {row["reason"] for row in expected} > {"popular: the subject has no history"}


def test_the_parts_are_named_by_model_and_bucket_and_replace_those_of_the_night(night: Night) -> None:
    (local,), (write,) = build_recommendations(night), build_recommendations(on_beam(night, buckets=2))
    assert [part.slice for part in local.parts] == ["markov", "popular"]
    assert [part.slice for part in write.parts] == [f"{name}-{n:04d}" for name in ("markov", "popular") for n in (0, 1)]
    assert {part.partition for part in write.parts} == {night.day.isoformat()}
    assert all(write.replaces(part) and local.replaces(other) for part in local.parts for other in write.parts)
    for part in write.parts:
        rows = read(night, replace(write, parts=(part,)))
        subjects = [(row["subject_type"], row["subject_id"], row["rank"]) for row in rows]
        assert subjects == sorted(subjects)


def test_related_items_are_those_of_the_local_engine(night: Night, loads: list[str]) -> None:
    (local,), (write,) = build_related_items(night), build_related_items(on_beam(night))
    assert Counter(map(repr, read(night, write))) == Counter(map(repr, read(night, local)))
    assert loads == ["markov", "popular"] * 2
    assert {row["item_id"] for row in read(night, write)} == set("abcdefgx")


def test_without_an_active_subject_there_is_an_empty_part_for_each_model(tmp_path: Path) -> None:
    night = train(make_night(tmp_path, [Visit("old", 0, "ab")], 3, shop_settings("popular", active_days=1)))
    (write,) = build_recommendations(on_beam(night))
    assert [(part.slice[:7], part.num_rows) for part in write.parts] == [("popular", 0)]
