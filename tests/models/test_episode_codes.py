from collections.abc import Callable

import numpy as np
import pytest

from models.code_selection import Selection
from models.csa import activation, expansivity
from models.episode_codes import learn_alike
from models.links import Links
from models.sequences import Sequences

Make = Callable[..., Sequences]
SHARP = Selection(num_modules=50, num_units=256, height=1e9, midpoint=0.9, slope=0.01, is_contextual=True)


def learnt(pieces: Sequences, how: Selection = SHARP) -> Links:
    return learn_alike(pieces, 30, how, np.random.default_rng(0))


def units(links: Links, item: int) -> set[int]:
    return set(links.columns[links.offsets[item] : links.offsets[item + 1]].tolist())


def test_a_code_is_one_unit_in_each_module_for_all_items_of_a_sequence(sequences: Make) -> None:
    links = learnt(sequences([2, 3, 3, 4], [], [5]))
    assert units(links, 2) == units(links, 3) == units(links, 4)
    for item in (4, 5):
        assert sorted(unit // 256 for unit in units(links, item)) == list(range(50))
    assert units(links, 6) == set()


def test_what_is_familiar_keeps_its_code_and_what_is_new_gets_its_own(sequences: Make) -> None:
    links = learnt(sequences(*[[2, 3, 4], [5, 6, 7], [4, 2, 3, 2]] * 20))
    assert len(units(links, 2)) == len(units(links, 5)) == 50
    assert len(units(links, 2) & units(links, 5)) <= 3  # of 50 modules, by chance one in 256


def test_the_more_alike_two_sequences_are_the_more_of_their_codes_they_share(sequences: Make) -> None:
    how = SHARP._replace(num_modules=500, height=10, midpoint=0.7, slope=0.08)
    shared = []
    for number in range(7):  # of the six items of the first that the second has too
        second = [*range(2, 2 + number), *range(20, 26 - number), 29]
        links = learnt(sequences([2, 3, 4, 5, 6, 7, 28], second), how)
        shared.append(len(units(links, 28) & units(links, 29)) / 500)
    assert shared == sorted(shared)
    assert shared[0] < 0.02 < 0.5 < shared[-1]


def test_a_units_chance_follows_its_activation(sequences: Make) -> None:
    """Of the second sequence every module has one unit that knows half of its items."""
    how = Selection(4000, 30, height=3, midpoint=0.4, slope=0.2, is_contextual=True)
    links = learnt(sequences([2], [2, 3]), how)
    kept = len(units(links, 2) & units(links, 3)) - (len(units(links, 2)) - 4000)
    eta = expansivity(0.5, how.lowest, how.exponent, how.height, 30)
    best, other = (activation(support, eta, how.midpoint, how.slope) for support in (0.5, 0.0))
    assert kept / 4000 == pytest.approx(best / (best + 29 * other), abs=0.025)


def test_the_same_generator_gives_the_same_links(sequences: Make) -> None:
    pieces = sequences(*np.random.default_rng(5).integers(2, 30, (60, 4)).tolist())
    how = SHARP._replace(height=10, midpoint=0.5, slope=0.1)
    assert learnt(pieces, how).columns.tolist() == learnt(pieces, how).columns.tolist()
