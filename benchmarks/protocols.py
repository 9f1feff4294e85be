"""Evaluation protocols: what a model may learn from, what it is then asked, what counts as right.

P1, next night: learns up to two nights before the last, is selected on the night between, and asked for all items that
users whom it knows choose on the last night; it has seen no later day. P2, leave-one-out: of users with 5 events or
more the last event is the test, the one before it the validation; items of the history are removed from the lists. P3,
next click: every prefix of every test session asks for the click after it. P4, static split: the given test items of
each user, those of the training part removed. P5, twenty candidates: the last event among 19 stored items that the
user never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.datasets import SOURCES, Items, Log, read_columns, read_log
from benchmarks.model_settings import statistics_settings
from benchmarks.part_statistics import statistics_of
from benchmarks.planted_shop import read_shop
from models.recommender import Validation
from models.sequences import FIRST_ITEM, SECONDS_PER_DAY, Sequences
from models.slices import history_slices, statistics_slices, target_slices
from pipelines.errors import InputError
from pipelines.training_data import distinct

MIN_EVENTS: Final = 5  # of a user in P2
MAX_VALIDATION_CASES: Final = 20_000  # of P3, evenly spaced: enough to select on
VALIDATION_SHARE: Final = 0.1  # of sessions without a time, and of events without an order
GLOBO_TEST_DAY: Final = datetime(2017, 10, 10, tzinfo=UTC)
MAX_COLD_EVENTS: Final = 5  # P5 calls a target cold up to here


@dataclass(frozen=True)
class Task:
    """One data set under one protocol.

    train, validation: for selecting. everything: the training part with what validation held out, for a refit before
    the test; in P1, P2 and P5 there is none, and these are the histories of the test. test: one target a case, but for
    P1 and P4.
    counts: int64[num_items], events of the part that the protocol calls training, by which `slices` (bool[C] by name)
    are cut: `train` in P1, P2 and P5, where the validation belongs to the question, and `everything` in P3 and P4.
    metrics: keys of `case_metrics` to report, the main one first. candidates: int32[C, 20], the items to rank, sorted
    by number, so that the place of the target tells nothing; int32[C, 0] where all allowed items are ranked.
    """

    name: str
    protocol: str
    items: Items
    train: Sequences
    everything: Sequences
    validation: Validation
    test: Validation
    counts: NDArray[np.int64]
    metrics: tuple[str, ...]
    slices: dict[str, NDArray[np.bool_]]
    candidates: NDArray[np.int32]

    @property
    def num_items(self) -> int:
        """Item numbers, padding and unknown included."""
        return len(self.items.ids)

    @property
    def main_metric(self) -> str:
        """The metric by which models are selected and compared."""
        return self.metrics[0]

    @property
    def exclude_seen(self) -> bool:
        """Whether the items of a history are removed from its list."""
        return self.test.exclude_seen

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """The items that may be listed, bool[num_items]: all real ones, also those no training event has."""
        return np.arange(self.num_items) >= FIRST_ITEM


def load_task(name: str, data: Path) -> Task:
    """Load a data set of the folder `data` under its protocol; raise InputError for an unknown name or missing file."""
    if name not in PROTOCOLS:
        raise InputError(
            "no protocol is known for this data set",
            where=data,
            value=name,
            allowed=", ".join(PROTOCOLS),
            fix="name one of these",
        )
    return PROTOCOLS[name](name, data / name)


def next_night(name: str, _: Path) -> Task:
    """P1 on the planted shop, which needs no file. Slices also tell rare targets and uneven users from the others."""
    items, log = read_shop()
    day = log.times // SECONDS_PER_DAY
    night = int(day.max())
    known = np.flatnonzero(log.where(day < night - 1).lengths)
    train, between, last = (
        log.where(chosen).take(known) for chosen in (day < night - 1, day == night - 1, day == night)
    )
    everything = train.concat(between)
    selected, asked = np.flatnonzero(between.lengths), np.flatnonzero(last.lengths)
    cases = (
        Validation(train.take(selected), distinct(between.take(selected))),
        Validation(everything.take(asked), distinct(last.take(asked))),
    )
    task = _build(name, "P1", items, (train, everything), cases, train, ("ndcg@10", "recall@10", "hit@10"))
    measured = statistics_of(train, task.num_items, statistics_settings(name, "")).take(asked)
    return replace(task, slices=task.slices | statistics_slices(task.test.targets, measured))


def leave_one_out(name: str, folder: Path) -> Task:
    """P2. Every item of the file is a candidate. Slices also tell rare targets and uneven users from the others."""
    log = read_log(folder, SOURCES[name])
    users = log.sequences.take(np.flatnonzero(log.sequences.lengths >= MIN_EVENTS))
    train, everything, validation, test = hold_out_last(users, exclude_seen=True)
    metrics = ("ndcg@10", "hit@10", "ndcg@20", "hit@20")
    task = _build(name, "P2", log.items, (train, everything), (validation, test), train, metrics)
    measured = statistics_of(train, task.num_items, statistics_settings(name, ""))
    return replace(task, slices=task.slices | statistics_slices(test.targets, measured))


def next_click(name: str, folder: Path) -> Task:
    """P3 with the given split of sessions."""
    log = read_log(folder, SOURCES[name])
    is_test = log.is_test[log.sequences.offsets[:-1]]
    cases = prefixes(log.sequences.take(np.flatnonzero(is_test)))
    return _next_click(name, log, log.sequences.take(np.flatnonzero(~is_test)), *cases)


def next_click_of_a_day(name: str, folder: Path) -> Task:
    """P3 after a day: learns from sessions whose first click is before it, and is asked the stored prefixes.

    Of the 20,000 stored prefixes 108 are of sessions whose first click in this file is later than that day. 3,121
    clicks of training sessions fall after midnight: they are the rest of sessions that had begun before.
    """
    log = read_log(folder, SOURCES[name])
    stored = read_columns(folder / "p3_cases.parquet", "session_id", "clicks_shown")
    session = _find_subjects(log, stored["session_id"])
    starts, shown = log.sequences.offsets[:-1][session], stored["clicks_shown"].to_numpy()
    if (shown < 1).any() or (shown >= log.sequences.lengths[session]).any():
        raise ValueError(f"{folder}: a stored prefix is empty or leaves no click of its session to ask for")
    histories = log.sequences.cut(starts, shown)
    targets = log.sequences.cut(starts + shown, np.ones_like(shown))
    begins = log.sequences.times[log.sequences.offsets[:-1]]
    training = log.sequences.take(np.flatnonzero(begins < GLOBO_TEST_DAY.timestamp()))
    return _next_click(name, log, training, histories, targets)


def static_split(name: str, folder: Path) -> Task:
    """P4. The order of events means nothing, so validation is a random tenth of them, the same in every run."""
    log = read_log(folder, SOURCES[name])
    training, test = log.sequences.where(~log.is_test), log.sequences.where(log.is_test)
    held_out = np.random.default_rng(0).random(len(training.items)) < VALIDATION_SHARE
    train, validation = training.where(~held_out), training.where(held_out)
    cases = _asked(train, validation), _asked(training, test)
    return _build(name, "P4", log.items, (train, training), cases, training, ("recall@20", "ndcg@20"))


def twenty_candidates(name: str, folder: Path) -> Task:
    """P5. Users without stored candidates have fewer than 3 events and are left out.

    Selection ranks all items, for candidates are stored for the test alone. Slices also tell cold from warm targets and
    those that stand in the history already.
    """
    log = read_log(folder, SOURCES[name])
    stored = read_columns(folder / "candidates.parquet", "user_id", "target", "negatives")
    chosen = _find_subjects(log, stored["user_id"])
    train, everything, validation, test = hold_out_last(log.sequences.take(chosen), exclude_seen=False)
    task = _build(name, "P5", log.items, (train, everything), (validation, test), train, ("hit@1", "ndcg@10"))
    targets = log.items.numbers(stored["target"])
    if not np.array_equal(targets, task.test.targets.items):
        raise ValueError(f"{folder}: a stored target is not the last event of its user")
    negatives = log.items.numbers(stored["negatives"].flatten()).reshape(len(targets), -1)
    repeated = _stand_in(targets, task.test.histories)
    is_cold = task.counts[targets] <= MAX_COLD_EVENTS
    more = {"repeated": repeated, "not_repeated": ~repeated, "cold": is_cold, "warm": ~is_cold}
    return replace(task, slices=task.slices | more, candidates=np.sort(np.column_stack([targets, negatives]), axis=1))


LABELS: Final = {
    "P1": "next night",
    "P2": "leave-one-out",
    "P3": "next click",
    "P4": "static split",
    "P5": "twenty candidates",
}
PROTOCOLS: Final[dict[str, Callable[[str, Path], Task]]] = {
    "planted_shop": next_night,
    "movielens_1m": leave_one_out,
    "movielens_latest_small": leave_one_out,
    "amazon_beauty": leave_one_out,
    "diginetica": next_click,
    "retailrocket": next_click,
    "yoochoose_100k": next_click,
    "globo_news": next_click_of_a_day,
    "lightgcn_gowalla": static_split,
    "amazon_luxury_beauty": twenty_candidates,
}


def prefixes(sessions: Sequences, most: int = 0) -> tuple[Sequences, Sequences]:
    """Make a case of every event but the first of each session: the events before it, and itself as the target.

    most: keep that many cases, evenly spaced in their order (0: all of them).
    """
    asked = np.flatnonzero(sessions.positions > 0)
    if most and len(asked) > most:
        asked = asked[np.arange(most) * len(asked) // most]
    starts = sessions.offsets[:-1][sessions.rows[asked]]
    return sessions.cut(starts, asked - starts), sessions.cut(asked, np.ones_like(asked))


def hold_out_last(users: Sequences, *, exclude_seen: bool) -> tuple[Sequences, Sequences, Validation, Validation]:
    """Ask for the last event of every user, and select on the one before it; all have at least three events.

    Returns what is left to learn from, the same with the validation event, the validation and the test.
    """
    train, before = users.head(users.lengths - 2), users.head(users.lengths - 1)
    return (
        train,
        before,
        Validation(train, before.tail(1), exclude_seen),
        Validation(before, users.tail(1), exclude_seen),
    )


def validation_sessions(sessions: Sequences) -> NDArray[np.bool_]:
    """Return the sessions to select on, which training leaves out: those that start in its last 24 hours, bool[S].

    Where only the order within a session is known: the last tenth in the order of the file.
    """
    starts = sessions.times[sessions.offsets[:-1]]
    if starts.min() < starts.max():
        return np.asarray(starts > starts.max() - SECONDS_PER_DAY)
    return np.arange(len(sessions)) >= len(sessions) - int(len(sessions) * VALIDATION_SHARE)


def _next_click(name: str, log: Log, training: Sequences, histories: Sequences, targets: Sequences) -> Task:
    held_out = validation_sessions(training)
    train = training.take(np.flatnonzero(~held_out))
    selected = prefixes(training.take(np.flatnonzero(held_out)), MAX_VALIDATION_CASES)
    cases = Validation(*selected), Validation(histories, targets)
    return _build(name, "P3", log.items, (train, training), cases, training, ("recall@20", "mrr@20"))


def _build(
    name: str,
    protocol: str,
    items: Items,
    learnt: tuple[Sequences, Sequences],
    asked: tuple[Validation, Validation],
    training: Sequences,
    metrics: tuple[str, ...],
) -> Task:
    """Make a task that ranks all items, from train and everything, validation and test; `training` gives the counts."""
    test = asked[1]
    counts = np.bincount(training.items, minlength=len(items.ids)).astype(np.int64)
    slices = target_slices(test.targets, counts) | history_slices(test.histories)
    every_item = np.empty((len(test.targets), 0), np.int32)
    return Task(name, protocol, items, *learnt, *asked, counts, metrics, slices, every_item)


def _find_subjects(log: Log, ids: pa.Array) -> NDArray[np.int64]:
    """Return the place of each subject in the log, int64[len(ids)]."""
    found = pc.index_in(ids.cast(log.subject_ids.type), value_set=log.subject_ids)
    if found.null_count:
        raise ValueError(f"{found.null_count} of {len(ids)} subjects with a stored case have no event")
    return found.to_numpy().astype(np.int64)


def _asked(histories: Sequences, targets: Sequences) -> Validation:
    """Ask those who have a target, for items that they have not had."""
    asked = np.flatnonzero(targets.lengths)
    return Validation(histories.take(asked), targets.take(asked), exclude_seen=True)


def _stand_in(targets: NDArray[np.int32], histories: Sequences) -> NDArray[np.bool_]:
    """Tell which histories hold their target, bool[C]."""
    same = histories.items == targets[histories.rows]
    return np.bincount(histories.rows[same], minlength=len(targets)) > 0
