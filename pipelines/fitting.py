"""Fit one chain of a model on the arrays of a night: in this process, or in several that share each batch.

    torchrun --nproc-per-node N -m pipelines.fitting JOB

JOB is the JSON of a ``Fit``. The first process prints each step's record as a line of JSON, and in the end what came of
it; the weights are in the job's folder.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from models import checkpoint, registry
from models.recommender import (
    FitReport,
    MissingDevice,
    NothingToLearn,
    Recommender,
    UnfitCatalogue,
    UnfitStart,
    Validation,
)
from models.sequences import Sequences
from models.stages import StepRecord
from models.statistics import Statistics
from pipelines.item_fields import read_catalogue
from pipelines.statistics_arrays import read_statistics
from pipelines.training_arrays import TrainingData
from pipelines.training_data import distinct, non_empty

EVALUATION: Final = "evaluation"
SERVING: Final = "serving"
STATE_FILE: Final = "state.safetensors"
LAST_LINES: Final = 20
EXPECTED: Final = (NothingToLearn, UnfitCatalogue, UnfitStart, MissingDevice, FloatingPointError)  # of a fit
ROOT: Final = Path(__file__).parents[1]
OnStep = Callable[[StepRecord], None]

_log = logging.getLogger("nightly.training")


class KnownStatistics(BaseModel):
    """Where the statistics of a chain are, and as of which day they have to be: the last one that it learns from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    as_of: date


class Fit(BaseModel):
    """What is fitted: the arrays, the model, and the chain that says which part of the arrays it may see.

    catalogue: arrays of the items' values, for a model that uses them; statistics: likewise. folder: where an
    interrupted fit keeps what it needs to go on. start: the checkpoint whose weights training begins with, if any.
    exclude_seen: whether lists hide the items of the history.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arrays: Path
    model: str
    config: dict[str, Any]
    num_items: int
    catalogue: Path | None
    seed: int
    chain: Literal["evaluation", "serving"]
    exclude_seen: bool
    folder: Path
    start: Path | None = None
    statistics: KnownStatistics | None = None


def fit_here(fit: Fit, on_step: OnStep) -> tuple[Recommender, FitReport]:
    """Fit in this process, as one of those of ``torchrun`` if it was started so."""
    data = TrainingData.read(fit.arrays)
    model = _unfitted(fit)
    known = data.train if fit.chain == EVALUATION else data.everything
    validation = validation_part(data, exclude_seen=fit.exclude_seen) if fit.chain == EVALUATION else None
    start = checkpoint.read_state(fit.start) if fit.start else None
    train, statistics = _with_events(known, fit.statistics)
    report = model.fit(
        train, validation, seed=fit.seed, on_step=on_step, folder=fit.folder, start=start, statistics=statistics
    )
    return model, report


def validation_part(data: TrainingData, *, exclude_seen: bool) -> Validation | None:
    """Subjects who were known before night N-1 and acted on it."""
    cases = np.flatnonzero((data.train_lengths > 0) & (data.validation_lengths > 0))
    if not len(cases):
        return None
    histories = data.everything.cut(data.everything.offsets[cases], data.train_lengths[cases], cases)
    return Validation(histories, distinct(data.validation.take(cases)), exclude_seen=exclude_seen)


def fit_in_processes(fit: Fit, num_processes: int, on_step: OnStep) -> tuple[Recommender, FitReport]:
    """Fit in several processes on this machine, each of which takes its share of every batch.

    Raises what the processes raise, as far as it is expected, and RuntimeError with their last words otherwise.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    command = [sys.executable, *launcher, "-m", "pipelines.fitting", fit.model_dump_json()]
    fit.folder.mkdir(parents=True, exist_ok=True)
    errors = fit.folder / "errors.txt"
    answer: dict[str, Any] = {}
    with errors.open("w") as stderr, Popen(command, cwd=ROOT, stdout=PIPE, stderr=stderr, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            told = json.loads(line)
            if "step" in told:
                on_step(StepRecord(**told))
            elif "warning" in told:
                _log.warning(told["warning"])
            else:
                answer = told
    if not answer or "failed" in answer:
        last = answer.get("failed") or "\n".join(errors.read_text().splitlines()[-LAST_LINES:])
        raise RuntimeError(f"the processes that train {fit.model} ended with code {run.returncode}:\n{last}")
    return _take(fit, answer)


def _take(fit: Fit, answer: dict[str, Any]) -> tuple[Recommender, FitReport]:
    """What the processes have made of it."""
    for expected in EXPECTED:
        if expected.__name__ in answer:
            raise expected(answer[expected.__name__])
    model = _unfitted(fit)
    model.restore(load_file(fit.folder / STATE_FILE))
    chosen = type(model).Config.model_validate(answer["chosen"])
    return model, FitReport(tuple(StepRecord(**record) for record in answer["records"]), chosen)


def _unfitted(fit: Fit) -> Recommender:
    config = registry.model_class(fit.model).Config.model_validate(fit.config)
    return registry.build(fit.model, config, read_catalogue(fit.catalogue, fit.num_items))


def _with_events(sequences: Sequences, known: KnownStatistics | None) -> tuple[Sequences, Statistics | None]:
    """Leave out the sequences without an event, and what is known of them; what is complete is not copied."""
    statistics = read_statistics(known.folder, known.as_of) if known else None
    if sequences.lengths.all():
        return sequences, statistics
    subjects = non_empty(sequences)
    return sequences.take(subjects), statistics.take(subjects) if statistics else None


def main(job: str) -> None:
    """Be one of the processes."""
    from models.parallel import process_group, rank

    fit = Fit.model_validate_json(job)

    def say(message: dict[str, Any]) -> None:
        if rank() == 0:
            print(json.dumps(message), flush=True)

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say({"warning": record.getMessage()})

    logging.getLogger("nightly").addHandler(Teller(logging.WARNING))
    with process_group():
        try:
            model, report = fit_here(fit, lambda record: say(asdict(record)))
        except EXPECTED as error:
            say({type(error).__name__: str(error)})
            return
        except Exception:
            say({"failed": traceback.format_exc()})
            raise
        if rank() == 0:
            save_file(model.state(), fit.folder / STATE_FILE)
        say({"chosen": report.chosen.model_dump(mode="json"), "records": [asdict(record) for record in report.records]})


if __name__ == "__main__":
    main(sys.argv[1])
