"""What is kept of a step whose loss is not finite, for the person who has to find out why."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn


def keep_evidence(path: Path, network: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Write the tensors of the step to ``path`` and the largest weight and gradient of every parameter beside it.

    Returns the names of both files, for a message.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    largest = {name: _largest(parameter) for name, parameter in network.named_parameters()}
    about = path.with_suffix(".json")
    about.write_text(json.dumps(largest, indent=2) + "\n")
    return f"{path} and {about.name}"


def _largest(parameter: nn.Parameter) -> dict[str, float | None]:
    gradient = parameter.grad
    return {
        "largest_weight": float(parameter.detach().abs().max()),
        "largest_gradient": None if gradient is None else float(gradient.abs().max()),
    }
