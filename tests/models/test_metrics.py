import doctest
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import metrics
from models.metrics import bootstrap_interval, case_metrics, coverage_at, novelty_at, relevance
from models.sequences import Sequences

Make = Callable[..., Sequences]
LISTS = st.lists(st.integers(2, 12), min_size=4, max_size=4, unique=True)
TARGETS = st.lists(st.integers(2, 12), min_size=1, max_size=6, unique=True)


def slow_metrics(shown: list[int], targets: list[int], k: int) -> dict[str, float]:
    """Compute one case the long way, straight from the definitions."""
    hits = [rank for rank, item in enumerate(shown[:k], start=1) if item in targets]
    possible = min(k, len(targets))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, possible + 1))
    return {
        "hit": float(bool(hits)),
        "recall": len(hits) / len(targets),
        "ndcg": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
        "map": sum((number / rank) for number, rank in enumerate(hits, start=1)) / possible,
        "mrr": 1 / hits[0] if hits else 0.0,
    }


@settings(max_examples=200)
@given(cases=st.lists(st.tuples(LISTS, TARGETS), min_size=1, max_size=6), k=st.integers(1, 4))
def test_they_equal_the_definitions(sequences: Make, cases: list[tuple[list[int], list[int]]], k: int) -> None:
    shown = np.array([items for items, _ in cases], np.int32)
    values = case_metrics(shown, sequences(*(targets for _, targets in cases)), [k])
    for case, (items, targets) in enumerate(cases):
        for name, expected in slow_metrics(items, targets, k).items():
            assert values[f"{name}@{k}"][case] == pytest.approx(expected)


def test_doctests_hold() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted >= 10
    assert result.failed == 0


def test_a_perfect_list_scores_one_also_with_more_targets_than_places(sequences: Make) -> None:
    values = case_metrics(np.array([[2, 3]], np.int32), sequences([4, 3, 2]), [2])
    assert {name: float(value[0]) for name, value in values.items()} == {
        "hit@2": 1, "recall@2": pytest.approx(2 / 3), "ndcg@2": pytest.approx(1), "map@2": 1, "mrr@2": 1,
    }  # fmt: skip


def test_unfilled_slots_and_unknown_targets_are_misses(sequences: Make) -> None:
    assert not relevance(np.array([[0, 1, 3]], np.int32), sequences([0, 1, 1])).any()
    assert case_metrics(np.array([[2, 0]], np.int32), sequences([2, 1, 1]), [2])["recall@2"].tolist() == [1 / 3]


@pytest.mark.parametrize(
    ("rows", "k", "message"),
    [
        ([[2], []], 1, "case 1 has no target"),
        ([[2], [3, 4, 3]], 1, "case 1 has target 3 twice"),
        ([[2]], 1, "2 lists but 1 cases"),
        ([[2], [3]], 3, "k is 3, but the lists hold 2"),
    ],
)
def test_cases_that_make_no_sense_are_refused(sequences: Make, rows: list[list[int]], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case_metrics(np.array([[2, 3], [2, 3]], np.int32), sequences(*rows), [k])


def test_coverage_counts_only_what_was_allowed() -> None:
    allowed = np.array([True, True, True, True, False, True])
    assert coverage_at(np.array([[2, 4], [2, 3]], np.int32), allowed, 1) == pytest.approx(1 / 3)
    assert math.isnan(coverage_at(np.array([[2]], np.int32), np.zeros(6, np.bool_), 1))


def test_novelty_of_an_unseen_item_is_finite_and_largest() -> None:
    counts = np.array([0, 0, 6, 0])  # shares 7/8 and 1/8
    assert novelty_at(np.array([[3]], np.int32), counts, 1) == pytest.approx(3)
    assert novelty_at(np.array([[2, 0]], np.int32), counts, 2) == pytest.approx(-math.log2(7 / 8))
    assert math.isnan(novelty_at(np.array([[0]], np.int32), counts, 1))


def test_the_interval_is_that_of_a_normal_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RESAMPLE_CELLS", 300_000)  # so that resamples are drawn in many pieces
    values = np.random.default_rng(1).normal(5, 2, 4000)
    low, high = bootstrap_interval(values, seed=3)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert bootstrap_interval(values, seed=3) == (low, high)
    assert bootstrap_interval(values, seed=4) != (low, high)


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        bootstrap_interval(np.empty(0), seed=0)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(np.array([1, np.nan]), seed=0)
