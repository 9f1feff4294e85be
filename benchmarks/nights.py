"""A news site night by night: learn a day, list for the next. Sparsey, a bank a day, beside models learnt anew.

    python -m benchmarks.nights --data DATA

Each night a model knows what happened up to midnight, UTC, and is asked an even selection of the clicks of the sessions
that begin the day after. Sparsey goes on from the night before. Its half-life and the weight of its moments are chosen
on the first nights, and what is told of the others was not looked at for that. At the end one session is forgotten.
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
from benchmarks.protocols import SECONDS_PER_DAY, prefixes
from models.catalogue import Catalogue
from models.metrics import case_metrics
from models.recommender import Recommender, Validation
from models.sequences import FIRST_ITEM, Sequences
from models.sparsey import Sparsey

TASK: Final = "globo_news"
NUM_DAYS: Final = 10  # the file has a few events of later days
SELECTION_NIGHTS: Final = 3
HALF_LIVES: Final = (0.25, 0.5, 1.0, 2.0, 14.0)
WEIGHTS: Final = (0.1, 0.2, 0.4, 0.6)
FLOORS: Final = ("popular", "markov", "session_knn", "blend")
CUTOFF: Final = 20
State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Night:
    """What is known at midnight after some day, and what is asked of the next."""

    day: int
    known: Sequences
    asked: Validation


def main() -> None:
    """Choose on the first nights, tell of the others, forget a session."""
    arguments = _arguments()
    print(f"`{command('benchmarks.nights')}`: {machine(PACKAGES)}\n")
    log = read_log(arguments.data / TASK, SOURCES[TASK])
    nights, catalogue = list(read_nights(log.sequences, arguments.cases)), log.items.catalogue
    chosen, state = _choose(nights[:SELECTION_NIGHTS], catalogue)
    names = ["sparsey, a bank a day", "sparsey, one bank", *FLOORS]
    print(f"| night | events | G | s to go on | s anew | {' | '.join(names)} |\n|{'---|' * (5 + len(names))}")
    rows = []
    for night in nights[SELECTION_NIGHTS:]:
        scores, state = _tell(night, catalogue, chosen, state)
        rows.append(scores)
    means = [f"{recall:.4f} / {mrr:.4f}" for recall, mrr in np.mean(rows, axis=0)]
    print(f"| all | | | | | {' | '.join(means)} |\n")
    _forget(nights[-1].known, catalogue, chosen, state)


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


def _choose(nights: list[Night], catalogue: Catalogue) -> tuple[dict[str, Any], State]:
    """Return the half-life and weight with the best mean recall, and the state after the last of the nights."""
    recalls: dict[tuple[float, float], list[float]] = {pair: [] for pair in product(HALF_LIVES, WEIGHTS)}
    state: State | None = None
    for night in nights:
        for half_life, weight in recalls:
            model = _sparsey(catalogue, _settings(half_life, weight), night.known, state)
            state = model.state()
            recalls[half_life, weight].append(_score(model, night.asked)[0])
    means = {pair: float(np.mean(found)) for pair, found in recalls.items()}
    print(f"recall@{CUTOFF} of the first {len(nights)} nights, on which half-life and weight are chosen:\n")
    print(
        f"| half-life, days | {' | '.join(f'moments {weight}' for weight in WEIGHTS)} |\n|{'---|' * (1 + len(WEIGHTS))}"
    )
    for half_life in HALF_LIVES:
        print(f"| {half_life} | {' | '.join(f'{means[half_life, weight]:.4f}' for weight in WEIGHTS)} |")
    best = max(means, key=lambda pair: means[pair])
    print(f"\nchosen: half_life_days = {best[0]}, moments_weight = {best[1]}\n")
    assert state is not None, "there is a night to choose on"
    return _settings(*best), state


def _settings(half_life: float, weight: float) -> dict[str, Any]:
    return {"generation_days": 1, "half_life_days": half_life, "moments_weight": weight, "choose_weight": False}


def _tell(
    night: Night, catalogue: Catalogue, chosen: Mapping[str, Any], state: State
) -> tuple[list[tuple[float, float]], State]:
    """Print a night's row; return recall and MRR of every model, and Sparsey's state."""
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
    cells = [str(np.datetime64(night.day, "D")), f"{last.sum():,}", f"{familiarity.mean():.3f}"]
    cells += [f"{seconds:.1f}", f"{seconds_anew:.1f}", *(f"{recall:.4f} / {mrr:.4f}" for recall, mrr in scores)]
    print(f"| {' | '.join(cells)} |", flush=True)
    return scores, model.state()


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


def _forget(known: Sequences, catalogue: Catalogue, chosen: Mapping[str, Any], state: State) -> None:
    """Forget the longest session of all, and say which banks were learnt again and whether no trace is left."""
    longest = int(np.argmax(known.lengths))
    without = known.take(np.delete(np.arange(len(known)), longest))
    started = time.perf_counter()
    model = _sparsey(catalogue, chosen, without, state)
    seconds = time.perf_counter() - started
    relearnt = len(digests(model.state()) - digests(state))
    is_clean = same(model.state(), _sparsey(catalogue, chosen, without).state())
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
