from collections.abc import Callable

import numpy as np

from models.chance import _chance, beyond_chance
from models.episodes import Episodes, learn_episodes
from models.links import Links
from models.read_out import fills_of
from models.sequences import Sequences

Make = Callable[..., Sequences]


def random_links(shares: list[float], num_modules: int, num_units: int, generator: np.random.Generator) -> Links:
    """Each item is linked with its share of the units, drawn at random."""
    size = num_modules * num_units
    units = [generator.permutation(size)[: round(share * size)] for share in shares]
    rows = np.repeat(np.arange(len(shares)), [len(some) for some in units])
    return Links.of(rows, np.concatenate(units), (len(shares), size))


def test_chance_is_what_random_links_give(sequences: Make) -> None:
    generator = np.random.default_rng(0)
    shares = [0, 0, 0.3, 0.1, 0.02, 0.002, 0]
    histories = sequences([2, 3], [2, 3, 4], [4, 5], [5, 6], [2, 3, 4, 5, 6], [3, 3, 4])
    banks = [random_links(shares, 2000, 64, generator) for _ in range(2)]
    units = Links.side_by_side(banks)
    fills = fills_of(units.transposed(), 2000 * 64)
    expected = []
    known = np.stack([bank.matrix().toarray().reshape(7, 2000, 64) for bank in banks])
    for start, stop in zip(histories.offsets, histories.offsets[1:], strict=False):
        own = np.unique(histories.items[start:stop])
        best = np.maximum(known[:, own].sum(axis=1).max(axis=(0, 2)), 1)  # of all units of both banks, module by module
        expected.append(best.mean() / len(own))
    found = _chance((histories.items, histories.offsets), tuple(fills), 64)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_what_was_together_is_far_above_chance_and_what_was_not_is_near_it_however_much_is_stored(
    sequences: Make,
) -> None:
    """Without taking chance off, what was never together would be familiar to .6 and more."""
    generator = np.random.default_rng(1)
    groups = generator.integers(0, 100, 20_000)
    stored = 2 + groups[:, None] * 10 + generator.random((20_000, 10)).argsort(axis=1)[:, :5]
    memory = Episodes.of([learn_episodes(sequences(*stored.tolist()), 1002, 8, 1024, generator)], 8, np.ones(1, "f4"))
    together = sequences(*stored[:500, :3].tolist())
    strangers = sequences(*(2 + generator.random((500, 1000)).argsort(axis=1)[:, :3]).tolist())
    raw = [memory.familiarity(some).mean() for some in (together, strangers)]
    told = [beyond_chance(memory.familiarity(some), some, memory.fills, 1024) for some in (together, strangers)]
    assert raw[0] == 1
    assert raw[1] > 0.6
    assert told[0].mean() == 1
    assert told[1].mean() < 0.25


def test_what_cannot_be_told_is_no_number(sequences: Make) -> None:
    memory = Episodes.of([learn_episodes(sequences([2, 3]), 6, 4, 8, np.random.default_rng(0))], 4, np.ones(1, "f4"))
    asked = sequences([2, 3], [2, 4], [4, 5], [], [2])
    told = beyond_chance(memory.familiarity(asked), asked, memory.fills, 8)
    assert told[0] == 1
    assert told[1:4].tolist() == [0, 0, 0]
    assert np.isnan(told[4])
    full = Episodes.of([random_links([0, 0, 1, 1], 4, 8, np.random.default_rng(0))], 4, np.ones(1, "f4"))
    assert np.isnan(beyond_chance(np.ones(1, np.float32), sequences([2, 3]), full.fills, 8)).all()
