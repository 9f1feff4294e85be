"""Train one model for one night, in two chains that never mix.

Evaluation: learns up to night N-2, selects on N-1; ``metrics`` scores it on N. Serving: the selected settings refitted
on everything up to N. Each chain has its own checkpoint, which carries the last day it has seen.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from models import checkpoint, registry
from models.recommender import FitReport, ModelConfig, NothingToLearn, Recommender, StepRecord, Validation
from models.sequences import Sequences
from pipelines.errors import InputError
from pipelines.night import Night
from pipelines.store import Part, Write
from pipelines.training_arrays import TrainingData
from pipelines.training_data import (
    Vocabulary,
    distinct,
    load_training_data,
    load_vocabulary,
    newest_day,
    non_empty,
)

CHECKPOINTS: Final = "checkpoints"
EVALUATION: Final = "evaluation"
SERVING: Final = "serving"

_log = logging.getLogger("nightly.training")
SECONDS_BETWEEN_LINES: Final = 3.0


def train_model(night: Night, name: str) -> list[Write]:
    """Fit a model in both chains; write its checkpoints and its ``training_runs``.

    The evaluation chain is left out as long as there are not three days with events, or this model can learn nothing
    from the days before the last two. Raises ``InputError`` if it can learn nothing from all days together.
    """
    data, vocabulary = load_training_data(night), load_vocabulary(night)
    everything = data.everything
    if not len(everything.items):
        raise _nothing_to_learn(night, name, "no event of positive weight within the window")
    folder = night.store.run_folder(night.run_id, CHECKPOINTS) / night.day.isoformat() / name
    config: str | ModelConfig = night.settings.training.models[name]
    rows: list[dict[str, Any]] = []
    model = registry.build(name, config, vocabulary.num_items)
    try:
        report = _fit(night, model, data.train, _validation(night, data))
    except NothingToLearn as error:
        _log.warning("%s is not evaluated, for want of events before the last two days: %s", name, error)
    else:
        rows += _save(night, folder / EVALUATION, model, report, vocabulary, data.train)
        config = report.chosen
    model = registry.build(name, config, vocabulary.num_items)
    try:
        report = _fit(night, model, everything, None)
    except NothingToLearn as error:
        raise _nothing_to_learn(night, name, error) from error
    rows += _save(night, folder / SERVING, model, report, vocabulary, everything)
    return [_training_runs(night, name, rows), _checkpoints(night, name, folder, rows)]


def _nothing_to_learn(night: Night, name: str, value: object) -> InputError:
    return InputError(
        f"there is nothing to train {name} on",
        where=f"training_sequences of {night.day}",
        value=value,
        allowed="at least one event, and for a model of what comes next a subject with two",
        fix="check event_types, training.window_days and the logs of the last nights",
    )


def _fit(night: Night, model: Recommender, train: Sequences, validation: Validation | None) -> FitReport:
    told = 0.0

    def log(record: StepRecord) -> None:
        nonlocal told
        if record.seconds - told < SECONDS_BETWEEN_LINES or math.isnan(record.loss):
            return
        told = record.seconds
        metric = "" if math.isnan(record.metric) else f", NDCG@10 {record.metric:.4f}"
        _log.info(
            "    %s: epoch %d, loss %.4f%s, %.0f s", model.name, record.epoch, record.loss, metric, record.seconds
        )

    return model.fit(train.take(non_empty(train)), validation, seed=night.settings.training.seed, on_step=log)


def _validation(night: Night, data: TrainingData) -> Validation | None:
    """Subjects who were known before night N-1 and acted on it."""
    cases = non_empty(data.validation)
    cases = cases[data.train.lengths[cases] > 0]
    if not len(cases):
        return None
    exclude_seen = night.settings.recommendations.exclude_seen
    targets = distinct(data.validation.take(cases))
    return Validation(data.train.take(cases), targets, exclude_seen=exclude_seen)


def _save(
    night: Night, folder: Path, model: Recommender, report: FitReport, vocabulary: Vocabulary, train: Sequences
) -> list[dict[str, Any]]:
    """Save a checkpoint and return its rows of ``training_runs``."""
    as_of = newest_day(train, night.settings.nights.time_zone)
    assert as_of is not None, "a model is fitted on at least one event"
    digest = checkpoint.save(folder, model, vocabulary.content_hash, as_of)
    return [
        {
            "as_of_date": night.day,
            "model": model.name,
            "chain": folder.name,
            "stage": record.stage,
            "step": record.step,
            "epoch": record.epoch,
            "loss": _or_null(record.loss),
            "validation_metric": _or_null(record.metric),
            "seconds": record.seconds,
            "checkpoint_hash": digest,
        }
        for record in report.records
    ]


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _training_runs(night: Night, name: str, rows: Sequence[dict[str, Any]]) -> Write:
    part = night.write_rows("training_runs", rows, name)
    return Write("training_runs", (part,), frozenset({part.partition}), frozenset({name}))


def _checkpoints(night: Night, name: str, folder: Path, rows: Sequence[Mapping[str, Any]]) -> Write:
    """Both chains are one part: a night that changes one of them changes the part."""
    hashes = dict.fromkeys(row["checkpoint_hash"] for row in reversed(rows))
    path = folder.relative_to(night.store.work).as_posix()
    part = Part(night.day.isoformat(), name, path, 0, "-".join(hashes))
    return Write(CHECKPOINTS, (part,), frozenset({part.partition}), frozenset({name}))


def load_model(night: Night, name: str, chain: str, vocabulary: Vocabulary, latest_as_of: date) -> Recommender | None:
    """Load a model of this night that has seen nothing after ``latest_as_of``; None if that chain was not trained."""
    part = next((p for p in night.current(CHECKPOINTS) if p.slice == name), None)
    assert part is not None, f"{name} has no checkpoint of {night.day}: its asset runs before"
    folder = night.store.fetch(part) / chain
    return checkpoint.load(folder, vocabulary.content_hash, latest_as_of) if folder.exists() else None
