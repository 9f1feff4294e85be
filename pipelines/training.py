"""Train one model for one night, in two chains that never mix.

Evaluation: learns up to night N-2, selects on N-1; ``metrics`` scores it on N. Serving: the selected settings refitted
on everything up to N. Each chain has its own checkpoint, which carries the last day it has seen.
"""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from models import checkpoint
from models.recommender import (
    FitReport,
    MissingDevice,
    ModelConfig,
    NothingToLearn,
    Recommender,
    UnfitCatalogue,
    UnfitStart,
)
from models.registry import learns_by_gradient, model_class
from models.sequences import Sequences
from pipelines.errors import InputError
from pipelines.fitting import EVALUATION, SERVING, Fit, KnownStatistics, OnStep, fit_here, fit_in_processes
from pipelines.item_fields import catalogue_arrays, read_catalogue
from pipelines.night import Night
from pipelines.statistics_arrays import statistics_arrays
from pipelines.store import Part, Write
from pipelines.training_arrays import TrainingData
from pipelines.training_data import Vocabulary, load_vocabulary, newest_day, training_arrays, vocabulary_hash_of
from pipelines.training_progress import progress_told

CHECKPOINTS: Final = "checkpoints"
Chain = Literal["evaluation", "serving"]

_log = logging.getLogger("nightly.training")


def train_model(night: Night, name: str) -> list[Write]:
    """Fit a model in both chains; write its checkpoints and its ``training_runs``.

    The evaluation chain is left out as long as there are not three days with events, or this model can learn nothing
    from the days before the last two. Raises ``InputError`` if it can learn nothing from all days together, or if its
    loss is no number any more.
    """
    arrays, vocabulary = training_arrays(night), load_vocabulary(night)
    data = TrainingData.read(arrays)
    if not len(data.everything.items):
        raise _nothing_to_learn(night, name, "no event of positive weight within the window")
    folder = night.store.run_folder(night.run_id, CHECKPOINTS) / night.day.isoformat() / name
    unfinished = night.store.scratch / "training" / name
    config = night.settings.training.config_of(name)
    rows: list[dict[str, Any]] = []
    try:
        model, report = _fit(night, name, config, EVALUATION, vocabulary, arrays)
    except NothingToLearn as error:
        _log.warning("%s is not evaluated, for want of events before the last two days: %s", name, error)
    else:
        rows += _save(night, folder / EVALUATION, model, report, vocabulary, data.train)
        config = report.chosen
    try:
        model, report = _fit(night, name, config, SERVING, vocabulary, arrays)
    except NothingToLearn as error:
        raise _nothing_to_learn(night, name, error) from error
    rows += _save(night, folder / SERVING, model, report, vocabulary, data.everything)
    shutil.rmtree(unfinished, ignore_errors=True)  # not before: a night killed in the second chain repeats no training
    return [_training_runs(night, name, rows), _checkpoints(night, name, folder, rows)]


def _nothing_to_learn(night: Night, name: str, value: object) -> InputError:
    return InputError(
        f"there is nothing to train {name} on",
        where=f"training_sequences of {night.day}",
        value=value,
        allowed="at least one event, and for a model of what comes next a subject with two",
        fix="check event_types, training.window_days and the logs of the last nights",
    )


def _fit(
    night: Night, name: str, config: ModelConfig, chain: Chain, vocabulary: Vocabulary, arrays: Path
) -> tuple[Recommender, FitReport]:
    """Fit one chain, from the weights of the night before if so set; an interrupted fit of the same goes on."""
    training = night.settings.training
    by_gradient = learns_by_gradient(name)
    warm = (training.warm_start and by_gradient) or model_class(name).capabilities.goes_on
    fit = Fit(
        arrays=arrays,
        model=name,
        config=config.model_dump(mode="json"),
        num_items=vocabulary.num_items,
        catalogue=_catalogue_arrays(night, name, vocabulary),
        seed=training.seed,
        chain=chain,
        exclude_seen=night.settings.recommendations.exclude_seen,
        folder=night.store.scratch / "training" / name / chain,
        start=_start(night, name, config, chain, TrainingData.read(arrays)) if warm else None,
        statistics=_statistics(night, name, chain, vocabulary, arrays),
    )
    try:
        with progress_told(name, chain, getattr(config, "num_epochs", 1)) as on_step:
            return _fit_from_start(fit, training.num_processes if by_gradient else 1, on_step)
    except FloatingPointError as error:
        raise _broken_loss(night, name, error) from error
    except UnfitCatalogue as error:
        raise _unfit_catalogue(night, name, error) from error
    except MissingDevice as error:
        raise _missing_device(night, name, error) from error


def _fit_from_start(fit: Fit, num_processes: int, on_step: OnStep) -> tuple[Recommender, FitReport]:
    """Fit, and if the network is another one than that of the night before, from random weights."""
    try:
        return fit_in_processes(fit, num_processes, on_step) if num_processes > 1 else fit_here(fit, on_step)
    except UnfitStart as error:
        _log.warning("%s starts anew: %s", fit.model, error)
        return _fit_from_start(fit.model_copy(update={"start": None}), num_processes, on_step)


def _start(night: Night, name: str, config: ModelConfig, chain: Chain, data: TrainingData) -> Path | None:
    """The checkpoint of the same chain of the night before, if it has seen no later day than this chain may.

    It is one of the same network: all settings are equal but those of how it is trained. Its vocabulary is the
    beginning of this night's, for numbers are never given away twice; where it is not, because the store's history was
    changed, there is none.
    """
    part = next((part for part in night.previous(CHECKPOINTS) if part.slice == name), None)
    folder = night.store.fetch(part) / chain if part else None
    newest = newest_day(data.train if chain == EVALUATION else data.everything, night.settings.nights.time_zone)
    if part is None or folder is None or not folder.exists() or newest is None:
        return None
    header = checkpoint.read_header(folder)
    changed = config.network_changes(header.config)
    if changed:
        _log.warning("%s starts anew: %s is not what it was the night before", name, ", ".join(changed))
        return None
    then = vocabulary_hash_of(night, date.fromisoformat(part.partition))
    return folder if header.as_of <= newest and header.vocabulary_hash == then else None


def _statistics(night: Night, name: str, chain: Chain, vocabulary: Vocabulary, arrays: Path) -> KnownStatistics | None:
    """Those of a chain, as of the last day that it learns from, for a model that uses them.

    Raises NothingToLearn where there is no such day.
    """
    if not model_class(name).capabilities.uses_statistics:
        return None
    newest = newest_day(TrainingData.read(arrays).train, night.settings.nights.time_zone)
    as_of = newest if chain == EVALUATION else night.day
    if as_of is None:
        raise NothingToLearn(f"{name}: no statistics without an event")
    return KnownStatistics(folder=statistics_arrays(night, chain, as_of, vocabulary, arrays), as_of=as_of)


def _broken_loss(night: Night, name: str, error: FloatingPointError) -> InputError:
    return InputError(
        f"the training of {name} broke down",
        where=f"night {night.day}",
        value=error,
        allowed="a loss that is a number",
        fix=f"set training.settings.{name}.learning_rate lower; nothing of this model is published",
    )


def _unfit_catalogue(night: Night, name: str, error: UnfitCatalogue) -> InputError:
    return InputError(
        f"{name} cannot be trained on this catalogue",
        where=f"items of {night.day}",
        value=error,
        allowed="a field, such as title, category, brand or price, whose values some of the items share",
        fix=f"map more columns in catalogue.columns, or set training.settings.{name}.hashed_ids = true",
    )


def _missing_device(night: Night, name: str, error: MissingDevice) -> InputError:
    return InputError(
        f"{name} cannot be trained where its settings say",
        where=f"night {night.day}",
        value=error,
        allowed="a device that this machine has",
        fix=f'set training.settings.{name}.device to "auto", or run the night where there is one',
    )


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
    if not folder.exists():
        return None
    catalogue = read_catalogue(_catalogue_arrays(night, name, vocabulary), vocabulary.num_items)
    return checkpoint.load(folder, catalogue, vocabulary.content_hash, latest_as_of)


def _catalogue_arrays(night: Night, name: str, vocabulary: Vocabulary) -> Path | None:
    """The arrays of the items' values, for a model that uses them."""
    if not model_class(name).capabilities.uses_metadata:
        return None
    return catalogue_arrays(night, vocabulary.content_hash, vocabulary.num_items)
