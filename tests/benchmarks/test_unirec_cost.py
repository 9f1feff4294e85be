import sys
from pathlib import Path

import pytest

from benchmarks import unirec_cost
from models.unirec_network import UniRecConfig
from tests.benchmarks.small_data import at, write_set


def test_both_networks_are_of_one_width_and_trained_alike() -> None:
    config = UniRecConfig(dim=24, context_dim=8, num_heads=4, num_blocks=3, score="cosine", batch_size=64, loss="bce")
    sasrec = unirec_cost.alike(config)
    assert sasrec.dim == unirec_cost.width_of(sasrec) == unirec_cost.width_of(config) == 32
    assert (sasrec.num_heads, sasrec.num_blocks, sasrec.score) == (4, 3, "cosine")
    assert (sasrec.batch_size, sasrec.loss, sasrec.length) == (64, "bce", config.length)


def test_both_models_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    visits = {"ann": "12345", "bob": "32415", "eve": "543216"}
    rows = [(who, int(item), at(place), place) for who, items in visits.items() for place, item in enumerate(items)]
    write_set(
        tmp_path, "movielens_1m", "user_id item_id timestamp seq", rows, item_id=list(range(10)), category=["x"] * 10
    )
    monkeypatch.setattr(unirec_cost, "TASKS", ("movielens_1m",))
    monkeypatch.setattr(sys, "argv", ["unirec_cost", "--data", str(tmp_path)])
    unirec_cost.main()
    _, _, sasrec, unirec = [
        line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if "|" in line
    ]
    assert [row[2] for row in (sasrec, unirec)] == ["sasrec", "unirec"]
    assert sasrec[:2] == unirec[:2]
    assert sasrec[4] == sasrec[6] == "1.00"
    assert unirec[1] == "144"
    assert float(unirec[3]) / float(sasrec[3]) == pytest.approx(float(unirec[4]), rel=0.6)  # of rounded seconds
