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
from typing import Final

from benchmarks.machine import command, machine
from benchmarks.model_cells import part_statistics
from benchmarks.model_settings import entrant
from benchmarks.protocols import Task, load_task
from models.recommender import Recommender
from models.registry import model_class
from models.sasrec import SasRecConfig
from models.stages import StepRecord
from models.unirec import UniRecConfig

TASKS: Final = ("movielens_1m", "amazon_beauty")
SHARED: Final = frozenset(SasRecConfig.model_fields) & frozenset(UniRecConfig.model_fields) - {"dim"}
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
        compared: dict[str, SasRecConfig | UniRecConfig] = {"sasrec": alike(config), "unirec": config}
        first: tuple[float, float] | None = None
        for model, chosen in compared.items():
            epoch, ranking = _measure(task, model, chosen)
            first = first or (epoch, ranking)
            ratios = epoch / first[0], ranking / first[1]
            times = f"{epoch:.2f} | {ratios[0]:.2f} | {ranking:.2f} | {ratios[1]:.2f}"
            print(f"| {name} | {width_of(chosen)} | {model} | {times} |", flush=True)


def alike(config: UniRecConfig) -> SasRecConfig:
    """Return a sasrec as wide as a unirec, with all the settings that both have."""
    shared = {setting: getattr(config, setting) for setting in SHARED}
    return SasRecConfig.model_validate({**shared, "dim": width_of(config)})


def width_of(config: SasRecConfig | UniRecConfig) -> int:
    """Return the features of a position."""
    return config.dim + (config.context_dim if isinstance(config, UniRecConfig) else 0)


def _measure(task: Task, name: str, config: SasRecConfig | UniRecConfig) -> tuple[float, float]:
    """Return the seconds of an epoch, and of ranking all cases of the test."""
    chosen = config.model_copy(update={"num_epochs": NUM_EPOCHS})
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
