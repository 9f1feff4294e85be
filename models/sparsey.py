"""Sparsey as a recommender: sequences are stored in one pass, in binary synapses (Rinkus, arXiv 1710.07829).

Three memories answer a history. Episodes: what was together in sequences like it (`models.episodes`). Moments: what
came next after its last items (`models.moments`). Attributes: what those that came next have in common, for items
without an event (`models.attributes`). Each answers with shares of its own sum, which are added by weight.

A generation of days has a bank of units of its own, which is frozen when it is learnt: a night adds one, and older ones
count less, by half-life. A bank depends on its own days and a week before them, so one that has not changed is taken
over from the night before, and a person who is forgotten costs the banks in which they were. A generation that would
fill its bank too much gets several. What was changed from the papers is said where it is done.

Shapes: B histories.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.sparse import csr_array

from models.attributes import AttributeMemory, link_attributes, plan_attributes
from models.chance import beyond_chance
from models.dense_episodes import DenseEpisodes
from models.episodes import Episodes
from models.field_plan import Fields, read_fields, write_fields
from models.generations import generations
from models.moments_recall import MomentMemory, Reading
from models.recommender import Capabilities, ModelConfig, UnfitStart, Validation
from models.row_recommender import RowRecommender, by_popularity
from models.sequences import FIRST_ITEM, Sequences
from models.sparsey_banks import Bank, BankConfig, learn_bank, read_banks, split, write_banks
from models.stages import BestEpochs, Pass, Run, Stage
from models.top_rows import top_rows
from models.validation import CUTOFF, evenly_spaced, mean_ndcg

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)  # of moments, of which one is chosen
MAX_VALIDATION_CASES = 2000
DROPPED_AFTER = 10  # half-lives: a generation then counts a thousandth of the newest
REASONS = (
    "was together with these items in sequences like this one",
    "came next after the last of these items",
    "is like what came next after the last of these items",
)
CONFIGURATION, FIELDS, COUNTS, WEIGHT = "configuration", "fields", "counts", "weight"  # what lies beside the banks

_log = logging.getLogger("nightly.sparsey")


class SparseyConfig(BankConfig):
    """How a history asks, beside what is stored; see `models.sparsey_banks`.

    half_life_days: after which a generation counts half; after ten of them it is dropped. query_events: of a history,
    the newest. num_winners: of a module, the units that speak at most. power: see `models.episodes`. num_moments,
    decay, back_off: see `models.moments_recall`. is_corrected: whether crosstalk is taken off. most_found: items that
    each memory answers with. moments_weight, attributes_weight: the episodes have the rest of 1. choose_weight: whether
    the validation part chooses that of the moments anew. storage: of the episodes when asked; sparse: the links that
    there are; dense: a bit for every link that could be, which costs less where banks are full (see
    `models.dense_episodes`).
    """

    half_life_days: PositiveFloat = 14
    query_events: int = Field(default=20, ge=1, le=100)
    num_winners: PositiveInt = 64
    power: NonNegativeFloat = 2
    num_moments: PositiveInt = 8
    decay: float = Field(default=0.6, gt=0, le=1)
    back_off: float = Field(default=0.3, ge=0)
    is_corrected: bool = True
    most_found: PositiveInt = 500
    moments_weight: float = Field(default=0.2, ge=0, le=1)
    attributes_weight: float = Field(default=0.05, ge=0, lt=1)
    choose_weight: bool = True
    storage: Literal["sparse", "dense"] = "sparse"

    def reading(self) -> Reading:
        """Return how a history asks for what comes next."""
        return Reading(self.num_moments, self.decay, self.back_off, self.num_winners, self.is_corrected)


class Sparsey(RowRecommender[SparseyConfig]):
    """Ranks by what the memories hold; ties and the rest by popularity.

    Memory: 4 bytes a synapse, of which an event has at most num_modules * (4 + persistence), and as many again where
    there are several banks; 24 bytes an item and 24 a unit for each bank.
    """

    name = "sparsey"
    label = "Sparsey"
    reason = "remembered from sequences like this one"
    capabilities = Capabilities(trains_without_gradient=True, goes_on=True, uses_metadata=True)
    Config = SparseyConfig
    presets: ClassVar[Mapping[str, ModelConfig]] = {
        "tiny": SparseyConfig(),
        "small": SparseyConfig(num_units=32_768),
        "paper": SparseyConfig(
            num_units=32_768, num_winners=1, power=0, is_corrected=False, persistence=1, num_moments=1
        ),
    }
    _banks: list[Bank]
    _counts: NDArray[np.int64]  # of events of each item
    _fields: Fields
    _weight: float  # of moments

    def stages(
        self, train: Sequences, validation: Validation | None, run: Run, start: Mapping[str, NDArray[Any]] | None
    ) -> Iterator[Stage]:
        """Store every generation that the night before did not have, then choose the weight."""
        earlier = self._take_banks(start, UnfitStart) if start else []
        yield Pass("fit", partial(self._store, train.without_unknown(), run.seed, earlier))
        if validation and self.config.choose_weight:
            yield Pass("weight", partial(self._choose_weight, validation))

    def _store(self, known: Sequences, seed: int, earlier: list[Bank]) -> None:
        config, kept, made_with = self.config, {bank.digest: bank for bank in earlier}, self.config.stored_with()
        cut = (config.generation_days, config.events_before, config.days_before, config.max_events)
        self._counts = np.bincount(known.items, minlength=self.num_items)
        self._fields = plan_attributes(self.catalogue, self._counts > 0)
        self._weight, self._banks = config.moments_weight, []
        for generation in generations(known, *cut, days_kept=DROPPED_AFTER * config.half_life_days):
            for part in split(generation, config):
                digest = part.digest(seed, made_with)
                bank = kept.get(digest) or learn_bank(part, digest, self.num_items, config, seed)
                self._banks.append(bank.widened(self.num_items))
        _tell([bank for bank in self._banks if bank.digest not in kept], self._banks)
        self._open()

    def _open(self) -> None:
        """Put the banks side by side, to be read."""
        config, days = self.config, np.array([bank.day for bank in self._banks])
        weights = (0.5 ** ((days.max() - days) / config.half_life_days)).astype(np.float32)
        self.order = by_popularity(self._counts)
        episodes = DenseEpisodes if config.storage == "dense" else Episodes
        self._episodes = episodes.of([bank.episodes for bank in self._banks], config.num_modules, weights)
        moments = MomentMemory.of([bank.moments for bank in self._banks], config.num_modules, weights)
        self._moments, self._attributes = moments, None
        if self._fields and self._counts[FIRST_ITEM:].min() == 0:
            links = link_attributes(self.catalogue, self._fields)
            self._attributes = AttributeMemory(moments, links, self._counts == 0)

    def _choose_weight(self, validation: Validation) -> None:
        """Take the weight of the moments with the best mean NDCG@10; of equal ones, the smallest."""
        cases = evenly_spaced(validation, MAX_VALIDATION_CASES)
        answers, rest = self._answers(cases.histories.without_unknown()), self._rest()
        allowed = np.ones(self.num_items, np.bool_)
        barred = cases.histories if cases.exclude_seen else None
        means = []
        for weight in WEIGHTS:
            items, _ = top_rows(self._mixed(answers, weight), self.order, rest, CUTOFF, allowed, barred)
            means.append(mean_ndcg(items, cases))
        self._weight = WEIGHTS[int(np.argmax(means))]

    def chosen(self, best_epochs: BestEpochs) -> SparseyConfig:
        """Keep the weight, where one was chosen."""
        if "weight" not in best_epochs:
            return self.config
        return self.config.model_copy(update={"moments_weight": self._weight, "choose_weight": False})

    def found(self, histories: Sequences) -> csr_array:
        """Return the weighted sum of what the memories answer."""
        return self._mixed(self._answers(histories), self._weight)

    def _answers(self, histories: Sequences) -> list[csr_array]:
        """Return what episodes, moments and attributes answer, the last only where there is something to find."""
        config, recent = self.config, histories.tail(self.config.query_events)
        reading = config.reading()
        answers = [
            self._episodes.found(
                recent, config.power, config.num_winners, config.most_found, is_corrected=config.is_corrected
            ),
            self._moments.found(recent, reading, config.most_found),
        ]
        return [*answers, self._attributes.found(recent, reading, config.most_found)] if self._attributes else answers

    def _mixed(self, answers: list[csr_array], weight: float) -> csr_array:
        shares = self._shares(answers, weight)
        parts = [answer * share for answer, share in zip(answers, shares, strict=True) if share]
        return csr_array(sum(parts[1:], parts[0]))

    def _shares(self, answers: list[csr_array], weight: float) -> list[np.float32]:
        """Return how much each answer counts, where the moments have some weight of what the attributes leave."""
        rest = 1 - self.config.attributes_weight if len(answers) > 2 else 1
        shares = (rest * (1 - weight), rest * weight, self.config.attributes_weight)
        return [np.float32(share) for share in shares[: len(answers)]]

    def reasons(self, histories: Sequences, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], Sequence[str]]:
        """Name the memory that gave each item the most. The time is that of ranking once more."""
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        answers = self._answers(histories.without_unknown())
        shares = self._shares(answers, self._weight)
        given = [
            share * np.asarray(answer[rows, items.ravel()]).reshape(items.shape)
            for answer, share in zip(answers, shares, strict=True)
        ]
        return np.argmax(given, axis=0).astype(np.int32), REASONS

    def familiarity(self, histories: Sequences) -> NDArray[np.float32]:
        """Return G of every history beyond what chance gives, float32[B], 0 to 1; see `models.chance`.

        NaN where it cannot be told: of a single item, and where the banks are too full.
        """
        self._check_histories(histories)
        asked = histories.without_unknown().tail(self.config.max_events)
        familiarity, episodes = self._episodes.familiarity(asked), self._episodes
        return beyond_chance(familiarity, asked, episodes.fills, self.config.num_units)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the banks, the fields, how often each item was seen, and the weight."""
        return write_banks(self._banks) | {
            CONFIGURATION: np.frombuffer(bytes.fromhex(self.config.stored_with()), np.uint8),
            FIELDS: write_fields(self._fields),
            COUNTS: self._counts,
            WEIGHT: np.array([self._weight]),
        }

    def adopt(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take them over; the catalogue may have grown since. Raises ValueError for banks of another configuration."""
        self._banks = [bank.widened(self.num_items) for bank in self._take_banks(state, ValueError)]
        self._counts = np.pad(state[COUNTS], (0, self.num_items - len(state[COUNTS])))
        self._fields, self._weight = read_fields(state[FIELDS]), float(state[WEIGHT][0])
        self._open()

    def _take_banks(self, state: Mapping[str, NDArray[Any]], refused: type[ValueError]) -> list[Bank]:
        given, own = state[CONFIGURATION].tobytes().hex(), self.config.stored_with()
        if given != own:
            raise refused(
                f"these banks of {self.name} were stored with configuration {given}, not {own}: their units mean other "
                "things; store the days anew"
            )
        return read_banks(state, self.config)


def _tell(learnt: list[Bank], banks: list[Bank]) -> None:
    """Say what was learnt, how much of it was familiar by then, and which days did not fit into one bank."""
    if not learnt:
        return
    _log.info(
        "sparsey: learnt %d of %d banks; %.0f %% of their moments were familiar by then, %.3g %% of the fullest one's "
        "possible links are set",
        len(learnt), len(banks), 100 * np.mean([bank.moments.familiarity for bank in learnt]),
        100 * max(links.fill for bank in learnt for links in bank.links().values()),
    )  # fmt: skip
    numbers = Counter(bank.day for bank in banks)
    several = {day: numbers[day] for day in sorted({bank.day for bank in learnt}) if numbers[day] > 1}
    if several:
        days = ", ".join(f"{np.datetime64(day, 'D')} {number}" for day, number in several.items())
        _log.warning(
            "sparsey: more than fits into a bank below max_fill, so that these days have several: %s; with more "
            "num_units one would do", days if any(several) else f"{several[0]} for all days",
        )  # fmt: skip
