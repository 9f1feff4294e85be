from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.episodes import Episodes, learn_episodes
from models.links import Links
from models.sequences import Sequences

Make = Callable[..., Sequences]
NUM_ITEMS, NUM_MODULES, NUM_UNITS = 30, 4, 8
WEIGHTS = np.array([1, 0.25], np.float32)


def random_sequences(make: Make, seed: int, number: int = 40) -> Sequences:
    generator = np.random.default_rng(seed)
    return make(*[generator.integers(2, NUM_ITEMS, generator.integers(1, 7)).tolist() for _ in range(number)])


@pytest.fixture(scope="module")
def banks(sequences: Make) -> list[Links]:
    generator = np.random.default_rng(3)
    return [
        learn_episodes(random_sequences(sequences, seed), NUM_ITEMS, NUM_MODULES, NUM_UNITS, generator)
        for seed in range(2)
    ]


def dense(banks: list[Links]) -> NDArray[np.float64]:
    return np.concatenate([bank.matrix().toarray() for bank in banks], axis=1).astype(float)


def expected_scores(
    history: list[int], banks: list[Links], power: float, num_winners: int, *, is_corrected: bool
) -> NDArray[np.float64]:
    """The formula, unit by unit: an item weighs the place of its last event."""
    linked, size = dense(banks), NUM_MODULES * NUM_UNITS
    weights = {item: place + 1 for place, item in enumerate(history)}
    support = sum(weight * linked[item] for item, weight in weights.items()) / sum(weights.values())
    newest = np.max([linked[item] * weight for item, weight in weights.items()], axis=0)
    activity = np.where(support > 0, support**power, 0)
    for first in range(0, len(support), NUM_UNITS):
        best = np.lexsort((-newest[first : first + NUM_UNITS], -support[first : first + NUM_UNITS].round(9)))
        activity[first + best[num_winners:]] = 0
    activity = activity * np.repeat(WEIGHTS, size)
    scores = linked @ activity
    if is_corrected:
        for bank in range(2):
            own = slice(bank * size, (bank + 1) * size)
            scores = scores - activity[own].sum() * linked[:, own].mean(axis=1)
    scores = np.maximum(scores, 0)
    return scores / max(scores.sum(), 1e-9)


def test_a_code_is_one_unit_in_each_module_for_all_items_of_a_sequence(sequences: Make) -> None:
    links = learn_episodes(sequences([2, 3, 3, 4], [5]), 7, 4, 8, np.random.default_rng(0))
    codes = [links.columns[start:stop].tolist() for start, stop in zip(links.offsets, links.offsets[1:], strict=False)]
    assert codes[2] == codes[3] == codes[4]
    assert codes[0] == codes[1] == codes[6] == []
    for code in (codes[2], codes[5]):
        assert [unit // 8 for unit in code] == [0, 1, 2, 3]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("is_corrected", [True, False])
@pytest.mark.parametrize("num_winners", [1, 2, 3, NUM_UNITS])
def test_scores_are_those_of_the_formula(
    sequences: Make, banks: list[Links], power: float, num_winners: int, *, is_corrected: bool
) -> None:
    memory = Episodes.of(banks, NUM_MODULES, WEIGHTS)
    histories = random_sequences(sequences, 9, 300)
    found = memory.found(histories, power, num_winners, NUM_ITEMS, is_corrected=is_corrected).toarray()
    for row, (start, stop) in enumerate(zip(histories.offsets, histories.offsets[1:], strict=False)):
        history = histories.items[start:stop].tolist()
        expected = expected_scores(history, banks, power, num_winners, is_corrected=is_corrected)
        np.testing.assert_allclose(found[row], expected, atol=2e-5)


def test_only_the_best_are_kept_with_their_share_of_all(sequences: Make, banks: list[Links]) -> None:
    memory, histories = Episodes.of(banks, NUM_MODULES, WEIGHTS), random_sequences(sequences, 9)
    whole = memory.found(histories, 2, 64, NUM_ITEMS).toarray()
    few = memory.found(histories, 2, 64, 3).toarray()
    assert ((few > 0).sum(axis=1) == 3).all()
    np.testing.assert_array_equal(np.sort(few)[:, -3:], np.sort(whole)[:, -3:])


def test_what_is_unknown_finds_nothing(sequences: Make, banks: list[Links]) -> None:
    widened = [bank.widened(NUM_ITEMS + 1, bank.num_columns) for bank in banks]
    memory = Episodes.of(widened, NUM_MODULES, WEIGHTS)
    assert memory.found(sequences([NUM_ITEMS], []), 2, 64, 5).nnz == 0
    assert memory.familiarity(sequences([NUM_ITEMS], [])).tolist() == [0, 0]


def test_familiarity_is_the_mean_of_the_modules_best_units_in_the_better_bank(
    sequences: Make, banks: list[Links]
) -> None:
    histories = random_sequences(sequences, 11)
    found = Episodes.of(banks, NUM_MODULES, WEIGHTS).familiarity(histories)
    for row, (start, stop) in enumerate(zip(histories.offsets, histories.offsets[1:], strict=False)):
        support = dense(banks)[np.unique(histories.items[start:stop])].mean(axis=0)
        assert found[row] == pytest.approx(support.reshape(2, NUM_MODULES, NUM_UNITS).max(axis=2).mean(axis=1).max())


def test_what_was_together_is_familiar_and_what_was_not_is_less_so(sequences: Make) -> None:
    bank = learn_episodes(sequences([2, 3, 4], [5, 6, 7]), 8, 16, 1024, np.random.default_rng(0))
    memory = Episodes.of([bank], 16, np.ones(1, np.float32))
    assert memory.familiarity(sequences([2, 3, 4], [4, 2, 4], [2, 5], [2, 3, 5])).tolist() == pytest.approx(
        [1, 1, 1 / 2, 2 / 3]
    )
