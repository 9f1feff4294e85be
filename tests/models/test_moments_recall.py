from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.code_selection import Selection
from models.links import Links
from models.moments import Moments, learn_moments
from models.moments_recall import NOISE, UNSURE, MomentMemory, Reading
from models.sequences import PADDING, Sequences

Make = Callable[..., Sequences]
NUM_ITEMS, NUM_MODULES, NUM_UNITS = 25, 6, 32
SIZE = NUM_MODULES * NUM_UNITS
WEIGHTS = np.array([1, 0.5], np.float32)
HOW = Selection(NUM_MODULES, NUM_UNITS, height=10, midpoint=0.5, slope=0.1, is_contextual=True)
ASK = Reading(num_moments=3, decay=0.7, back_off=0.3, num_winners=64, is_corrected=True)


def random_sequences(make: Make, seed: int, number: int = 40) -> Sequences:
    generator = np.random.default_rng(seed)
    return make(*[generator.integers(2, NUM_ITEMS, generator.integers(1, 7)).tolist() for _ in range(number)])


def learnt(pieces: Sequences, how: Selection, persistence: int, generator: np.random.Generator) -> Moments:
    return learn_moments(pieces, np.ones(len(pieces.items), np.bool_), NUM_ITEMS, how, persistence, 1, generator)


@pytest.fixture(scope="module")
def banks(sequences: Make) -> list[Moments]:
    generator = np.random.default_rng(3)
    return [learnt(random_sequences(sequences, seed), HOW, 3, generator) for seed in range(2)]


def dense(bank: Moments) -> tuple[NDArray[np.float64], ...]:
    known, before, following = (part.matrix().toarray() for part in (bank.known, bank.before, bank.following))
    return known.astype(float), before.astype(float), following.astype(float)


def of_moment(item: int, previous: int, banks: list[Moments], how: Reading) -> NDArray[np.float64]:
    """The formula, module by module."""
    scores, chance, variance, voice = np.zeros(NUM_ITEMS), np.zeros(NUM_ITEMS), np.zeros(NUM_ITEMS), 0.0
    for bank, weight in zip(banks, WEIGHTS, strict=True):
        known, before, following = dense(bank)
        for first in range(0, SIZE, NUM_UNITS):
            own = slice(first, first + NUM_UNITS)
            voices = known[item, own] * (float(np.float32(how.back_off)) + before[previous, own])
            if not voices.any():
                continue
            voices[np.argsort(-voices, stable=True)[how.num_winners :]] = 0
            voices = weight * voices / voices.sum()
            scores += voices @ following[own]
            chance += weight * following.mean(axis=0)
            variance += weight**2 * (following.mean(axis=0) + NOISE)
            voice += weight
    if how.is_corrected:
        scores = np.where(scores > 0, scores - chance, 0)
        scores = np.where(scores < np.sqrt(variance), 0, scores)
    return scores / max(scores.sum() + UNSURE * voice, 1e-9)


def of_history(history: list[int], banks: list[Moments], how: Reading) -> NDArray[np.float64]:
    total, asked = np.zeros(NUM_ITEMS), list[int]()
    for place in reversed(range(len(history))):
        if history[place] in asked or len(asked) == how.num_moments:
            continue
        previous = history[place - 1] if place else PADDING
        total += how.decay ** len(asked) * of_moment(history[place], previous, banks, how)
        asked.append(history[place])
    return total / max(total.sum(), 1e-9)


@pytest.mark.parametrize(
    "how",
    [
        ASK,
        ASK._replace(is_corrected=False),
        ASK._replace(num_winners=1),
        ASK._replace(num_winners=2, back_off=0.0),
        ASK._replace(back_off=1e-46),  # which is 0 in 32 bits
        ASK._replace(num_winners=3),
        ASK._replace(num_moments=1, back_off=1.0),
    ],
)
def test_scores_are_those_of_the_formula(sequences: Make, banks: list[Moments], how: Reading) -> None:
    histories = random_sequences(sequences, 9, 100)
    found = MomentMemory.of(banks, NUM_MODULES, WEIGHTS).found(histories, how, NUM_ITEMS).toarray()
    for row, (start, stop) in enumerate(zip(histories.offsets, histories.offsets[1:], strict=False)):
        expected = of_history(histories.items[start:stop].tolist(), banks, how)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_the_item_before_decides_what_comes_next(sequences: Make) -> None:
    how = Selection(16, 512, height=1e9, midpoint=0.5, slope=0.02, is_contextual=True)
    pieces = sequences(*[[2, 4, 5], [3, 4, 6], [3, 4, 6], [3, 4, 6]] * 9)
    bank = learnt(pieces, how, 1, np.random.default_rng(0))
    memory = MomentMemory.of([bank], 16, np.ones(1, np.float32))
    found = memory.found(sequences([2, 4], [3, 4], [7, 4]), ASK._replace(num_moments=1), 9).toarray()
    assert found.argmax(axis=1)[:2].tolist() == [5, 6]
    assert found[0, 5] > 2 * found[0, 6] > 0
    assert found[2, 5] == pytest.approx(found[2, 6])  # binary links do not count how often


def test_only_the_ratio_of_the_weights_of_banks_counts(sequences: Make, banks: list[Moments]) -> None:
    """A last day with a single event must not silence all others."""
    histories = random_sequences(sequences, 9, 100)
    one, other = (MomentMemory.of(banks, NUM_MODULES, WEIGHTS * by).found(histories, ASK, 9) for by in (1, 2**-10))
    np.testing.assert_allclose(one.toarray(), other.toarray(), atol=1e-6)


def test_what_nobody_met_finds_nothing(sequences: Make, banks: list[Moments]) -> None:
    memory = MomentMemory.of(banks, NUM_MODULES, WEIGHTS)
    assert memory.found(sequences([], []), ASK, 5).nnz == 0


def test_attributes_are_those_of_all_that_follows(sequences: Make, banks: list[Moments]) -> None:
    rows = np.arange(2, NUM_ITEMS)
    attributes = Links.of(np.concatenate([rows, rows]), np.concatenate([rows % 3, 3 + rows % 2]), (NUM_ITEMS, 5))
    memory = MomentMemory.of(banks, NUM_MODULES, WEIGHTS)
    expected = memory.following.matrix().toarray().astype(int) @ attributes.matrix().toarray().astype(int) > 0
    found = memory.of_attributes(attributes.matrix())
    np.testing.assert_array_equal(found.following.matrix().toarray(), expected)
    assert found.found(sequences([2, 3]), ASK._replace(is_corrected=False), 5).nnz > 0
