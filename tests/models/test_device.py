import pytest
import torch

from models import device
from models.device import choose_device, choose_precision
from models.recommender import MissingDevice


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def test_a_missing_device_is_refused_with_those_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(MissingDevice, match="device is 'cuda', which this machine lacks; it has cpu"):
        choose_device("cuda")


def test_precision_follows_the_hardware_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = torch.device("cpu")
    for multiplies, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "_multiplies_bfloat16", lambda _, multiplies=multiplies: multiplies)
        assert choose_precision("auto", processor) == expected
    assert choose_precision("float32", processor) == torch.float32
    assert choose_precision("bfloat16", processor) == torch.bfloat16
