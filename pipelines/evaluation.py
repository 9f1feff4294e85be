"""The next-night protocol: each model, as it stood before night N-1, is asked for the items of night N.

Cases are the users who acted on N, with their history up to N-1, and the anonymous sessions of N, whose first half
asks for the second. A user without history is a case too, and gets the fallback, as when serving. Both kinds are also
sliced by the training events of the target, of several the rarest, by its first category, for the categories of most
cases, and by the events of the history (see ``models.slices``). Users are also sliced by whether they came in even or
uneven intervals up to N-2; with too few gaps until then, they did neither. A metric that cannot be measured on a slice
has no row there.

A model that tells how familiar behaviour is tells it of the night itself: of what each subject did on N, where that
concerns at least two items, for one item alone says nothing about what goes together. An item that is new on N is known
to no model, and so makes what it is in less familiar.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.list_metrics import coverage_at, diversity_at, gini_at, novelty_at, popularity_lift_at
from models.metrics import bootstrap_interval, case_metrics
from models.recommender import Recommender
from models.sequences import Sequences
from models.slices import category_slices, history_slices, target_slices
from pipelines.night import Night
from pipelines.ranking import fit_fallback, rank
from pipelines.statistics_arrays import Uniformity, uniformity_of
from pipelines.store import Write
from pipelines.training import EVALUATION, load_model
from pipelines.training_arrays import TrainingData
from pipelines.training_data import (
    Vocabulary,
    distinct,
    load_vocabulary,
    newest_day,
    non_empty,
    training_arrays,
)

PROTOCOL: Final = "next_night"
CUTOFFS: Final = (5, 10, 20)
USERS: Final = "users"
SESSIONS: Final = "anonymous_sessions"
MOST_CATEGORIES: Final = 10
FAMILIARITY: Final = "familiarity"


@dataclass(frozen=True)
class Cases:
    """C cases of one kind: what was known, what came (distinct items), and its slices by name: bool[C]."""

    histories: Sequences
    targets: Sequences
    slices: dict[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.targets)


@dataclass(frozen=True)
class Behaviour:
    """What C subjects did on night N, each with at least two different items, and its slices by name: bool[C]."""

    sequences: Sequences
    slices: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Exam:
    """What every model of a night is asked, with what it is judged by; ``counts`` int64[num_items] are train events."""

    cases: tuple[Cases, ...]
    behaviour: Behaviour
    fallback: Recommender
    counts: NDArray[np.int64]
    vocabulary: Vocabulary


def build_metrics(night: Night) -> list[Write]:
    """Score every model of this night; without an evaluation chain or a case, its part is empty."""
    arrays, vocabulary = training_arrays(night), load_vocabulary(night)
    data = TrainingData.read(arrays)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in night.settings.training.models}
    latest = newest_day(data.train, night.settings.nights.time_zone)
    if latest is not None:
        exam = _set_exam(data, _before(night, vocabulary), uniformity_of(night, latest, arrays))
        for name in rows:
            model = load_model(night, name, EVALUATION, vocabulary, latest)
            rows[name] = list(_examine(night, model, exam)) if model else []
    parts = [night.write_rows("metrics", measured, name) for name, measured in rows.items()]
    return [Write("metrics", tuple(parts), frozenset({night.day.isoformat()}))]


def _before(night: Night, vocabulary: Vocabulary) -> Vocabulary:
    """List only what could be listed before night N: without a catalogue, an item is known by its first event alone."""
    if night.settings.catalogue is not None:
        return vocabulary
    return replace(vocabulary, is_listed=vocabulary.is_listed & ~vocabulary.is_new)


def _set_exam(data: TrainingData, vocabulary: Vocabulary, uniformity: Uniformity) -> Exam:
    train = data.train
    counts = np.bincount(train.items, minlength=vocabulary.num_items).astype(np.int64)
    kinds = {USERS: user_cases(data, uniformity), SESSIONS: session_cases(data)}
    cases = tuple(_sliced(name, some, counts, vocabulary) for name, some in kinds.items() if len(some))
    return Exam(cases, night_behaviour(data), fit_fallback(train, vocabulary.num_items), counts, vocabulary)


def _sliced(kind: str, cases: Cases, counts: NDArray[np.int64], vocabulary: Vocabulary) -> Cases:
    departments = vocabulary.departments, vocabulary.department_names
    finer = target_slices(cases.targets, counts) | history_slices(cases.histories)
    finer |= category_slices(cases.targets, *departments, MOST_CATEGORIES)
    return replace(cases, slices=cases.slices | {f"{kind}_{name}": mask for name, mask in finer.items()})


def _examine(night: Night, model: Recommender, exam: Exam) -> Iterator[dict[str, Any]]:
    allowed, exclude_seen = exam.vocabulary.is_listed, night.settings.recommendations.exclude_seen
    seed = night.settings.training.seed
    rows = [*_familiarity_rows(model, exam.behaviour, seed)]
    for cases in exam.cases:
        lists = rank(model, exam.fallback, cases.histories, max(CUTOFFS), allowed, exclude_seen=exclude_seen)
        rows += _rows(lists.items, cases, exam, seed)
    for row in rows:
        yield {"as_of_date": night.day, "model": model.name, "protocol": PROTOCOL, **row}


def user_cases(data: TrainingData, uniformity: Uniformity) -> Cases:
    """Users with an event on night N: histories up to N-1, targets of N."""
    chosen = non_empty(data.test)
    chosen = chosen[data.is_user[chosen]]
    num_known = data.train_lengths[chosen] + data.validation_lengths[chosen]
    histories = data.everything.cut(data.everything.offsets[chosen], num_known, chosen)
    known = histories.lengths > 0
    slices = {USERS: np.ones(len(chosen), bool), "known_users": known, "new_users": ~known}
    slices |= {f"{USERS}_uniform": uniformity.is_uniform[chosen], f"{USERS}_uneven": uniformity.is_uneven[chosen]}
    return Cases(histories, distinct(data.test.take(chosen)), slices)


def session_cases(data: TrainingData) -> Cases:
    """Anonymous sessions of night N: the first half of the events asks for the items of the rest that are new in it."""
    chosen = np.flatnonzero(~data.is_user & (data.test.lengths >= 2))
    sessions = data.test.take(chosen)
    half = (sessions.lengths + 1) // 2
    first = sessions.head(half)
    rest = distinct(sessions.cut(sessions.offsets[:-1] + half, sessions.lengths - half))
    targets = _without(rest, first)
    asked = non_empty(targets)
    return Cases(first.take(asked), targets.take(asked), {SESSIONS: np.ones(len(asked), bool)})


def night_behaviour(data: TrainingData) -> Behaviour:
    """What users and anonymous sessions did on night N, without those who met one item alone."""
    chosen = np.flatnonzero(distinct(data.test).lengths >= 2)
    is_user, known = data.is_user[chosen], (data.train_lengths + data.validation_lengths)[chosen] > 0
    slices = {USERS: is_user, "known_users": is_user & known, "new_users": is_user & ~known, SESSIONS: ~is_user}
    return Behaviour(data.test.take(chosen), slices)


def _without(sequences: Sequences, others: Sequences) -> Sequences:
    """Drop the items of a sequence that stand in its counterpart."""
    width = np.int64(max(sequences.items.max(initial=0), others.items.max(initial=0))) + 1
    kept = ~np.isin(sequences.rows * width + sequences.items, others.rows * width + others.items)
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return Sequences(sequences.items[kept], sequences.times[kept], before[sequences.offsets])


def _rows(items: NDArray[np.int32], cases: Cases, exam: Exam, seed: int) -> Iterator[dict[str, Any]]:
    values = case_metrics(items, cases.targets, CUTOFFS)
    for name, mask in cases.slices.items():
        num_cases = int(mask.sum())
        if not num_cases:
            continue
        for metric, per_case in values.items():
            yield _mean_row(name, metric, per_case[mask], seed)
        for metric, value in _list_metrics(items[mask], cases.histories.take(np.flatnonzero(mask)), exam).items():
            if np.isfinite(value):
                yield _row(name, metric, value, num_cases)


def _familiarity_rows(model: Recommender, behaviour: Behaviour, seed: int) -> Iterator[dict[str, Any]]:
    familiarity = model.familiarity(behaviour.sequences)
    if familiarity is None:
        return
    told = np.isfinite(familiarity)
    for name, mask in behaviour.slices.items():
        if (mask & told).any():
            yield _mean_row(name, FAMILIARITY, familiarity[mask & told].astype(np.float64), seed)


def _list_metrics(items: NDArray[np.int32], histories: Sequences, exam: Exam) -> dict[str, float]:
    allowed, values = exam.vocabulary.is_listed, {}
    for k in CUTOFFS:
        values[f"coverage@{k}"] = coverage_at(items, allowed, k)
        values[f"gini@{k}"] = gini_at(items, allowed, k)
        values[f"novelty@{k}"] = novelty_at(items, exam.counts, k)
        values[f"popularity_lift@{k}"] = popularity_lift_at(items, exam.counts, histories, k)
        values[f"diversity@{k}"] = diversity_at(items, exam.vocabulary.categories, k)
    return values


def _mean_row(slice_: str, metric: str, per_case: NDArray[np.float64], seed: int) -> dict[str, Any]:
    low, high = bootstrap_interval(per_case, seed=seed)
    return _row(slice_, metric, float(per_case.mean()), len(per_case), low, high)


def _row(
    slice_: str, metric: str, value: float, num_cases: int, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return {"slice": slice_, "metric": metric, "value": value, "low": low, "high": high, "num_cases": num_cases}
