import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FIT = """
import json, sys
import torch
from models.parallel import num_processes, process_group, rank
from models.sasrec import SasRec, SasRecConfig
from tests.models.conftest import make_shop
from models.recommender import Validation

torch.set_num_threads(1)
shop = make_shop()
config = SasRecConfig(dim=16, length=8, num_blocks=1, num_epochs=3, batch_size=33, dropout=0, precision="float32")
with process_group():
    model = SasRec(config, shop.catalogue)
    report = model.fit(shop.train, Validation(shop.histories, shop.targets), seed=0)
    if rank() == 0:
        print(json.dumps([num_processes(), [[record.loss, record.metric] for record in report.records]]))
"""


def run(*launcher: str) -> tuple[int, list[list[float]]]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    processes, records = json.loads(done.stdout)
    return processes, records


def test_two_processes_of_torchrun_lose_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    alone, losses = run(str(script))
    together, shared_losses = run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script))
    assert (alone, together) == (1, 2)
    assert len(losses) == len(shared_losses) == 3
    for ours, theirs in zip(losses, shared_losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert losses[0][0] == pytest.approx(shared_losses[0][0], rel=1e-5)
