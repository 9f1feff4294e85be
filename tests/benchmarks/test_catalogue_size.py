import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import catalogue_size
from benchmarks.catalogue_size import FIELDS, read_catalogue, write_catalogue


def test_every_item_of_the_made_up_catalogue_has_its_values(tmp_path: Path) -> None:
    write_catalogue(tmp_path, 500)
    catalogue = read_catalogue(tmp_path, 500)
    assert catalogue.num_items == 502
    for name, (each, num_values) in FIELDS.items():
        assert catalogue.fields[name].lengths.tolist() == [0, 0, *[each] * 500]
        assert catalogue.fields[name].num_values == num_values + 2
    assert np.isfinite(catalogue.quantities["price"][2:]).all()


def test_the_weights_of_one_follow_the_items_and_those_of_the_other_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue_size, "NUM_HISTORIES", 8)
    monkeypatch.setitem(catalogue_size.SETTINGS, "max_epoch_batches", 1)

    def measured(folder: Path, model: str, num_real: int) -> dict[str, float]:
        return catalogue_size.fit(folder, model, num_real) | catalogue_size.rank(folder, model, num_real)

    monkeypatch.setattr(catalogue_size, "_measured", measured)
    monkeypatch.setattr(sys, "argv", ["catalogue_size", "--folder", str(tmp_path), "--items", "100", "300"])
    catalogue_size.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    weights = {(row[0].strip("| "), row[1]): int(row[2].replace(",", "")) for row in rows}
    assert weights["300", "m2trec"] == weights["100", "m2trec"]
    assert weights["300", "sasrec"] - weights["100", "sasrec"] == 200 * catalogue_size.SETTINGS["dim"]
