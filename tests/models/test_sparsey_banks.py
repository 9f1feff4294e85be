from collections.abc import Callable

import numpy as np
import pytest

from models.generations import Generation
from models.sequences import Sequences
from models.sparsey_banks import MOST_PARTS, Bank, BankConfig, learn_bank, read_banks, split, write_banks

Make = Callable[..., Sequences]
CONFIG = BankConfig(num_units=32, num_modules=4)


def bank_of(make: Make, day: int = 3, seed: int = 1) -> Bank:
    generation = Generation(day, make([2, 3, 4], [5, 3]), np.array([1, 0]))
    return learn_bank(generation, generation.digest(seed, CONFIG.stored_with()), 7, CONFIG, seed)


def assert_same(one: Bank, other: Bank) -> None:
    assert (one.day, one.digest, one.moments.familiarity) == (other.day, other.digest, other.moments.familiarity)
    for name, links in one.links().items():
        same = other.links()[name]
        assert links.columns.tolist() == same.columns.tolist()
        assert links.offsets.tolist() == same.offsets.tolist()
        assert links.num_columns == same.num_columns


def test_banks_survive_being_written(sequences: Make) -> None:
    banks = [bank_of(sequences), bank_of(sequences, day=4)]
    for one, other in zip(banks, read_banks(write_banks(banks), CONFIG), strict=True):
        assert_same(one, other)


def test_a_bank_follows_from_its_pieces_its_day_and_the_seed(sequences: Make) -> None:
    assert_same(bank_of(sequences), bank_of(sequences))
    links = [
        bank.episodes.columns.tolist() for bank in (bank_of(sequences), bank_of(sequences, 4), bank_of(sequences, 3, 2))
    ]
    assert links[0] != links[1] != links[2] != links[0]


def test_a_later_catalogue_has_items_without_links(sequences: Make) -> None:
    bank = bank_of(sequences)
    wider = bank.widened(9)
    for name, links in wider.links().items():
        assert (links.num_columns if name == "following" else links.num_rows) == 9
        assert links.columns.tolist() == bank.links()[name].columns.tolist()


def test_settings_of_asking_are_no_other_network_and_those_of_storing_are() -> None:
    kept = CONFIG.model_dump(mode="json")
    assert CONFIG.network_changes(kept) == []
    assert CONFIG.network_changes(kept | {"persistence": 2, "power": 7}) == ["persistence"]
    assert CONFIG.model_copy(update={"slope": 0.5}).stored_with() != CONFIG.stored_with()


@pytest.mark.parametrize(("max_fill", "num_parts"), [(1.0, 1), (0.2, 1), (0.1, 2), (0.05, 4)])
def test_as_many_banks_are_made_as_keep_the_fill_below_its_limit(
    sequences: Make, max_fill: float, num_parts: int
) -> None:
    """3 links of each of 20 pieces, over 10 items and 32 units: .19 on each place, so a fill of 1 - exp(-.19) = .17."""
    pieces = sequences(*[[2 + number % 10, 2 + (number + 1) % 10, 2 + (number + 2) % 10] for number in range(20)])
    config = BankConfig(num_units=32, max_fill=max_fill)
    parts = split(Generation(5, pieces, np.zeros(20, np.int64)), config)
    assert [(part.day, part.part) for part in parts] == [(5, number) for number in range(num_parts)]
    assert sorted(item for part in parts for item in part.pieces.items) == sorted(pieces.items)
    assert max(len(part.pieces) for part in parts) == -(-20 // num_parts)


def test_no_bank_is_without_a_piece(sequences: Make) -> None:
    pieces = sequences(*[[2, 3, 4, 5]] * 6)
    parts = split(Generation(5, pieces, np.zeros(6, np.int64)), BankConfig(num_units=2, max_fill=1e-6))
    assert [len(part.pieces) for part in parts] == [1] * 6
    many = sequences(*[[2, 3, 4, 5]] * 100)
    assert (
        len(split(Generation(5, many, np.zeros(100, np.int64)), BankConfig(num_units=2, max_fill=1e-6))) == MOST_PARTS
    )


def test_together_is_what_is_of_the_days_themselves(sequences: Make) -> None:
    bank = bank_of(sequences)
    assert np.diff(bank.episodes.offsets).tolist() == [0, 0, 0, 8, 4, 4, 0]  # 2 was of an earlier day
    assert np.diff(bank.moments.known.offsets)[2] == 4
