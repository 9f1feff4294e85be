"""Banks: what one generation of days has left in the memories of `models.sparsey`, and how they are kept.

A bank is a function of its generation's pieces, the settings below and the seed: the same ones give it bit for bit.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from models.code_selection import Selection
from models.episode_codes import learn_alike
from models.episodes import learn_episodes
from models.generations import Generation
from models.links import Links
from models.moments import Moments, learn_moments
from models.recommender import ModelConfig

LINKS = ("episodes", "known", "before", "following")  # of a bank

_log = logging.getLogger("nightly.sparsey")


class BankConfig(ModelConfig):
    """Size of the banks, what is stored in each, and how codes are drawn.

    num_modules, num_units: Q and K. max_fill: of a bank's synapses with the items it holds; a generation that would
    have more gets several banks. generation_days: of which a bank is made, 0: all that is known is one generation.
    events_before: of a subject, with which its piece of a generation begins. max_events: of a piece; longer ones become
    several. height, midpoint, slope: of the selection of codes. episodes_height: the height for those of episodes, 0
    draws them at random. is_contextual: whether the item before takes part in the selection of those of moments.
    persistence: moments that a code stays on. link_rate: how often a moment is linked with one that follows, divided by
    the distance; 1 or more: always.
    """

    num_modules: int = Field(default=8, ge=1, le=1024)
    num_units: int = Field(default=8192, ge=2, le=2**20)
    max_fill: float = Field(default=0.05, gt=0, le=1)
    generation_days: NonNegativeInt = 0
    events_before: NonNegativeInt = 8
    max_events: PositiveInt = 50
    height: NonNegativeFloat = 100
    midpoint: float = 0.7
    slope: PositiveFloat = 0.08
    episodes_height: NonNegativeFloat = 0
    is_contextual: bool = True
    persistence: PositiveInt = 8
    link_rate: float = Field(default=2, gt=0)

    def stored_with(self) -> str:
        """Return the sha256 of the settings that decide what is stored."""
        return hashlib.sha256(self.model_dump_json(include=set(BankConfig.model_fields)).encode()).hexdigest()

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
    """Store the pieces of a generation, each once."""
    generator = np.random.default_rng([seed, generation.day, generation.part])
    pieces = generation.pieces
    how = config.selection()
    if config.episodes_height > 0:
        alike = how._replace(height=config.episodes_height)
        episodes = learn_alike(pieces, num_items, alike, generator)
    else:
        episodes = learn_episodes(pieces, num_items, config.num_modules, config.num_units, generator)
    moments = learn_moments(pieces, num_items, how, config.persistence, config.link_rate, generator)
    return Bank(generation.day, digest, episodes, moments)


def split(generation: Generation, config: BankConfig) -> Iterator[Generation]:
    """Give a generation in as many parts as keep the fill of each bank below its limit."""
    pieces = generation.pieces
    num_present = len(np.unique(pieces.items))
    distances = np.arange(1, config.persistence + 1)
    followed = np.maximum(pieces.lengths - distances[:, None], 0).sum(axis=1)  # moments, by that many later
    links = (followed * np.minimum(1, config.link_rate / distances)).sum() / (num_present * config.num_units)
    fill = 1 - np.exp(-links)
    num_parts = int(np.ceil(links / -np.log1p(-config.max_fill))) if fill > config.max_fill else 1
    if num_parts == 1:
        yield generation
        return
    _log.warning(
        "sparsey: %s moments would fill a bank to %.0f %%, its limit is %.0f %%: they are stored in %s banks",
        f"{len(pieces.items):,}", 100 * fill, 100 * config.max_fill, num_parts,
    )  # fmt: skip
    for part in range(num_parts):
        yield Generation(generation.day, pieces.take(np.arange(part, len(pieces), num_parts)), part)


def write_banks(banks: Sequence[Bank]) -> dict[str, NDArray[Any]]:
    """Return the banks as named arrays."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, bank in enumerate(banks):
        about = {"day": np.array([bank.day]), "familiarity": np.array([bank.moments.familiarity])}
        about["digest"] = np.frombuffer(bytes.fromhex(bank.digest), np.uint8)
        for name, links in bank.links().items():
            about |= {f"{name}/columns": links.columns, f"{name}/offsets": links.offsets}
        arrays |= {f"bank {number}/{name}": array for name, array in about.items()}
    return arrays


def read_banks(state: Mapping[str, NDArray[Any]], config: BankConfig) -> list[Bank]:
    """Read what `write_banks` wrote."""
    banks: list[Bank] = []
    num_units = config.num_modules * config.num_units
    while f"bank {len(banks)}/day" in state:
        about = {name: state[f"bank {len(banks)}/{name}"] for name in ("day", "digest", "familiarity")}
        arrays = {
            name: (state[f"bank {len(banks)}/{name}/columns"], state[f"bank {len(banks)}/{name}/offsets"])
            for name in LINKS
        }
        num_items = len(arrays["known"][1]) - 1
        width = {"following": num_items}
        episodes, known, before, following = (
            Links(*arrays[name], num_columns=width.get(name, num_units)) for name in LINKS
        )
        moments = Moments(known, before, following, float(about["familiarity"][0]))
        banks.append(Bank(int(about["day"][0]), about["digest"].tobytes().hex(), episodes, moments))
    return banks
