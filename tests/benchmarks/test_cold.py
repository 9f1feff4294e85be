import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cold
from benchmarks.cold_cells import CANDIDATES, METRICS, measure, with_cold_items
from benchmarks.model_cells import Cell
from benchmarks.protocols import load_task
from tests.benchmarks.small_data import at, write_set


def write_beauty(data: Path, num_users: int = 60, num_items: int = 120) -> None:
    """Each user stays within one of four categories."""
    generator = np.random.default_rng(0)
    rows = [
        (user, int(item) * 4 + user % 4, at(place), place)
        for user in range(num_users)
        for place, item in enumerate(generator.permutation(num_items // 4)[:6])
    ]
    every = range(num_items)
    write_set(
        data, "amazon_beauty", "user_id item_id timestamp seq", rows, item_id=every, title=["x y"] * num_items,
        brand_id=[item % 7 for item in every], category=[item % 2 for item in every],
        category_leaf=[item % 4 for item in every], attribute_ids=[[item % 5] for item in every],
    )  # fmt: skip


def test_no_history_holds_a_cold_item_and_every_case_asks_for_one(tmp_path: Path) -> None:
    write_beauty(tmp_path)
    whole = load_task("amazon_beauty", tmp_path)
    task, is_cold = with_cold_items(whole)
    assert 0 < is_cold.sum() < 0.25 * task.num_items
    for histories in (task.train, task.everything, task.validation.histories, task.test.histories):
        assert not is_cold[histories.items].any()
        assert histories.lengths.all()
    assert len(task.train.items) == int((~is_cold[whole.train.items]).sum())
    assert is_cold[task.test.targets.items].all()
    assert not is_cold[task.validation.targets.items].any()
    assert len(task.test.targets) == int(is_cold[whole.test.targets.items].sum())
    assert (task.counts[is_cold] == 0).all()
    again, same = with_cold_items(load_task("amazon_beauty", tmp_path))
    assert (same == is_cold).all()
    assert (again.test.targets.items == task.test.targets.items).all()


def test_targets_are_ranked_among_all_and_among_the_cold(tmp_path: Path) -> None:
    write_beauty(tmp_path)
    task, is_cold = with_cold_items(load_task("amazon_beauty", tmp_path))
    cell = measure(task, is_cold, "category_random", 0)
    assert set(cell.values) == {f"{candidates}/{metric}" for candidates in CANDIDATES for metric in METRICS}
    assert cell.values["cold/recall@20"].mean() > cell.values["all/recall@20"].mean()
    assert cell.values["cold/recall@20"].mean() == 1  # fewer cold items than that in a category
    assert cell.numbers["num_cold"] == is_cold.sum()


def test_the_table_has_a_row_for_each_entrant_and_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [f"{candidates}/{metric}" for candidates in CANDIDATES for metric in METRICS]
    measured: list[tuple[str, str]] = []

    def run(job: list[str], **_: Any) -> None:
        model, seed, path = job[-3:]
        measured.append((model, seed))
        Cell(dict.fromkeys(columns, np.array([0.0, 1.0])), {"num_cold": 9.0}).save(Path(path))

    monkeypatch.setattr(subprocess, "run", run)
    options = ["--folder", str(tmp_path), "--tasks", "amazon_beauty", "--seeds", "0", "1"]
    monkeypatch.setattr(sys, "argv", ["cold", *options])
    cold.main()
    cold.main()
    assert measured == [(model, seed) for model in cold.ENTRANTS for seed in ("0", "1")]
    told = capsys.readouterr().out
    assert "### amazon_beauty: 2 cases whose target is one of 9 cold items" in told
    assert told.count("| m2trec | 2 | 0.5000 (") == 2
