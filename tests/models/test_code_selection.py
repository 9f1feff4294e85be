import numpy as np
from scipy.stats import kstest

from models.code_selection import append, empty_lists, knowing, uniform


def test_lists_keep_what_is_appended_in_its_order_within_four_times_the_room() -> None:
    generator, num_units, end = np.random.default_rng(0), 1000, 0
    lists = empty_lists(5, 3, num_units)
    expected: dict[tuple[int, int], list[int]] = {}
    for unit in range(num_units):
        item, module = int(5 * generator.random() ** 3), int(generator.integers(3))
        end = append(lists, item, module, unit, end)
        expected.setdefault((item, module), []).append(unit)
    assert end <= len(lists[2]) == 4 * num_units
    for (item, module), units in expected.items():
        assert knowing(lists, item, module).tolist() == units
    assert sum(len(units) for units in expected.values()) == num_units


def test_a_list_without_a_unit_is_empty() -> None:
    assert knowing(empty_lists(2, 2, 4), 1, 1).tolist() == []


def test_random_numbers_are_uniform_and_follow_from_the_state() -> None:
    def numbers(state: np.uint64) -> list[float]:
        drawn = []
        for _ in range(5000):
            state, number = uniform(np.uint64(state))
            drawn.append(number)
        return drawn

    first = numbers(np.uint64(1))
    assert first == numbers(np.uint64(1)) != numbers(np.uint64(2))
    assert kstest(first, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05
