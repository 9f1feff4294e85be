"""The code selection algorithm of Sparsey (Rinkus 2010; 2014; arXiv 1710.07829), and the macrocolumn that runs it.

A code is one winner in each of Q modules of K units. The better the input matches what is stored, the more the draw of
the winners leans to the units that know it: similar inputs get similar codes, new ones get new codes. A unit's support
is V = U^a H^b D^c, each the share of the active inputs of one field (from below, from the previous code, from above)
whose binary weight to the unit is set; the familiarity G is the mean over modules of the largest V.
Learning sets weights from active inputs to winners, in one trial. The normaliser is the number of active inputs, so G
ignores what is missing and falls with what is wrong. We left out decay, codes that persist over several steps, the
discount of ambiguous sources, and back-off from U H to U, which makes every new order of known inputs look familiar.

A step costs QK additions for each active input, QK exponentials and Q draws; learning, Q writes for each active input:
however much is stored. Memory: QK bytes for each input, those beside being QK. A byte a weight and not a bit: sums for
32,768 units over 40 (110, 200) active of 384 inputs take 30 (87, 157) us from rows of bytes on one core of an EPYC, and
63 us from packed words, which a popcount has to go through whole; over 16 active of 4,096 inputs, 12 us and 266.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from models.recommender import ModelConfig

SILENT: Final = -1
_MOST_ACTIVE: Final = np.iinfo(np.uint16).max
_BLOCK: Final = 4096  # counts of so many units stay in the nearest cache


class MacConfig(ModelConfig):
    """Q modules of K units, how the winners are drawn, and when a macrocolumn is silent or a unit learns no more.

    lowest, exponent, height: G-, gamma, chi of the expansivity. midpoint, slope: theta, epsilon of the activation.
    power_up_alone: the exponent of U where no other field delivers, as at the first step of a sequence.
    least_active, most_active: shares of the inputs from below; with fewer or more of them active there is no code.
    frozen_above: share of a unit's weights from one field; once more of them are set, it learns no more from the field.
    """

    num_modules: PositiveInt = 16
    num_units: int = Field(default=64, ge=2)
    has_horizontal: bool = False
    lowest: float = Field(default=0.1, ge=0, lt=1)
    exponent: PositiveFloat = 2.0
    height: float = Field(default=100.0, ge=0)
    midpoint: float = 0.7
    slope: PositiveFloat = 0.06
    power_up: PositiveFloat = 1.0
    power_up_alone: PositiveFloat = 1.0
    power_horizontal: PositiveFloat = 1.0
    power_down: PositiveFloat = 1.0
    least_active: float = Field(default=0, ge=0, le=1)
    most_active: float = Field(default=1, ge=0, le=1)
    frozen_above: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.least_active > self.most_active:
            raise ValueError(
                f"least_active is {self.least_active}, above most_active, {self.most_active}: no code ever"
            )
        if self.has_horizontal and self.num_modules == 1:
            raise ValueError("has_horizontal needs num_modules of 2 or more: a unit does not hear its own module")
        return self


class Patterns(NamedTuple):
    """B sets of active inputs one after the other: their numbers int32[active], and offsets int64[B + 1]."""

    numbers: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, is_active: NDArray[np.bool_]) -> Self:
        """Find the active inputs of bool[B, F]."""
        rows, numbers = np.nonzero(is_active)
        return cls(numbers.astype(np.int32), np.searchsorted(rows, np.arange(len(is_active) + 1)).astype(np.int64))

    @classmethod
    def silent(cls, number: int) -> Self:
        """Sets without an active input."""
        return cls(np.empty(0, np.int32), np.zeros(number + 1, np.int64))


@dataclass(frozen=True)
class Steps:
    """What a macrocolumn meets, in this order: inputs from below and above, and bool[B]: where a sequence begins."""

    up: Patterns
    down: Patterns
    is_first: NDArray[np.bool_]

    @classmethod
    def alone(cls, up: Patterns) -> Self:
        """Inputs from below, each a sequence of its own."""
        number = len(up.offsets) - 1
        return cls(up, Patterns.silent(number), np.ones(number, np.bool_))

    @classmethod
    def sequences(cls, up: Patterns, lengths: NDArray[np.int64]) -> Self:
        """Inputs from below in sequences of these lengths."""
        number = len(up.offsets) - 1
        is_first = np.zeros(number, np.bool_)
        is_first[np.cumsum(lengths) - lengths] = True
        return cls(up, Patterns.silent(number), is_first)


class Codes(NamedTuple):
    """Codes int32[B, Q] of unit numbers (module * K + place; SILENT: no code) and familiarity float32[B] (then 0)."""

    units: NDArray[np.int32]
    familiarity: NDArray[np.float32]


class _Rule(NamedTuple):
    """The numbers of a configuration that the loops need."""

    num_modules: int
    num_units: int
    lowest: float
    exponent: float
    height: float
    midpoint: float
    slope: float
    power_up: float
    power_up_alone: float
    power_horizontal: float
    power_down: float
    fewest: int
    most: int


class Mac:
    """A macrocolumn with binary weights, uint8[inputs, QK], that are all 0 at first.

    num_up, num_down: inputs from below and above. The horizontal field is its own previous code, but for the units of
    the module itself. Every random choice comes from the given generator; one thread; a call holds no lock of Python.
    """

    def __init__(self, config: MacConfig, num_up: int, num_down: int = 0) -> None:
        if num_up < 1:
            raise ValueError(f"num_up is {num_up}; a macrocolumn needs at least 1 input from below")
        self.config, self.num_up, self.num_down = config, num_up, num_down
        self.size = config.num_modules * config.num_units
        self.up = np.zeros((num_up, self.size), np.uint8)
        self.horizontal = np.zeros((self.size if config.has_horizontal else 0, self.size), np.uint8)
        self.down = np.zeros((num_down, self.size), np.uint8)
        self.num_set = np.zeros((3, self.size), np.int32)  # of a unit's weights from below, beside and above

    def learn(self, steps: Steps, generator: np.random.Generator) -> Codes:
        """Draw a code for each step and store it, one step after the other."""
        return self._run(steps, generator, learns=True, by_context=False)

    def recognise(self, steps: Steps, generator: np.random.Generator) -> Codes:
        """Give each step the units of largest support; of equal ones, any. Nothing is stored."""
        return self._run(steps, generator, learns=False, by_context=False)

    def replay(self, code: NDArray[np.int32], num_steps: int, generator: np.random.Generator) -> NDArray[np.int32]:
        """Go on from a code int32[Q] by the horizontal field alone; return what follows, int32[num_steps, Q]."""
        if not self.config.has_horizontal:
            raise ValueError("replay needs the horizontal field: set has_horizontal")
        silent = Patterns.silent(num_steps)
        steps = Steps(silent, silent, np.zeros(num_steps, np.bool_))
        return self._run(steps, generator, learns=False, by_context=True, last=code).units

    def supports(self, up: Patterns, power: float = 1.0) -> NDArray[np.float32]:
        """Return V^power of every unit for inputs from below alone, float32[B, QK]; all 0 outside the band."""
        self._check(up, self.num_up, "up")
        rule = self._rule()._replace(power_up_alone=self.config.power_up_alone * power)
        support = np.zeros((len(up.offsets) - 1, self.size), np.float32)
        _supports(self.up, up.numbers, up.offsets, rule, support)
        return support

    def inputs_of(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return to which share of a code's units each input from below has a weight, float32[B, num_up]."""
        assert codes.ndim == 2
        assert codes.min(initial=0) >= 0
        return np.stack([self.up[:, code].mean(axis=1, dtype=np.float32) for code in codes])

    def fills(self) -> dict[str, float]:
        """Return the share of weights set in each field that there is."""
        beside = self.size - self.config.num_units if self.config.has_horizontal else 0
        widths = {"up": self.num_up, "horizontal": beside, "down": self.num_down}
        counts = self.num_set.sum(axis=1, dtype=np.int64)
        return {
            name: float(count / (width * self.size))
            for (name, width), count in zip(widths.items(), counts, strict=True)
            if width
        }

    def _run(
        self,
        steps: Steps,
        generator: np.random.Generator,
        *,
        learns: bool,
        by_context: bool,
        last: NDArray[np.int32] | None = None,
    ) -> Codes:
        assert len(steps.up.offsets) == len(steps.down.offsets) == len(steps.is_first) + 1
        self._check(steps.up, self.num_up, "up")
        self._check(steps.down, self.num_down, "down")
        number, num_modules = len(steps.is_first), self.config.num_modules
        codes = Codes(np.full((number, num_modules), SILENT, np.int32), np.zeros(number, np.float32))
        _steps(
            (self.up, self.horizontal, self.down),
            (*steps.up, *steps.down, steps.is_first),
            np.full(num_modules, SILENT, np.int32) if last is None else last.astype(np.int32),
            generator.random((number, num_modules)),
            self._rule(),
            self.num_set,
            self._most_set() if learns else np.full(3, SILENT, np.int64),
            by_context,
            *codes,
        )
        return codes

    def _rule(self) -> _Rule:
        own: dict[str, Any] = self.config.model_dump(include=set(_Rule._fields))
        return _Rule(
            **own,
            fewest=max(1, int(np.ceil(self.config.least_active * self.num_up - 1e-9))),
            most=int(np.floor(self.config.most_active * self.num_up + 1e-9)),
        )

    def _most_set(self) -> NDArray[np.int64]:
        """Return with how many weights set a unit still learns from each field."""
        widths = np.array([self.num_up, self.size - self.config.num_units, self.num_down])
        return np.floor(self.config.frozen_above * widths + 1e-9).astype(np.int64)

    @staticmethod
    def _check(patterns: Patterns, width: int, name: str) -> None:
        highest, lowest = patterns.numbers.max(initial=-1), patterns.numbers.min(initial=0)
        if highest >= width or lowest < 0:
            raise ValueError(f"{name} has input {highest if lowest >= 0 else lowest}; allowed are 0 to {width - 1}")
        most = np.diff(patterns.offsets).max(initial=0)
        if most > _MOST_ACTIVE:
            raise ValueError(
                f"{name} has {most} active inputs in a step; allowed are {_MOST_ACTIVE}, for counts of 16 bits"
            )


@njit(cache=True, nogil=True)
def expansivity(familiarity: float, lowest: float, exponent: float, height: float, num_units: int) -> float:
    """Return eta = 1 + (max(0, G - G-) / (1 - G-))^gamma chi K: how much more the best unit counts than any other."""
    excess = max(0.0, familiarity - lowest) / (1.0 - lowest)
    return float(1.0 + excess**exponent * height * num_units)


@njit(cache=True, nogil=True)
def activation(support: float, eta: float, midpoint: float, slope: float) -> float:
    """Return mu = 1 + (eta - 1) / (1 + exp(-(V - theta) / epsilon)): a unit wins with a chance proportional to it."""
    return float(1.0 + (eta - 1.0) / (1.0 + np.exp((midpoint - support) / slope)))


@njit(cache=True, nogil=True)
def _steps(  # type: ignore[no-untyped-def]
    weights, inputs, last, uniforms, rule, num_set, most_set, by_context, codes, familiarities
):
    """Go through the steps; a negative ``most_set`` means that nothing is learnt."""
    up_numbers, up_offsets, down_numbers, down_offsets, is_first = inputs
    learns = most_set[0] >= 0
    support, counts = np.empty(weights[0].shape[1], np.float32), np.empty(weights[0].shape[1], np.uint16)
    for step in range(len(is_first)):
        up = up_numbers[up_offsets[step] : up_offsets[step + 1]]
        down = down_numbers[down_offsets[step] : down_offsets[step + 1]]
        before = last[:0] if is_first[step] or last[0] < 0 or weights[1].shape[0] == 0 else last
        last = codes[step]
        if not (rule.fewest <= len(up) <= rule.most or (by_context and len(before))):
            continue
        _support(weights, up, before, down, rule, counts, support)
        familiarity = _familiarity(support, rule)
        familiarities[step] = familiarity
        if learns:
            eta = expansivity(familiarity, rule.lowest, rule.exponent, rule.height, rule.num_units)
            _draw(support, eta, rule, uniforms[step], codes[step])
            _learn(weights[0], up, codes[step], 0, num_set[0], most_set[0])
            _learn(weights[1], before, codes[step], rule.num_units, num_set[1], most_set[1])
            _learn(weights[2], down, codes[step], 0, num_set[2], most_set[2])
        else:
            _best(support, rule, uniforms[step], codes[step])


@njit(cache=True, nogil=True)
def _supports(weights, numbers, offsets, rule, supports):  # type: ignore[no-untyped-def]
    """Fill V float32[B, QK] of inputs from below."""
    counts = np.empty(weights.shape[1], np.uint16)
    for row in range(len(offsets) - 1):
        active = numbers[offsets[row] : offsets[row + 1]]
        if rule.fewest <= len(active) <= rule.most:
            supports[row] = 1
            _multiply(weights, active, len(active), rule.power_up_alone, counts, supports[row])


@njit(cache=True, nogil=True)
def _support(weights, up, before, down, rule, counts, support):  # type: ignore[no-untyped-def]
    """Fill V float32[QK] from the fields that deliver; a unit never hears its own module, hence Q - 1 of ``before``."""
    support[:] = 1
    is_alone = len(before) + len(down) == 0
    _multiply(weights[0], up, len(up), rule.power_up_alone if is_alone else rule.power_up, counts, support)
    _multiply(weights[1], before, len(before) - 1, rule.power_horizontal, counts, support)
    _multiply(weights[2], down, len(down), rule.power_down, counts, support)


@njit(cache=True, nogil=True)
def _multiply(weights, active, normaliser, power, counts, support):  # type: ignore[no-untyped-def]
    """Multiply by the power of the share of the active inputs with a weight, unless none is active."""
    if len(active) == 0:
        return
    powers = ((np.arange(normaliser + 1) / normaliser) ** power).astype(np.float32)
    for start in range(0, len(support), _BLOCK):
        block = counts[start : start + _BLOCK]
        block[:] = 0
        for number in active:
            row = weights[number, start : start + _BLOCK]
            for unit in range(len(block)):
                block[unit] += row[unit]
        for unit in range(len(block)):
            support[start + unit] *= powers[block[unit]]


@njit(cache=True, nogil=True)
def _familiarity(support, rule):  # type: ignore[no-untyped-def]
    total = 0.0
    for module in range(rule.num_modules):
        total += support[module * rule.num_units : (module + 1) * rule.num_units].max()
    return total / rule.num_modules


@njit(cache=True, nogil=True)
def _draw(support, eta, rule, uniforms, code):  # type: ignore[no-untyped-def]
    """Draw a winner in each module by the activations of its units."""
    sums = np.empty(rule.num_units)
    for module in range(rule.num_modules):
        first = module * rule.num_units
        place = int(uniforms[module] * rule.num_units)  # with eta 1 all are alike: no exponentials
        if eta > 1:
            total = 0.0
            for unit in range(rule.num_units):
                total += activation(support[first + unit], eta, rule.midpoint, rule.slope)
                sums[unit] = total
            place = min(np.searchsorted(sums, uniforms[module] * total, side="right"), rule.num_units - 1)
        code[module] = first + place


@njit(cache=True, nogil=True)
def _best(support, rule, uniforms, code):  # type: ignore[no-untyped-def]
    """Find the unit of largest support in each module, any of equal ones."""
    for module in range(rule.num_modules):
        first = module * rule.num_units
        own = support[first : first + rule.num_units]
        equal = np.flatnonzero(own == own.max())
        code[module] = first + equal[int(uniforms[module] * len(equal))]


@njit(cache=True, nogil=True)
def _learn(weights, active, code, own_module, num_set, most_set):  # type: ignore[no-untyped-def]
    """Set the weights of active inputs to the winners that are not frozen.

    own_module: K where inputs are units of the same macrocolumn, of which those of the winner's module are not heard.
    """
    for winner in code:
        if num_set[winner] > most_set:
            continue
        for number in active:
            if weights[number, winner] == 0 and not (own_module and number // own_module == winner // own_module):
                weights[number, winner] = 1
                num_set[winner] += 1
