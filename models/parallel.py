"""Several processes that train one network together, as `torchrun` starts them: each takes its share of every batch.

Gradients are summed over the processes in proportion to what each has seen, so a step is the same as in one process,
where the loss is a mean over all that it has seen.
Without `torchrun` there is one process, and nothing here does anything.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that `torchrun` started, if it did: by nccl between GPUs, else by gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 is the one that evaluates, reports and saves."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def num_processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def summed(value: float, device: torch.device) -> float:
    """Return the sum of a number over the processes."""
    if num_processes() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    distributed.all_reduce(total)
    return float(total)


def from_first(value: float, device: torch.device) -> float:
    """Return the number that the first process has."""
    return summed(value if rank() == 0 else 0.0, device)


def sum_over_processes(tensor: Tensor) -> None:
    """Put the sum over the processes in its place."""
    if num_processes() > 1:
        distributed.all_reduce(tensor)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over the processes, in one message; one that is missing counts as 0."""
    if num_processes() == 1:
        return
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    grads = [parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in chosen]
    message = torch.cat([grad.flatten() for grad in grads])
    distributed.all_reduce(message)
    parts: list[Tensor] = list(message.split([grad.numel() for grad in grads]))
    for parameter, part in zip(chosen, parts, strict=True):
        parameter.grad = part.view_as(parameter)
