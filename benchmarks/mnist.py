"""Handwritten digits, each training picture shown once: how many of the others a memory of binary weights tells.

    OMP_NUM_THREADS=1 python -m benchmarks.mnist --data data

The code selection algorithm in macrocolumns, and class units, all learnt in one trial; no gradient. The first recipe is
the published one as far as it is known (16 x 24 binary skeletons, one internal level, hard winners); the others are
changes to it, one more each, with settings of their own. Beside them: the nearest of the training pictures by the same
binary pixels.
Training pictures come from the first 50,000 of the training files. Settings were chosen on some of the last 10,000
(`--part validation`), with seed 0; the test files are for the table alone. In the table, "set" are the shares of the
weights from below, of those to the classes, and of the units ever drawn.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.digit_memory import DigitMemory, DigitMemoryConfig
from benchmarks.digits import HEIGHT, WIDTH, Digits, lines
from benchmarks.machine import command, machine
from models.csa import MacConfig

Bools = NDArray[np.bool_]
Result = TypeVar("Result")

PACKAGES: Final = ("numpy", "numba", "scipy")
NUM_TRAINING: Final = 50_000
NUM_EACH: Final = 200
CURVE: Final = (10, 20, 50, 100, 200, 400, 800)


@dataclass(frozen=True)
class Recipe:
    """How pictures are made, and the memory that sees them."""

    memory: DigitMemoryConfig
    widening: int = 0
    deskew: bool = False


_SKELETONS: Final = DigitMemoryConfig(
    mac=MacConfig(num_modules=32, num_units=1024, lowest=0.4, midpoint=0.7, slope=0.03, frozen_above=0.1),
    sees_paper=False,
    patch_height=HEIGHT,
    patch_width=WIDTH,
    grading=8,
)
_WIDE: Final = DigitMemoryConfig(
    mac=MacConfig(num_modules=32, num_units=2048, lowest=0.7, midpoint=0.9, slope=0.03, frozen_above=0.35),
    sees_paper=False,
    patch_height=HEIGHT,
    patch_width=WIDTH,
    grading=16,
)
_PAPER: Final = DigitMemoryConfig(
    mac=MacConfig(
        num_modules=32, num_units=1024, height=1000, lowest=0.9, midpoint=0.98, slope=0.01, frozen_above=0.55
    ),
    patch_height=HEIGHT,
    patch_width=WIDTH,
    grading=64,
)
_PATCHES: Final = DigitMemoryConfig(
    mac=MacConfig(num_modules=32, num_units=512, height=1000, lowest=0.8, midpoint=0.95, slope=0.01, frozen_above=0.6)
)
RECIPES: Final[Mapping[str, Recipe]] = {
    "skeletons, one macrocolumn": Recipe(_SKELETONS),
    "and lines 3 pixels wide": Recipe(_WIDE, widening=1),
    "and inputs for no ink": Recipe(_PAPER, widening=1),
    "and 15 macrocolumns over patches": Recipe(_PATCHES, widening=1),
    "and the slant turned away": Recipe(_PATCHES, widening=1, deskew=True),
}
HEADLINE: Final = "and 15 macrocolumns over patches"


@dataclass(frozen=True)
class Measured:
    """Shares told right, and seconds of processor: pictures made and learnt, and asked pictures told."""

    hard: float
    graded: float
    nearest: float
    seconds_to_learn: float
    seconds_hard: float
    seconds_graded: float
    memory: DigitMemory


def main() -> None:
    """Print both tables."""
    arguments = _arguments()
    digits = Digits.read(arguments.data / "mnist", "train")
    training, held_back = digits.take(slice(NUM_TRAINING)), digits.take(slice(NUM_TRAINING, None))
    asked = held_back if arguments.part == "validation" else Digits.read(arguments.data / "mnist", "t10k")
    print(f"`{command('benchmarks.mnist')}`: {machine(PACKAGES)}\n")
    print(f"{len(asked.labels):,} pictures asked; {NUM_EACH} of each digit learnt, seeds {arguments.seeds}\n")
    _print_recipes(training, asked, arguments.seeds)
    print(f"\n{HEADLINE}, seed {arguments.seeds[0]}:\n")
    _print_curve(training, asked, arguments.curve, arguments.seeds[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Learn handwritten digits in a single trial each.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--part", choices=["test", "validation"], default="test", help="which pictures are asked")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--curve", type=int, nargs="*", default=list(CURVE), help="numbers of pictures of each digit")
    return parser.parse_args()


def _print_recipes(training: Digits, asked: Digits, seeds: Sequence[int]) -> None:
    print("| recipe | hard winners | graded | nearest picture | s to learn | s hard | s graded | weights MiB | set |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, recipe in RECIPES.items():
        runs = [measure(recipe, training, asked, NUM_EACH, seed) for seed in seeds]
        accuracies = [_spread([getattr(run, part) for run in runs]) for part in ("hard", "graded", "nearest")]
        parts = ("seconds_to_learn", "seconds_hard", "seconds_graded")
        seconds = [f"{np.mean([getattr(run, part) for run in runs]):.1f}" for part in parts]
        memory = runs[0].memory
        size = sum(mac.up.nbytes + mac.horizontal.nbytes for mac in memory.macs) / 2**20
        sets = " ".join(f"{share:.3f}" for share in memory.shares().values())
        print(f"| {name} | {' | '.join([*accuracies, *seconds])} | {size:,.0f} | {sets} |", flush=True)


def _print_curve(training: Digits, asked: Digits, numbers: Sequence[int], seed: int) -> None:
    print("| pictures of each digit | hard winners | graded | nearest picture | s to learn |\n|---|---|---|---|---|")
    for number in numbers:
        run = measure(RECIPES[HEADLINE], training, asked, number, seed)
        print(
            f"| {number} | {run.hard:.4f} | {run.graded:.4f} | {run.nearest:.4f} | {run.seconds_to_learn:.1f} |",
            flush=True,
        )


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


def measure(recipe: Recipe, training: Digits, asked: Digits, num_each: int, seed: int) -> Measured:
    """Draw training pictures, learn each once, and tell the asked ones; what is compiled is not counted."""
    shown = training.draw(num_each, np.random.default_rng(seed))
    _compile(recipe)

    def learn() -> tuple[Bools, DigitMemory]:
        pictures = lines(shown, deskew=recipe.deskew, widening=recipe.widening)
        return pictures, DigitMemory(recipe.memory, seed).learn(pictures, shown.labels)

    (pictures, memory), seconds_to_learn = _timed(learn)
    others = lines(asked, deskew=recipe.deskew, widening=recipe.widening)
    hard, seconds_hard = _timed(lambda: memory.votes(others, is_graded=False))
    graded, seconds_graded = _timed(lambda: memory.votes(others, is_graded=True))
    found = nearest(pictures, others)
    return Measured(
        float((hard.argmax(axis=1) == asked.labels).mean()),
        float((graded.argmax(axis=1) == asked.labels).mean()),
        float((shown.labels[found] == asked.labels).mean()),
        seconds_to_learn,
        seconds_hard,
        seconds_graded,
        memory,
    )


def _compile(recipe: Recipe) -> None:
    blank = np.zeros((1, HEIGHT, WIDTH), np.bool_)
    DigitMemory(recipe.memory, 0).learn(blank, np.zeros(1, np.uint8)).votes(blank, is_graded=False)


def _timed(job: Callable[[], Result]) -> tuple[Result, float]:
    started = time.process_time()
    return job(), time.process_time() - started


def nearest(pictures: Bools, others: Bools) -> NDArray[np.int64]:
    """Return which picture differs from each of the others in the fewest pixels; of equal ones, the first."""
    own = pictures.reshape(len(pictures), -1).astype(np.float32)
    asked = others.reshape(len(others), -1).astype(np.float32)
    found: NDArray[np.int64] = (own.sum(axis=1) - 2 * asked @ own.T).argmin(axis=1)
    return found


if __name__ == "__main__":
    main()
