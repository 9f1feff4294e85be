"""What an epoch and a list of UniRec cost, beside a SASRec of the same width, blocks, loss and batches.

    OMP_NUM_THREADS=1 python -m benchmarks.unirec_cost --data data

Both are fitted for a few epochs on the training part, without looking at a validation part, and rank the test of P2.
The median epoch and the fastest of the rankings are told; the first epoch, in which products are prepared, is left out.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import command, machine
from benchmarks.model_cells import part_statistics
from benchmarks.model_settings import entrant
from benchmarks.protocols import Task, load_task
from models.recommender import Recommender
from models.registry import model_class
from models.stages import StepRecord
from models.unirec import UniRecConfig

TASKS: Final = ("movielens_1m", "amazon_beauty")
SHARED: Final = ("length", "num_blocks", "dropout", "loss", "score", "batch_size", "learning_rate", "weight_decay")
NUM_EPOCHS: Final = 4
NUM_RANKINGS: Final = 3
CUTOFF: Final = 20


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    data = parser.parse_args().data
    print(f"`{command('benchmarks.unirec_cost')}`: {machine(('torch', 'numpy'))}\n")
    print("| data set | width | model | s/epoch | times sasrec | s to rank | times sasrec |")
    print("|---|---|---|---|---|---|---|")
    for name in TASKS:
        task = load_task(name, data)
        _, config = entrant(name, "unirec")
        assert isinstance(config, UniRecConfig)
        width = config.dim + config.context_dim
        first: tuple[float, float] | None = None
        for model in ("sasrec", "unirec"):
            epoch, ranking = _measure(task, model, config, width)
            first = first or (epoch, ranking)
            ratios = epoch / first[0], ranking / first[1]
            print(
                f"| {name} | {width} | {model} | {epoch:.2f} | {ratios[0]:.2f} | {ranking:.2f} | {ratios[1]:.2f} |",
                flush=True,
            )


def _measure(task: Task, name: str, config: UniRecConfig, width: int) -> tuple[float, float]:
    """Return the seconds of an epoch, and of ranking all cases of the test."""
    changes: dict[str, Any] = {"num_epochs": NUM_EPOCHS}
    if name == "sasrec":
        changes |= {setting: getattr(config, setting) for setting in SHARED} | {"dim": width}
        chosen = model_class("sasrec").Config.model_validate(changes)
    else:
        chosen = config.model_copy(update=changes)
    model, ends = model_class(name)(chosen, task.items.catalogue), dict[int, float]()

    def look(record: StepRecord) -> None:
        ends[record.epoch] = record.seconds

    model.fit(task.train, seed=0, on_step=look, statistics=part_statistics(task, name, task.train))
    epochs = [ends[number] - ends[number - 1] for number in range(2, NUM_EPOCHS + 1)]
    return median(epochs), min(_seconds(lambda: _rank(model, task)) for _ in range(NUM_RANKINGS))


def _rank(model: Recommender, task: Task) -> None:
    model.topk(task.test.histories, CUTOFF, task.allowed, exclude_seen=task.exclude_seen)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
