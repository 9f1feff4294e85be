"""Banks: what one generation of days has left in the memories of `models.sparsey`, and how they are kept.

A bank is a function of its generation's pieces, the settings below and the seed: the same ones give it bit for bit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from models.code_selection import Selection
from models.episode_codes import learn_alike
from models.episodes import learn_episodes
from models.generations import Generation
from models.links import PACKED, Links
from models.moments import Moments, learn_moments
from models.recommender import ModelConfig

RULES = 1  # one more whenever learning comes to other links, so that older banks are not gone on from
MOST_PARTS = 32
LINKS = ("episodes", "known", "before", "following")  # of a bank


class BankConfig(ModelConfig):
    """Size of the banks, what is stored in each, and how codes are drawn.

    num_modules, num_units: Q and K. max_fill: of the synapses from a bank's units to the items it holds; a generation
    that would have more gets several banks. generation_days: of which a bank is made, by UTC; 0: all that is known is
    one generation. events_before, days_before: of a subject, with which its piece of a generation begins, so that what
    follows on them is learnt too. max_events: of a piece; longer ones become several. height, midpoint, slope: of the
    selection of codes. episodes_height: the height for those of episodes, 0 draws them at random. is_contextual:
    whether the item before takes part in the selection of those of moments. persistence: moments that a code stays on.
    link_rate: how often a moment is linked with one that follows, divided by the distance; 1 or more: always.
    """

    num_modules: int = Field(default=8, ge=1, le=1024)
    num_units: int = Field(default=8192, ge=2, le=2**20)
    max_fill: float = Field(default=0.05, gt=0, le=1)
    generation_days: int = Field(default=0, ge=0, le=36_500)
    events_before: int = Field(default=8, ge=0, le=100)
    days_before: int = Field(default=7, ge=0, le=36_500)
    max_events: PositiveInt = 50
    height: float = Field(default=100, ge=0, le=1e12)
    midpoint: float = 0.7
    slope: PositiveFloat = 0.08
    episodes_height: float = Field(default=0, ge=0, le=1e12)
    is_contextual: bool = True
    persistence: int = Field(default=8, ge=1, le=100)
    link_rate: float = Field(default=2, gt=0)

    def stored_with(self) -> str:
        """Return the sha256 of what decides how something is stored: the settings, and the rules that learn."""
        settings = self.model_dump_json(include=set(BankConfig.model_fields))
        return hashlib.sha256(f"{RULES} {settings}".encode()).hexdigest()

    def network_changes(self, other: Mapping[str, Any]) -> list[str]:
        """Return the settings that differ, but for those of how a history asks."""
        return [name for name in super().network_changes(other) if name in BankConfig.model_fields]

    def selection(self) -> Selection:
        """Return how the codes of moments are drawn."""
        return Selection(
            self.num_modules, self.num_units, self.height, self.midpoint, self.slope, is_contextual=self.is_contextual
        )


@dataclass(frozen=True, eq=False)
class Bank:
    """What was learnt of a generation, of which `digest` tells all that decided it."""

    day: int
    digest: str
    episodes: Links
    moments: Moments

    def links(self) -> dict[str, Links]:
        """Return the synapses by name."""
        moments = self.moments
        return dict(zip(LINKS, (self.episodes, moments.known, moments.before, moments.following), strict=True))

    def widened(self, num_items: int) -> "Bank":
        """Return the same bank for a later catalogue."""
        units, moments = self.episodes.num_columns, self.moments
        return Bank(
            self.day,
            self.digest,
            self.episodes.widened(num_items, units),
            Moments(
                moments.known.widened(num_items, units),
                moments.before.widened(num_items, units),
                moments.following.widened(units, num_items),
                moments.familiarity,
            ),
        )


def learn_bank(generation: Generation, digest: str, num_items: int, config: BankConfig, seed: int) -> Bank:
    """Store the pieces of a generation: together is what is its own, and what follows may follow on earlier days."""
    generator = np.random.default_rng([seed, generation.day % 2**32, generation.part])
    own = generation.own()
    how = config.selection()
    if config.episodes_height > 0:
        alike = how._replace(height=config.episodes_height)
        episodes = learn_alike(own, num_items, alike, generator)
    else:
        episodes = learn_episodes(own, num_items, config.num_modules, config.num_units, generator)
    moments = learn_moments(
        generation.pieces, generation.is_own(), num_items, how, config.persistence, config.link_rate, generator
    )
    return Bank(generation.day, digest, episodes, moments)


def split(generation: Generation, config: BankConfig) -> list[Generation]:
    """Give a generation in as many parts, of at least a piece, as keep the fill of each bank near its limit.

    There are MOST_PARTS at most, for each makes every list slower: so few items can fill any bank.
    """
    own = generation.is_own()
    num_present, places = len(np.unique(generation.pieces.items[own])), generation.pieces.positions[own]
    rates = np.minimum(1, config.link_rate / np.arange(1, config.persistence + 1))
    linked = sum(rate * (places >= distance).sum() for distance, rate in enumerate(rates, 1))
    drawn = linked / (num_present * config.num_units)
    if 1 - np.exp(-drawn) <= config.max_fill or len(generation.pieces) == 1:
        return [generation]
    num_parts = min(int(np.ceil(drawn / -np.log1p(-config.max_fill))), len(generation.pieces), MOST_PARTS)
    return [generation.take(np.arange(part, len(generation.pieces), num_parts), part) for part in range(num_parts)]


def write_banks(banks: Sequence[Bank]) -> dict[str, NDArray[Any]]:
    """Return the banks as named arrays."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, bank in enumerate(banks):
        about = {"day": np.array([bank.day]), "familiarity": np.array([bank.moments.familiarity])}
        about["num_items"] = np.array([bank.episodes.num_rows])
        about["digest"] = np.frombuffer(bytes.fromhex(bank.digest), np.uint8)
        for name, links in bank.links().items():
            about |= {f"{name}/{part}": array for part, array in links.packed().items()}
        arrays |= {f"bank {number}/{name}": array for name, array in about.items()}
    return arrays


def read_banks(state: Mapping[str, NDArray[Any]], config: BankConfig) -> list[Bank]:
    """Read what `write_banks` wrote."""
    banks: list[Bank] = []
    num_units = config.num_modules * config.num_units
    while (first := f"bank {len(banks)}") + "/day" in state:
        num_items = int(state[f"{first}/num_items"][0])
        shapes = dict.fromkeys(LINKS, (num_items, num_units)) | {"following": (num_units, num_items)}
        links = {
            name: Links.unpacked({part: state[f"{first}/{name}/{part}"] for part in PACKED}, shape)
            for name, shape in shapes.items()
        }
        familiarity = float(state[f"{first}/familiarity"][0])
        moments = Moments(links["known"], links["before"], links["following"], familiarity)
        digest = state[f"{first}/digest"].tobytes().hex()
        banks.append(Bank(int(state[f"{first}/day"][0]), digest, links["episodes"], moments))
    return banks
