import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from models.breakdown import keep_evidence


def test_the_largest_weight_and_gradient_of_every_parameter_are_kept_with_the_batch(tmp_path: Path) -> None:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -3.0]]))
        network.bias.copy_(torch.tensor([0.5]))
    network(torch.tensor([[2.0, -7.0]])).sum().backward()
    network.bias.grad = None
    told = keep_evidence(tmp_path / "new" / "broken.safetensors", network, {"batch": torch.arange(3)})
    assert told == f"{tmp_path}/new/broken.safetensors and broken.json"
    assert load_file(tmp_path / "new" / "broken.safetensors")["batch"].tolist() == [0, 1, 2]
    assert json.loads((tmp_path / "new" / "broken.json").read_text()) == {
        "weight": {"largest_weight": 3.0, "largest_gradient": 7.0},
        "bias": {"largest_weight": 0.5, "largest_gradient": None},
    }
