"""What an interrupted stage of training needs to go on, in one file that is replaced as a whole.

Tensors (weights, the best weights so far, the optimiser's moments) and the position. Random numbers are not in it:
those of a step follow from the seed and the number of the step.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.stages import StepRecord


@dataclass
class Position:
    """How far a stage is: the epoch it is in, counted from 1, with the loss of each step of it; and what was before."""

    epoch: int = 1
    step: int = 0
    losses: list[float] = field(default_factory=list)
    records: list[StepRecord] = field(default_factory=list)
    best_metric: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    is_done: bool = False


def save_progress(path: Path, key: str, position: Position, tensors: Mapping[str, Tensor]) -> None:
    """Replace the file. key: of the fit (see `models.stages.Run`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, fresh, {"key": key, "position": json.dumps(asdict(position))})
    os.replace(fresh, path)


def read_progress(path: Path, key: str) -> tuple[Position, dict[str, Tensor]] | None:
    """Return what was saved last by the fit with this key; None if nothing was."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        if about["key"] != key:
            return None
        position = Position(**json.loads(about["position"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    position.records = [StepRecord(**record) for record in position.records]  # type: ignore[arg-type]
    return position, tensors
