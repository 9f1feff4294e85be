from collections.abc import Callable

import numpy as np
import pytest

from models.dense_episodes import DenseEpisodes
from models.episodes import Episodes, draw_links, learn_episodes
from models.links import Links
from models.sequences import Sequences

Make = Callable[..., Sequences]
NUM_ITEMS, NUM_MODULES, NUM_UNITS = 70, 4, 24  # neither items nor units fill words of 64
WEIGHTS = np.array([1, 0.25], np.float32)


def random_sequences(make: Make, seed: int, number: int = 40) -> Sequences:
    generator = np.random.default_rng(seed)
    return make(*[generator.integers(2, NUM_ITEMS, generator.integers(1, 7)).tolist() for _ in range(number)])


def learnt(make: Make, seed: int) -> Links:
    pieces = random_sequences(make, seed, 200)
    return learn_episodes(pieces, NUM_ITEMS, NUM_MODULES, NUM_UNITS, np.random.default_rng(seed))


def filled(pieces: Sequences) -> DenseEpisodes:
    memory = DenseEpisodes(NUM_ITEMS, NUM_MODULES, NUM_MODULES * NUM_UNITS, np.ones(1, np.float32))
    memory.store(*draw_links(pieces, NUM_MODULES, NUM_UNITS, np.random.default_rng(3)))
    return memory


@pytest.mark.parametrize(("power", "num_winners"), [(0.0, 1), (2.0, 1), (2.0, 3), (1.5, 1000)])
@pytest.mark.parametrize("is_corrected", [True, False])
def test_it_answers_as_links_do(sequences: Make, power: float, num_winners: int, *, is_corrected: bool) -> None:
    banks = [learnt(sequences, seed) for seed in range(2)]
    histories = random_sequences(sequences, 9, 300)
    dense, links = (kind.of(banks, NUM_MODULES, WEIGHTS) for kind in (DenseEpisodes, Episodes))
    expected = links.found(histories, power, num_winners, NUM_ITEMS, is_corrected=is_corrected).toarray()
    found = dense.found(histories, power, num_winners, NUM_ITEMS, is_corrected=is_corrected).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(dense.familiarity(histories), links.familiarity(histories), rtol=1e-6)


def test_what_is_unknown_finds_nothing(sequences: Make) -> None:
    memory = filled(sequences())
    assert memory.found(sequences([2, 3], []), 2, 64, 5).nnz == 0
    assert memory.familiarity(sequences([2, 3], [])).tolist() == [0, 0]


def test_links_that_are_set_again_change_nothing(sequences: Make) -> None:
    pieces = random_sequences(sequences, 3)
    once, twice = filled(pieces), filled(pieces)
    twice.store(*draw_links(pieces, NUM_MODULES, NUM_UNITS, np.random.default_rng(3)))
    links = learn_episodes(pieces, NUM_ITEMS, NUM_MODULES, NUM_UNITS, np.random.default_rng(3))
    assert twice.fill == once.fill == pytest.approx(links.fill)
    asked = random_sequences(sequences, 5)
    assert (once.found(asked, 2, 64, 9) != twice.found(asked, 2, 64, 9)).nnz == 0


def test_asking_costs_the_same_whatever_is_stored(sequences: Make) -> None:
    asked, seen = random_sequences(sequences, 5, 300), set()
    for number in (1, 30, 3000):
        memory = filled(random_sequences(sequences, 1, number))
        before = memory.operations
        memory.found(asked, 2, 6, 9)
        seen.add((*np.subtract(memory.operations, before).tolist(), memory.nbytes - filled(sequences()).nbytes))
    distinct = sum(len(set(asked.items[start:stop].tolist())) for start, stop in zip(*ends(asked), strict=True))
    winners = len(asked) * NUM_MODULES * 6
    assert seen == {(0, distinct + winners, 2 * (distinct + winners), 0)}  # rows of two words, both ways around


def ends(some: Sequences) -> tuple[list[int], list[int]]:
    return some.offsets[:-1].tolist(), some.offsets[1:].tolist()


def test_storing_costs_two_bits_for_each_link(sequences: Make) -> None:
    assert filled(sequences([2, 3, 4], [2], [2])).operations.bits_set == 5 * NUM_MODULES * 2
