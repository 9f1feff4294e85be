"""Small data whose right answers are known by construction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.catalogue import FIRST_VALUE, Catalogue, Values
from models.sequences import FIRST_ITEM, SECONDS_PER_DAY, Sequences

COLOURS = 8
MakeSequences = Callable[..., Sequences]


def make(*rows: list[int], times: list[int] | None = None) -> Sequences:
    """Make sequences from lists of item numbers; without times every event is at 0."""
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return Sequences(items, np.array(times if times is not None else np.zeros(len(items)), np.int64), offsets)


@dataclass(frozen=True)
class Shop:
    """Users who mostly go from each item to the one follower[item]; the rest of their events favour low numbers."""

    num_items: int
    follower: NDArray[np.int64]
    train: Sequences
    histories: Sequences
    targets: Sequences

    @property
    def catalogue(self) -> Catalogue:
        """The items of the shop: two fields tell them apart, and say nothing of what follows."""
        real = np.arange(self.num_items - FIRST_ITEM)
        fields = {"category_1": real // COLOURS, "attribute:colour": real % COLOURS}
        return Catalogue(self.num_items, {name: one_each(numbers) for name, numbers in fields.items()})


def one_each(numbers: NDArray[np.int64]) -> Values:
    """A field in which every real item has one value, given from 0 on."""
    offsets = np.concatenate([[0, 0], np.arange(len(numbers) + 1)]).astype(np.int64)
    return Values((numbers + FIRST_VALUE).astype(np.int32), offsets, int(numbers.max()) + FIRST_VALUE + 1)


def make_shop(num_users: int = 300, num_real: int = 60, length: int = 15, jump: float = 0.3, seed: int = 7) -> Shop:
    """Draw a shop; the last event of each user is held out and always follows its predecessor."""
    generator = np.random.default_rng(seed)
    follower = np.concatenate([[0, 0], np.roll(generator.permutation(num_real), 1)]) + FIRST_ITEM
    share = 1 / np.arange(1, num_real + 1)
    visits = generator.choice(num_real, (num_users, length), p=share / share.sum()) + FIRST_ITEM
    stays = generator.random((num_users, length)) >= jump
    stays[:, -1] = True
    for step in range(1, length):
        visits[:, step] = np.where(stays[:, step], follower[visits[:, step - 1]], visits[:, step])
    times = np.tile(np.arange(length) * SECONDS_PER_DAY, num_users)
    offsets = np.arange(0, num_users * length + 1, length)
    everything = Sequences(visits.ravel().astype(np.int32), times, offsets)
    train = everything.cut(offsets[:-1], np.full(num_users, length - 1))
    return Shop(num_real + FIRST_ITEM, follower, train, train, everything.tail(1))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small run faster without a pool of threads, and many test processes do not fight for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sequences() -> MakeSequences:
    return make


@pytest.fixture(scope="session")
def shop() -> Shop:
    return make_shop()
