import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import mnist
from benchmarks.digits import Digits
from tests.benchmarks.small_digits import bars, write_digits


def test_both_tables_are_printed_and_the_part_decides_who_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_digits(tmp_path / "mnist", "train", *bars(6, seed=0))
    monkeypatch.setattr(mnist, "NUM_TRAINING", 40)
    monkeypatch.setattr(mnist, "NUM_EACH", 2)
    small = {
        name: mnist.Recipe(
            recipe.memory.model_copy(update={"mac": recipe.memory.mac.model_copy(update={"num_units": 16})}),
            recipe.widening,
            recipe.deskew,
        )
        for name, recipe in mnist.RECIPES.items()
    }
    monkeypatch.setattr(mnist, "RECIPES", small)
    arguments = ["mnist", "--data", str(tmp_path), "--part", "validation", "--seeds", "0", "1", "--curve", "1", "3"]
    monkeypatch.setattr(sys, "argv", arguments)
    mnist.main()
    out = capsys.readouterr().out
    assert "20 pictures asked" in out
    rows = [line.split(" | ") for line in out.splitlines() if line.startswith("| ") and " ± " in line]
    assert [row[0].removeprefix("| ") for row in rows] == list(mnist.RECIPES)
    headline = rows[list(mnist.RECIPES).index(mnist.HEADLINE)]
    assert [float(cell.split()[0]) for cell in headline[1:4]] == [1, 1, 1]
    assert [line.split(" | ")[0] for line in out.splitlines()[-2:]] == ["| 1", "| 3"]
    write_digits(tmp_path / "mnist", "t10k", *bars(3, seed=1))
    monkeypatch.setattr(sys, "argv", ["mnist", "--data", str(tmp_path), "--seeds", "0", "--curve"])
    mnist.main()
    assert "30 pictures asked" in capsys.readouterr().out


def test_the_nearest_picture_differs_in_the_fewest_pixels() -> None:
    pictures = np.array([[[1, 1, 1]], [[1, 0, 0]], [[1, 0, 0]]], bool)
    asked = np.array([[[1, 0, 0]], [[0, 1, 1]], [[0, 0, 0]]], bool)
    assert mnist.nearest(pictures, asked).tolist() == [1, 0, 1]


def test_twenty_real_digits_of_each_kind_are_a_good_start() -> None:
    data = Path(os.environ.get("NIGHTLY_DATA", Path(__file__).parents[2] / "data")) / "mnist"
    if not data.is_dir():
        pytest.skip(f"no {data}: set NIGHTLY_DATA to the folder of the data sets")
    digits = Digits.read(data, "train")
    run = mnist.measure(mnist.RECIPES[mnist.HEADLINE], digits.take(slice(5000)), digits.take(slice(-500, None)), 20, 0)
    assert run.hard > 0.7
    assert run.graded > 0.7
    assert run.seconds_to_learn < 20
