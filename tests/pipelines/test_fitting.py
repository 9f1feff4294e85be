import json
import logging
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import registry
from models.recommender import NothingToLearn
from models.stages import StepRecord
from pipelines.fitting import EVALUATION, SERVING, Fit, KnownStatistics, fit_here, fit_in_processes
from pipelines.item_fields import INDEX_FILE, QUANTITIES
from pipelines.statistics_arrays import ARRAYS, DAY_FILE
from pipelines.training_data import training_arrays
from tests.pipelines.small_store import Visit, make_night

ROUNDS = {"u": "abcdef", "v": "bcdefa", "w": "cdefab"}
VISITS = [Visit(who, number, items) for number in range(4) for who, items in ROUNDS.items()]


def fit_of(root: Path, visits: list[Visit], chain: str, model: str = "sasrec", **settings: Any) -> Fit:
    night = make_night(root, visits, 3, items="abcdef")
    config = registry.configure(model, "tiny", {"precision": "float32", "dropout": 0, "num_epochs": 2} | settings)
    return Fit.model_validate(
        {
            "arrays": training_arrays(night),
            "model": model,
            "config": config.model_dump(mode="json"),
            "num_items": 8,
            "catalogue": None,
            "seed": 1,
            "chain": chain,
            "exclude_seen": False,
            "folder": root / "progress",
        }
    )


@pytest.mark.parametrize("chain", [EVALUATION, pytest.param(SERVING, marks=pytest.mark.all)])
def test_two_processes_fit_what_one_does(tmp_path: Path, chain: str) -> None:
    fit = fit_of(tmp_path, VISITS, chain)
    told: list[StepRecord] = []
    alone, expected = fit_here(fit, lambda record: None)
    fit = fit.model_copy(update={"folder": tmp_path / "other"})
    together, report = fit_in_processes(fit, 2, told.append)
    assert report.chosen == expected.chosen
    assert [replace(record, seconds=0) for record in told] == [replace(record, seconds=0) for record in report.records]
    assert [r.loss for r in report.records] == pytest.approx([r.loss for r in expected.records], rel=1e-4)
    for name, weights in alone.state().items():
        np.testing.assert_allclose(together.state()[name], weights, atol=1e-3)


def test_other_processes_are_told_where_the_statistics_are(tmp_path: Path) -> None:
    known = KnownStatistics(folder=tmp_path / "o'brien", as_of=date(2026, 3, 1))
    fit = fit_of(tmp_path, VISITS, SERVING).model_copy(update={"statistics": known})
    assert Fit.model_validate_json(fit.model_dump_json()).statistics == known


def test_every_process_learns_with_the_statistics(tmp_path: Path) -> None:
    folder, day = tmp_path / "o'brien", date(2026, 3, 1)
    folder.mkdir()
    near = np.zeros((8, 1), np.int32)
    near[5:] = 2  # of the items after the fourth letter, which are rare
    arrays = (np.arange(8) < 5, np.full(8, np.nan), near, np.arange(3) > 0, np.arange(3) == 0)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
    (folder / DAY_FILE).write_text(day.isoformat())
    fit = fit_of(tmp_path, VISITS, SERVING, "unirec", ie_mode="inject", num_epochs=20)
    known = KnownStatistics(folder=folder, as_of=day)
    model, report = fit_in_processes(fit.model_copy(update={"statistics": known}), 2, lambda record: None)
    assert model.state()["rare"].tolist() == [5, 6, 7]
    assert model.state()["neighbours"].tolist() == [[2], [2], [2]]
    assert report.records[-1].loss < report.records[0].loss / 2
    later = fit.model_copy(update={"statistics": KnownStatistics(folder=folder, as_of=date(2026, 3, 2))})
    with pytest.raises(RuntimeError, match="as of 2026-03-01; what learns up to 2026-03-02 needs those of it"):
        fit_in_processes(later, 2, lambda record: None)


@pytest.mark.all  # each start of torchrun takes seconds
def test_what_the_processes_cannot_learn_is_told_as_by_one(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, [Visit("u", 0, "a"), Visit("v", 1, "b")], SERVING)
    with pytest.raises(NothingToLearn, match="no training history has two known items"):
        fit_in_processes(fit, 2, lambda record: None)


def test_what_the_processes_warn_of_is_in_the_nights_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    catalogue = tmp_path / "catalogue"
    catalogue.mkdir()
    for name, array in (("0-numbers", np.full(6, 2, np.int32)), ("0-offsets", np.array([0, 0, *range(7)], np.int64))):
        np.save(catalogue / f"{name}.npy", array)
    for name in QUANTITIES:
        np.save(catalogue / f"{name}.npy", np.full(8, np.nan))
    (catalogue / INDEX_FILE).write_text(json.dumps([{"field": "brand", "num_values": 3}]))
    fit = fit_of(tmp_path, VISITS, SERVING, "m2trec", hashed_ids=True)
    with caplog.at_level(logging.WARNING, "nightly"):
        fit_in_processes(fit.model_copy(update={"catalogue": catalogue}), 2, lambda record: None)
    assert caplog.messages == ["m2trec: field 'brand' is not used: all items have the same value"]


def test_processes_that_fail_are_told_with_their_last_words(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, VISITS, SERVING).model_copy(update={"arrays": tmp_path / "nowhere"})
    with pytest.raises(RuntimeError, match=r"processes that train sasrec ended with code 1(.|\n)*nowhere"):
        fit_in_processes(fit, 2, lambda record: None)
