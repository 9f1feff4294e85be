from copy import deepcopy

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import binom, spearmanr

from models.csa import SILENT, Codes, Mac, MacConfig, Patterns, Steps, activation, expansivity

Bools = NDArray[np.bool_]
SHARP = MacConfig(num_modules=8, num_units=32, height=1e5, midpoint=0.9, slope=0.02)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_patterns(number: int, num_active: int, width: int, seed: int = 0) -> Bools:
    ranks = generator(seed).random((number, width)).argsort(axis=1)
    return ranks < num_active


def one_hot(items: NDArray[np.int64], width: int) -> Bools:
    return np.eye(width, dtype=bool)[items]


def alone(is_active: Bools) -> Steps:
    return Steps.alone(Patterns.of(is_active))


def in_a_row(is_active: Bools, length: int) -> Steps:
    return Steps.sequences(Patterns.of(is_active), np.full(len(is_active) // length, length))


def taught(config: MacConfig, steps: Steps, width: int, seed: int = 0) -> tuple[Mac, Codes]:
    mac = Mac(config, width)
    return mac, mac.learn(steps, generator(seed))


@pytest.mark.parametrize(("familiarity", "eta"), [(1.0, 801.0), (0.55, 201.0), (0.1, 1.0), (0.05, 1.0), (0.0, 1.0)])
def test_expansivity_has_the_reference_values(familiarity: float, eta: float) -> None:
    assert expansivity(familiarity, 0.1, 2.0, 100.0, 8) == pytest.approx(eta)


def test_activation_rises_from_one_to_eta() -> None:
    assert activation(0.3, 1.0, 0.5, 0.15) == 1
    assert activation(0.5, 801.0, 0.5, 0.15) == pytest.approx(401)
    assert activation(1.0, 801.0, 0.5, 0.15) == pytest.approx(1 + 800 / (1 + np.exp(-0.5 / 0.15)))
    assert activation(-9.0, 801.0, 0.5, 0.15) == pytest.approx(1)


def test_support_is_the_product_of_the_powers_of_the_shares_of_active_inputs() -> None:
    config = MacConfig(
        num_modules=3, num_units=4, has_horizontal=True, power_up=2, power_up_alone=3, power_horizontal=1.5
    )
    mac, draws = Mac(config, 6, num_down=5), generator()
    for weights in (mac.up, mac.horizontal, mac.down):
        weights[:] = draws.random(weights.shape) < 0.5
    for unit in range(mac.size):  # nobody hears its own module
        mac.horizontal[unit // 4 * 4 : unit // 4 * 4 + 4, unit] = 0
    up, down = random_patterns(2, 3, 6), random_patterns(2, 2, 5)
    down[0] = False
    steps = Steps(Patterns.of(up), Patterns.of(down), np.array([True, False]))
    codes, familiarity = mac.recognise(steps, generator())
    first = (mac.up[up[0]].sum(axis=0) / 3) ** 3.0
    share_up, share_down = mac.up[up[1]].sum(axis=0) / 3, mac.down[down[1]].sum(axis=0) / 2
    second = share_up**2 * (mac.horizontal[codes[0]].sum(axis=0) / 2) ** 1.5 * share_down
    for support, code, found in zip((first, second), codes, familiarity, strict=True):
        assert found == pytest.approx(support.reshape(3, 4).max(axis=1).mean(), rel=1e-6)
        np.testing.assert_allclose(support[code], support.reshape(3, 4).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(mac.supports(Patterns.of(up))[0], first, rtol=1e-6)
    np.testing.assert_allclose(mac.supports(Patterns.of(up), power=2.0)[0], first**2, rtol=1e-6)


def test_winners_are_drawn_in_proportion_to_their_activation() -> None:
    config = MacConfig(num_modules=1, num_units=4, height=0.5, midpoint=0.5, slope=0.2, lowest=0)
    mac = Mac(config, 4)
    mac.up[:, 0], mac.up[:2, 1] = 1, 1
    expected = np.array([activation(support, 3.0, 0.5, 0.2) for support in (1, 0.5, 0, 0)])
    wins = np.zeros(4)
    for seed in range(2500):
        wins[deepcopy(mac).learn(alone(np.ones((1, 4), bool)), generator(seed)).units[0, 0]] += 1
    np.testing.assert_allclose(wins / wins.sum(), expected / expected.sum(), atol=0.03)  # 3 standard errors


def test_what_was_stored_is_familiar_and_has_the_same_code_and_all_codes_differ() -> None:
    patterns = random_patterns(60, 20, 200)
    mac, stored = taught(SHARP, alone(patterns), 200)
    found = mac.recognise(alone(patterns), generator(1))
    np.testing.assert_array_equal(found.units, stored.units)
    assert (found.familiarity == 1).all()
    assert len(np.unique(stored.units, axis=0)) == 60


def test_learning_twice_is_learning_once_and_weights_are_bits() -> None:
    steps = in_a_row(random_patterns(60, 20, 200), 10)
    mac, stored = taught(SHARP.model_copy(update={"has_horizontal": True}), steps, 200)
    once = deepcopy(mac)
    again = mac.learn(steps, generator(1))
    np.testing.assert_array_equal(again.units, stored.units)
    for before, after in zip((once.up, once.horizontal), (mac.up, mac.horizontal), strict=True):
        np.testing.assert_array_equal(before, after)
        assert set(np.unique(after)) == {0, 1}


def test_something_new_is_as_familiar_as_crosstalk_makes_it() -> None:
    number, num_active, width = 64, 20, 200
    config = MacConfig(num_modules=16, num_units=32, height=0, frozen_above=1)
    mac, _ = taught(config, alone(random_patterns(number, num_active, width)), width)
    new = mac.recognise(alone(random_patterns(500, num_active, width, seed=1)), generator())
    held = np.arange(number + 1)  # a unit that holds r patterns knows an input with chance 1 - (1 - s / F)^r
    known = 1 - (1 - num_active / width) ** held
    at_most = binom.cdf(np.arange(num_active)[:, None], num_active, known) @ binom.pmf(held, number, 1 / 32)
    expected = (1 - at_most**32).sum() / num_active
    assert new.familiarity.mean() == pytest.approx(expected, rel=0.03)


def test_codes_are_the_more_alike_the_more_alike_the_inputs_are() -> None:
    stored, num_active, width = random_patterns(20, 20, 200), 20, 200
    mac, codes = taught(MacConfig(midpoint=0.5, slope=0.06, height=30), alone(stored), width)
    alike = []
    for num_kept in range(2, 22, 2):
        shares = []
        for case in range(100):
            probe, draws = stored[case % 20].copy(), generator(case)
            on, off = np.flatnonzero(probe), np.flatnonzero(~probe)
            probe[draws.permutation(on)[num_kept:]] = False
            probe[draws.permutation(off)[: num_active - num_kept]] = True
            code = deepcopy(mac).learn(alone(probe[None]), draws).units[0]
            shares.append((code == codes.units).mean(axis=1).max())
        alike.append(np.mean(shares))
    assert spearmanr(alike, np.arange(10)).statistic > 0.95
    assert alike[-1] > 0.8
    assert alike[0] < 0.3


def test_a_thousand_random_sequences_are_replayed_from_their_first_step() -> None:
    """10,000 steps with 224 units a module, .2 K^2; items recur in many sequences, but for the first of each."""
    length, num_sequences, num_items = 10, 1000, 1500
    items = generator().integers(num_sequences, num_items, (num_sequences, length))
    items[:, 0] = np.arange(num_sequences)
    config = MacConfig(
        num_modules=16, num_units=224, has_horizontal=True, midpoint=0.9, slope=0.02, height=1000, frozen_above=1
    )
    steps = in_a_row(one_hot(items.ravel(), num_items), length)
    mac, stored = taught(config, steps, num_items)
    first = mac.recognise(alone(one_hot(items[:, 0], num_items)), generator(1))
    codes = stored.units.reshape(num_sequences, length, 16)
    np.testing.assert_array_equal(first.units, codes[:, 0])
    for sequence in range(num_sequences):
        replayed = mac.replay(first.units[sequence], length - 1, generator(2))
        np.testing.assert_array_equal(replayed, codes[sequence, 1:])
        if sequence < 50:  # reading weights backwards is slow here
            assert mac.inputs_of(replayed).argmax(axis=1).tolist() == items[sequence, 1:].tolist()


def test_the_horizontal_field_fills_as_random_codes_fill_it() -> None:
    config = MacConfig(num_modules=8, num_units=64, has_horizontal=True, height=0, frozen_above=1)
    mac, _ = taught(config, in_a_row(np.ones((2001, 1), bool), 2001), 1)
    assert mac.fills()["horizontal"] == pytest.approx(1 - np.exp(-2000 / 64**2), rel=0.03)
    assert mac.horizontal.sum() == mac.num_set[1].sum()
    own = np.arange(mac.size) // 64
    assert not mac.horizontal[own[:, None] == own].any()


@pytest.mark.parametrize("has_horizontal", [True, False])
def test_order_is_told_by_the_horizontal_field_alone(has_horizontal: bool) -> None:
    length, num_sequences, num_items = 6, 100, 400
    items = np.stack([generator(row).permutation(num_items)[:length] for row in range(num_sequences)])
    config = MacConfig(
        num_modules=16, num_units=64, has_horizontal=has_horizontal, midpoint=0.9, slope=0.02, frozen_above=1
    )
    mac, _ = taught(config, in_a_row(one_hot(items.ravel(), num_items), length), num_items)
    shuffled = np.stack([generator(row).permutation(items[row]) for row in range(num_sequences)])
    known, other = (
        mac.recognise(in_a_row(one_hot(order.ravel(), num_items), length), generator())
        .familiarity.reshape(num_sequences, length)
        .mean(axis=1)
        for order in (items, shuffled)
    )
    is_other = (items != shuffled).any(axis=1)
    right = np.where(known == other, 0.5, known > other)[is_other].mean()
    assert right > 0.95 if has_horizontal else right == 0.5


def test_a_unit_with_too_many_weights_of_a_field_learns_no_more_from_it() -> None:
    config = MacConfig(num_modules=2, num_units=2, has_horizontal=True, height=0, frozen_above=0.5)
    mac = Mac(config, 8)
    is_active = one_hot(np.arange(40) % 8, 8)
    for step in range(40):
        before = mac.up.copy()
        mac.learn(alone(is_active[step : step + 1]), generator(step))
        is_frozen = before.sum(axis=0) > 4
        np.testing.assert_array_equal(mac.up[:, is_frozen], before[:, is_frozen])
    assert mac.up.sum(axis=0).tolist() == [5, 5, 5, 5]  # the one that passed the half was still stored
    assert not mac.horizontal.any()
    mac.learn(in_a_row(is_active, 40), generator())
    assert mac.up.sum(axis=0).tolist() == [5, 5, 5, 5]
    assert mac.horizontal.sum(axis=0).tolist() == [2, 2, 2, 2]  # of the other module's two units, each field for itself


def test_outside_the_band_there_is_no_code_and_nothing_is_learnt() -> None:
    config = MacConfig(num_modules=4, num_units=8, least_active=0.2, most_active=0.4)
    numbers = [1, 2, 4, 5, 0]
    is_active = np.arange(10) < np.array(numbers)[:, None]
    mac = Mac(config, 10)
    codes = mac.learn(alone(is_active), generator())
    assert (codes.units[:, 0] == SILENT).tolist() == [True, False, False, True, True]
    assert (codes.familiarity > 0).tolist() == [False, False, True, False, False]  # the third meets two known inputs
    assert mac.up.sum(axis=1).tolist()[4:] == [0] * 6
    np.testing.assert_array_equal(mac.supports(Patterns.of(is_active)).any(axis=1), [False, True, True, False, False])


def test_after_a_step_without_code_nothing_is_heard_from_beside() -> None:
    mac, _ = taught(MacConfig(has_horizontal=True), in_a_row(one_hot(np.array([0, 1]), 3), 2), 3)
    steps = in_a_row(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]], bool), 4)
    assert mac.recognise(steps, generator()).familiarity.tolist() == [0, 1, 0, 0]


def test_of_equal_units_any_wins_and_the_generator_says_which() -> None:
    steps = alone(np.ones((300, 3), bool))
    mac = Mac(MacConfig(num_modules=2, num_units=4), 3)
    units = mac.recognise(steps, generator()).units
    assert set(units[:, 0]) == {0, 1, 2, 3}
    assert set(units[:, 1]) == {4, 5, 6, 7}
    assert len(np.unique(units, axis=0)) == 16
    np.testing.assert_array_equal(units, mac.recognise(steps, generator()).units)


def test_learning_in_parts_is_learning_at_once() -> None:
    patterns, draws = random_patterns(30, 10, 50), generator()
    whole, _ = taught(SHARP, alone(patterns), 50)
    parts = Mac(SHARP, 50)
    for part in (patterns[:7], patterns[7:]):
        parts.learn(alone(part), draws)
    np.testing.assert_array_equal(parts.up, whole.up)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="did you mean 'num_modules'"):
        MacConfig.model_validate({"num_module": 3})
    with pytest.raises(ValidationError, match=r"least_active is 0\.5, above most_active"):
        MacConfig(least_active=0.5, most_active=0.2)
    with pytest.raises(ValidationError, match="2 or more"):
        MacConfig(has_horizontal=True, num_modules=1)
    with pytest.raises(ValueError, match="num_up is 0"):
        Mac(MacConfig(), 0)
    with pytest.raises(ValueError, match="up has input 5; allowed are 0 to 4"):
        Mac(MacConfig(), 5).learn(alone(one_hot(np.array([5]), 6)), generator())
    with pytest.raises(ValueError, match="65536 active inputs"):
        Mac(MacConfig(num_modules=1, num_units=2), 2**16).supports(Patterns.of(np.ones((1, 2**16), bool)))
    with pytest.raises(ValueError, match="has_horizontal"):
        Mac(MacConfig(), 5).replay(np.zeros(16, np.int32), 1, generator())
