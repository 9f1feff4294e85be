import sys
from pathlib import Path

import pytest

from benchmarks import unirec_cost
from tests.benchmarks.small_data import at, write_set


def test_both_models_are_measured_at_the_same_width(
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
    assert all(float(number) >= 0 for number in unirec[3:])
