import doctest
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional import retrieval

from models import metrics
from models.metrics import bootstrap_interval, case_metrics, paired_interval, relevance
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


ORACLES: dict[str, Callable[..., torch.Tensor]] = {
    "hit": retrieval.retrieval_hit_rate,
    "recall": retrieval.retrieval_recall,
    "ndcg": retrieval.retrieval_normalized_dcg,
    "map": retrieval.retrieval_average_precision,
    "mrr": retrieval.retrieval_reciprocal_rank,
}


def oracle_metrics(shown: NDArray[np.int32], targets: list[int], k: int, num_items: int) -> dict[str, float]:
    """Ask torchmetrics about one case.

    It takes a score of every item: here 1 / rank, distinct and positive, for it averages ties and counts no item whose
    score is 0; items that are not listed come after those that are. All but MAP are then defined as ours. Its MAP
    divides by the targets that were found, ours by those that could have been.
    """
    others = np.setdiff1d(np.arange(2, num_items), shown)
    scores, is_target = torch.zeros(num_items), torch.zeros(num_items, dtype=torch.bool)
    scores[torch.from_numpy(np.concatenate([shown, others]))] = 1 / torch.arange(1.0, num_items - 1)
    is_target[targets] = True
    values = {name: float(oracle(scores, is_target, top_k=k)) for name, oracle in ORACLES.items()}
    num_found = np.isin(shown[:k], targets).sum()
    values["map"] *= num_found / min(k, len(targets))
    return values


@pytest.mark.parametrize("k", [1, 3, 10])
def test_they_equal_those_of_torchmetrics(sequences: Make, k: int) -> None:
    generator, num_items = np.random.default_rng(k), 30
    real = np.arange(2, num_items)
    shown = np.stack([generator.permutation(real)[:10] for _ in range(200)]).astype(np.int32)
    targets = [generator.permutation(real)[: generator.integers(1, 15)].tolist() for _ in range(200)]
    values = case_metrics(shown, sequences(*targets), [k])
    for case in range(200):
        for name, expected in oracle_metrics(shown[case], targets[case], k, num_items).items():
            assert values[f"{name}@{k}"][case] == pytest.approx(expected, abs=1e-6), name


def test_doctests_hold() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted >= 9
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


def test_what_two_models_share_does_not_widen_the_interval_of_their_difference() -> None:
    generator = np.random.default_rng(5)
    hardness, noise = generator.normal(0, 1, 2000), generator.normal(0, 0.1, 2000)
    mean, low, high = paired_interval(hardness + noise + 0.05, hardness, seed=2)
    half = 1.96 * noise.std() / math.sqrt(2000)
    assert mean == pytest.approx(noise.mean() + 0.05)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert low < mean < high


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_difference_lies_among_the_differences_of_cases_and_turns_its_sign(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = np.array(pairs).T
    mean, low, high = paired_interval(ours, theirs, 50, seed=1)
    assert mean == pytest.approx(ours.mean() - theirs.mean(), abs=1e-12)
    assert (ours - theirs).min() - 1e-9 <= low <= high <= (ours - theirs).max() + 1e-9
    assert paired_interval(theirs, ours, 50, seed=1)[0] == pytest.approx(-mean, abs=1e-12)


def test_models_are_compared_on_the_same_cases() -> None:
    with pytest.raises(ValueError, match=r"ours has \(2,\) values, theirs \(1,\)"):
        paired_interval(np.zeros(2), np.zeros(1), seed=0)
    with pytest.raises(ValueError, match="at least one case"):
        paired_interval(np.empty(0), np.empty(0), seed=0)
