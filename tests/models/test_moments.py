from collections.abc import Callable

import numpy as np
import pytest

from models.code_selection import Selection
from models.links import Links
from models.moments import FAN_OUT, Moments, learn_moments
from models.sequences import PADDING, Sequences

Make = Callable[..., Sequences]
SHARP = Selection(num_modules=4, num_units=256, height=1e9, midpoint=0.5, slope=0.02, is_contextual=True)
BY_ITEM = SHARP._replace(is_contextual=False)


def learnt(
    pieces: Sequences, how: Selection = SHARP, persistence: int = 8, link_rate: float = 8, num_before: int = 0
) -> Moments:
    is_own = pieces.positions >= num_before
    return learn_moments(pieces, is_own, 20, how, persistence, link_rate, np.random.default_rng(0))


def units(links: Links, row: int) -> set[int]:
    return set(links.columns[links.offsets[row] : links.offsets[row + 1]].tolist())


def followers(moments: Moments, code: set[int]) -> set[int]:
    return set.intersection(*(units(moments.following, unit) for unit in code))


def test_without_context_an_item_has_one_code(sequences: Make) -> None:
    moments = learnt(sequences(*[[2, 3, 4], [4, 3, 2]] * 20), BY_ITEM)
    for item in (2, 3, 4):
        assert sorted(unit // 256 for unit in units(moments.known, item)) == [0, 1, 2, 3]
    assert units(moments.known, 5) == set()
    assert moments.familiarity == pytest.approx(117 / 120)  # all but the first moment of each item


def test_an_item_has_a_code_for_each_item_before_it_and_keeps_it(sequences: Make) -> None:
    moments = learnt(sequences(*[[2, 4, 5], [3, 4, 6], [4]] * 20))
    after_2, after_3 = (units(moments.before, item) & units(moments.known, 4) for item in (2, 3))
    at_first = units(moments.known, 4) - after_2 - after_3
    for code in (after_2, after_3, at_first):
        assert sorted(unit // 256 for unit in code) == [0, 1, 2, 3]
    assert units(moments.before, PADDING) == set()
    assert (followers(moments, after_2), followers(moments, after_3)) == ({5}, {6})
    assert moments.familiarity == pytest.approx(1 - 7 / 140)  # of 140 moments 7 are met for the first time


def test_a_code_stays_on_for_some_moments(sequences: Make) -> None:
    pieces = sequences([2, 3, 4, 5, 6], [7, 8])
    for persistence, expected in ((1, {3}), (3, {3, 4, 5}), (8, {3, 4, 5, 6})):
        moments = learnt(pieces, BY_ITEM, persistence)
        assert followers(moments, units(moments.known, 2)) == expected
        assert followers(moments, units(moments.known, 7)) == {8}


def test_of_earlier_days_it_is_learnt_what_follows_on_them_and_nothing_else(sequences: Make) -> None:
    moments = learnt(sequences([2, 3, 4, 5]), BY_ITEM, num_before=2)
    assert followers(moments, units(moments.known, 2)) == {4, 5}
    assert followers(moments, units(moments.known, 3)) == {4, 5}
    assert followers(moments, units(moments.known, 4)) == {5}


def test_links_are_set_as_often_as_asked(sequences: Make) -> None:
    how = BY_ITEM._replace(num_modules=1000, num_units=512)
    assert len(learnt(sequences([2, 3, 4]), how).following.columns) > 2990  # all, but where items share a unit
    some = learnt(sequences([2, 3, 4]), how, link_rate=0.4)
    linked = [{item for item in (3, 4) if item in units(some.following, unit)} for unit in units(some.known, 2)]
    assert np.mean([3 in items for items in linked]) == pytest.approx(0.4, abs=0.05)
    assert np.mean([4 in items for items in linked]) == pytest.approx(0.2, abs=0.05)


def test_a_flat_selection_draws_any_unit(sequences: Make) -> None:
    flat = BY_ITEM._replace(height=0, num_modules=50, num_units=64)
    moments = learnt(sequences(*[[2]] * 4), flat)
    assert 3.7 < len(units(moments.known, 2)) / 50 < 4  # 64 (1 - (63/64)^4) = 3.9 units of each module
    assert np.bincount(moments.known.columns // 64, minlength=50).min() >= 2


def test_a_units_chance_follows_its_activation(sequences: Make) -> None:
    """After one moment, one of 30 units has full support: with a height of 2 its activation is 61, of the others 1."""
    how = BY_ITEM._replace(height=2, num_units=30, midpoint=0.5, slope=1e-3, num_modules=4000)
    moments = learnt(sequences([2], [2]), how)
    again = 2 - len(units(moments.known, 2)) / 4000
    assert again == pytest.approx(61 / (61 + 29), abs=0.02)


def test_an_item_that_has_its_share_of_units_gets_no_more(sequences: Make) -> None:
    how = SHARP._replace(num_units=40)
    moments = learnt(sequences(*[[item, 2] for item in range(3, 20)]), how)
    for module in range(4):
        own = {unit for unit in units(moments.known, 2) if unit // 40 == module}
        assert len(own) == FAN_OUT * 40
    assert all(units(moments.before, item) & units(moments.known, 2) for item in range(3, 20))


def test_the_same_generator_gives_the_same_links(sequences: Make) -> None:
    generator = np.random.default_rng(5)
    pieces = sequences(*generator.integers(2, 20, (30, 6)).tolist())
    one, other = learnt(pieces), learnt(pieces)
    for first, second in ((one.known, other.known), (one.before, other.before), (one.following, other.following)):
        assert first.columns.tolist() == second.columns.tolist()
