"""A news site night by night: learn a day, list for the next. Sparsey, a bank a day, beside models learnt anew.

    python -m benchmarks.nights --data DATA

Each night a model knows what happened up to midnight, UTC, and is asked an even selection of the clicks of the sessions
that begin the day after. Sparsey goes on from the night before; its half-life and the weight of its moments are those
that were best on the nights before, never on the one that is told. At the end one session is forgotten.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import SOURCES, read_log
from benchmarks.machine import command, machine
from benchmarks.model_settings import entrant
from benchmarks.models import PACKAGES
from benchmarks.protocols import prefixes
from models.catalogue import Catalogue
from models.metrics import case_metrics
from models.recommender import Recommender, Validation
from models.sequences import FIRST_ITEM, SECONDS_PER_DAY, Sequences
from models.sparsey import Sparsey

TASK: Final = "globo_news"
NUM_DAYS: Final = 10  # the file has a few events of later days
FIRST_TOLD: Final = 3  # the nights before are for choosing alone
HALF_LIVES: Final = (0.5, 1.0, 2.0, 14.0)
WEIGHTS: Final = (0.1, 0.2, 0.4)
FLOORS: Final = ("popular", "markov", "session_knn", "blend")
CUTOFF: Final = 20
State = Mapping[str, NDArray[Any]]
Choice = tuple[float, float]  # half-life in days, weight of the moments


@dataclass(frozen=True)
class Night:
    """What is known at midnight after some day, and what is asked of the next."""

    day: int
    known: Sequences
    asked: Validation


def main() -> None:
    """Tell of every night with what was best before it, then forget a session."""
    arguments = _arguments()
    print(f"`{command('benchmarks.nights')}`: {machine(PACKAGES)}\n")
    log = read_log(arguments.data / TASK, SOURCES[TASK])
    nights, catalogue = list(read_nights(log.sequences, arguments.cases)), log.items.catalogue
    names = ["sparsey, a bank a day", "sparsey, one bank", *FLOORS]
    head = "| night | events | familiarity | half-life, weight | s to go on | s anew "
    print(f"{head}| {' | '.join(names)} |\n|{'---|' * (6 + len(names))}")
    recalls: dict[Choice, list[float]] = {choice: [] for choice in product(HALF_LIVES, WEIGHTS)}
    state: State = {}
    rows = []
    for number, night in enumerate(nights):
        if number >= FIRST_TOLD:
            rows.append(_tell(night, catalogue, best(recalls), state))
        state = _try(night, catalogue, recalls, state)
    means = [f"{recall:.4f} / {mrr:.4f}" for recall, mrr in np.mean(rows, axis=0)]
    print(f"| all | | | | | | {' | '.join(means)} |\n")
    _forget(nights[-1].known, catalogue, best(recalls), state)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Learn a news site a day at a time.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--cases", type=int, default=5_000, help="of each night")
    return parser.parse_args()


def read_nights(sessions: Sequences, num_cases: int) -> Iterator[Night]:
    """Cut the log at every midnight that has a day after it."""
    days = sessions.times // SECONDS_PER_DAY
    begins = days[sessions.offsets[:-1]]
    for day in range(int(days.min()), int(days.min()) + NUM_DAYS - 1):
        known = sessions.where(days <= day)
        asked = prefixes(sessions.take(np.flatnonzero(begins == day + 1)), num_cases)
        yield Night(day, known.take(np.flatnonzero(known.lengths)), Validation(*asked))


def best(recalls: Mapping[Choice, list[float]]) -> Choice:
    """Return the choice of the highest mean recall, of equal ones the first."""
    return max(recalls, key=lambda choice: float(np.mean(recalls[choice])))


def _try(night: Night, catalogue: Catalogue, recalls: dict[Choice, list[float]], state: State) -> State:
    """Add the recall of every choice; return the state after the night, which is the same for all."""
    for choice, found in recalls.items():
        model = _sparsey(catalogue, _settings(choice), night.known, state)
        state = model.state()
        found.append(_score(model, night.asked)[0])
    return state


def _settings(choice: Choice) -> dict[str, Any]:
    half_life, weight = choice
    return {"generation_days": 1, "half_life_days": half_life, "moments_weight": weight, "choose_weight": False}


def _tell(night: Night, catalogue: Catalogue, choice: Choice, state: State) -> list[tuple[float, float]]:
    """Print a night's row; return recall and MRR of every model."""
    chosen = _settings(choice)
    started = time.perf_counter()
    model = _sparsey(catalogue, chosen, night.known, state)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    anew = _sparsey(catalogue, chosen, night.known)
    seconds_anew = time.perf_counter() - started
    assert same(model.state(), anew.state()), "going on gives what learning anew gives"
    one_bank = _sparsey(catalogue, {**chosen, "generation_days": 0}, night.known)
    scores = [_score(some, night.asked) for some in (model, one_bank, *_floors(night, catalogue))]
    last = night.known.times // SECONDS_PER_DAY == night.day
    familiarity = model.familiarity(night.asked.histories.take(np.flatnonzero(night.asked.histories.lengths > 1)))
    cells = [str(np.datetime64(night.day, "D")), f"{last.sum():,}", f"{np.nanmean(familiarity):.3f}"]
    cells += [
        f"{choice[0]:g}, {choice[1]:g}",
        f"{seconds:.1f}",
        f"{seconds_anew:.1f}",
        *(f"{recall:.4f} / {mrr:.4f}" for recall, mrr in scores),
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
    return scores


def _sparsey(catalogue: Catalogue, changes: Mapping[str, Any], known: Sequences, start: State | None = None) -> Sparsey:
    _, config = entrant(TASK, "sparsey")
    model = Sparsey(Sparsey.Config.model_validate(config.model_dump() | dict(changes)), catalogue)
    model.fit(known, seed=0, start=start)
    return model


def _floors(night: Night, catalogue: Catalogue) -> Iterator[Recommender]:
    for name in FLOORS:
        kind, config = entrant(TASK, name)
        model = kind(config, catalogue)
        model.fit(night.known, seed=0)
        yield model


def _score(model: Recommender, asked: Validation) -> tuple[float, float]:
    items, _ = model.topk(asked.histories, CUTOFF, np.arange(model.num_items) >= FIRST_ITEM)
    values = case_metrics(items, asked.targets, [CUTOFF])
    return float(values[f"recall@{CUTOFF}"].mean()), float(values[f"mrr@{CUTOFF}"].mean())


def _forget(known: Sequences, catalogue: Catalogue, choice: Choice, state: State) -> None:
    """Forget the longest session of all, and say which banks were learnt again and whether no trace is left."""
    longest = int(np.argmax(known.lengths))
    without = known.take(np.delete(np.arange(len(known)), longest))
    started = time.perf_counter()
    model = _sparsey(catalogue, _settings(choice), without, state)
    seconds = time.perf_counter() - started
    relearnt = len(digests(model.state()) - digests(state))
    is_clean = same(model.state(), _sparsey(catalogue, _settings(choice), without).state())
    days = len(np.unique(known.take(np.array([longest])).times // SECONDS_PER_DAY))
    print(
        f"A session of {known.lengths[longest]} clicks on {days} day(s) is forgotten: {relearnt} of "
        f"{len(digests(state))} banks learnt again, in {seconds:.1f} s; every array is that of a model that never saw "
        f"it: {'yes' if is_clean else 'no'}."
    )


def digests(state: State) -> set[str]:
    """Return what tells the banks apart."""
    return {array.tobytes().hex() for name, array in state.items() if name.endswith("/digest")}


def same(one: State, other: State) -> bool:
    """Tell whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(array, other[name]) for name, array in one.items())


if __name__ == "__main__":
    main()
