"""Whether M2TRec's category heads make it learn in fewer steps, as its paper says.

    python -m benchmarks.convergence --data DATA --task retailrocket --steps 2000

Networks that differ in the weight of the heads alone are trained on the same batches. Every so many steps the loss of
the item head is taken on the validation part, over all items, and it is told after how many steps each network first
came below the losses that the one without heads had along its way.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.machine import command, machine
from benchmarks.model_settings import entrant
from benchmarks.models import PACKAGES
from benchmarks.protocols import PROTOCOLS, Task, load_task
from models.m2trec import M2TRec, M2TRecConfig
from models.recommender import Validation
from models.sequences import FIRST_ITEM
from models.stages import StepRecord

WEIGHTS: Final = (0.0, 0.1, 0.3, 1.0)
STEPS_BETWEEN_LOOKS: Final = 50
MAX_CASES: Final = 5_000
CHUNK_CASES: Final = 512
Curve = list[tuple[int, float, float]]  # steps, loss of the item head, NDCG@10


def main() -> None:
    """Train a network for each weight, print the curves and the steps."""
    arguments = _arguments()
    print(f"`{command('benchmarks.convergence')}`: {machine(PACKAGES)}\n")
    task = load_task(arguments.task, arguments.data)
    curves = {weight: curve(task, weight, arguments.steps) for weight in WEIGHTS}
    print(_table(curves))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what category heads do for the speed of learning.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--task", choices=list(PROTOCOLS), default="retailrocket")
    parser.add_argument("--steps", type=int, default=2000, help="of each network")
    return parser.parse_args()


def curve(task: Task, weight: float, num_steps: int) -> Curve:
    """Train with a weight of the category heads; look at the validation part every STEPS_BETWEEN_LOOKS steps."""
    _, config = entrant(task.name, "m2trec_hashed_ids")
    looks = -(-num_steps // STEPS_BETWEEN_LOOKS)
    budget: dict[str, Any] = {"num_epochs": looks, "max_epoch_batches": STEPS_BETWEEN_LOOKS, "patience": looks}
    model = M2TRec(
        M2TRecConfig.model_validate(config.model_dump() | budget | {"category_weight": weight}), task.items.catalogue
    )
    seen: Curve = []

    def look(record: StepRecord) -> None:
        if record.metric == record.metric:
            seen.append((record.step, item_loss(model, task.validation), record.metric))

    model.fit(task.train, task.validation, seed=0, on_step=look)
    return seen


def item_loss(model: M2TRec, validation: Validation) -> float:
    """Return the mean of -log softmax over all items at the target, over an even selection of the cases."""
    cases = np.linspace(0, len(validation.targets) - 1, min(MAX_CASES, len(validation.targets))).astype(np.int64)
    queries = torch.from_numpy(model.queries(validation.histories.take(cases)))
    vectors = torch.from_numpy(np.concatenate(list(model.item_blocks()))[FIRST_ITEM:])
    targets = torch.from_numpy(validation.targets.items[cases].astype(np.int64) - FIRST_ITEM)
    parts = zip(queries.split(CHUNK_CASES), targets.split(CHUNK_CASES), strict=True)
    return sum(float(F.cross_entropy(some @ vectors.T, asked, reduction="sum")) for some, asked in parts) / len(cases)


def steps_to(curve: Sequence[tuple[int, float, float]], loss: float) -> int | None:
    """Return the first look at which the loss was as low, in steps; None if it never was."""
    return next((step for step, found, _ in curve if found <= loss), None)


def _table(curves: dict[float, Curve]) -> str:
    """The steps that each network took to the losses of the one without heads, along the way to its lowest."""
    plain = curves[0.0]
    best = int(np.argmin([loss for _, loss, _ in plain]))
    goals = [plain[max(0, round((best + 1) * share) - 1)][1] for share in (0.25, 0.5, 0.75, 1)]
    asked = " | ".join(f"steps to loss {goal:.3f}" for goal in goals)
    lines = [
        f"| weight of the heads | {asked} | lowest loss | best NDCG@10 |",
        "|" + "---|" * (len(goals) + 3),
    ]
    for weight, one in curves.items():
        steps = [steps_to(one, goal) for goal in goals]
        shown = " | ".join("never" if step is None else f"{step:,}" for step in steps)
        lowest, highest = min(loss for _, loss, _ in one), max(metric for *_, metric in one)
        lines.append(f"| {weight} | {shown} | {lowest:.4f} | {highest:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
