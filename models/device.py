"""Where a network is trained, the processor or a GPU, and in which arithmetic. Lists are made on the processor."""

from typing import Literal

import torch

from models.recommender import MissingDevice

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(name: DeviceName) -> torch.device:
    """Return the device of a name, "auto" a GPU where there is one; MissingDevice for one that is not."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if present[device]))
    if not present[name]:
        here = ", ".join(device for device in present if present[device])
        raise MissingDevice(f"device is {name!r}, which this machine lacks; it has {here}")
    return torch.device(name)


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """Return the type in which the large products of training are done; weights and sums stay float32.

    "auto": bfloat16 where the hardware multiplies it faster than float32, else float32.
    """
    if name == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        return torch.cpu.get_capabilities().get("avx512_bf16", False)
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
