import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipelines import training_arrays as module
from pipelines.fitting import validation_part
from pipelines.night import Night
from pipelines.training_arrays import TrainingData
from pipelines.training_data import load_training_data, training_arrays
from tests.pipelines.small_sequences import lists_of
from tests.pipelines.small_store import Visit, make_night, shop_settings

VISITS = (
    Visit("ann", 0, "abc"),
    Visit("bob", 1, "ba"),
    Visit("ann", 2, "cc"),
    Visit("?x", 3, "ab"),
    Visit("ann", 3, "a"),
)


def night_of(root: Path, **training: int) -> Night:
    return make_night(root, VISITS, 3, shop_settings(training=training))


def test_arrays_are_mapped_and_not_read(tmp_path: Path) -> None:
    data = load_training_data(night_of(tmp_path))
    assert isinstance(data.everything.items, np.memmap)
    assert isinstance(data.everything.times, np.memmap)
    assert lists_of(data.everything) == [[2, 3], [2, 3, 4, 4, 4, 2], [3, 2]]  # the session x, ann, bob
    assert data.train_lengths.tolist() == [0, 3, 2]
    assert data.validation_lengths.tolist() == [0, 2, 0]
    assert data.is_user.tolist() == [False, True, True]


def test_they_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = night_of(tmp_path)
    folder = training_arrays(night)
    monkeypatch.setattr(module, "_write", lambda *_: pytest.fail("written again"))
    assert training_arrays(night) == folder


def test_other_settings_or_data_take_their_place(tmp_path: Path) -> None:
    first = training_arrays(night_of(tmp_path))
    second = training_arrays(night_of(tmp_path, max_events=2))
    assert first != second
    assert not first.exists()
    assert lists_of(TrainingData.read(second).everything) == [[2, 3], [3, 4, 4, 4, 2], [3, 2]]
    more = make_night(tmp_path, (*VISITS, Visit("bob", 3, "c")), 3, shop_settings(training={"max_events": 2}))
    assert training_arrays(more) != second


def test_an_interrupted_writing_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = night_of(tmp_path)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_fill", fail)
        with pytest.raises(KeyboardInterrupt):
            training_arrays(night)
    folder = training_arrays(night)
    assert lists_of(TrainingData.read(folder).test) == [[2, 3], [2], []]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_batches_of_rows_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = lists_of(load_training_data(night_of(tmp_path / "whole")).everything)
    monkeypatch.setattr(module, "BATCH_ROWS", 1)
    assert lists_of(load_training_data(night_of(tmp_path / "single")).everything) == expected


def test_subjects_have_keys_that_any_version_computes_alike(tmp_path: Path) -> None:
    data = load_training_data(night_of(tmp_path))
    names = ("session:x", "user:ann", "user:bob")
    keys = [int.from_bytes(hashlib.md5(name.encode()).digest()[8:], "little") for name in names]
    assert data.everything.subjects.tolist() == keys
    assert data.train.subjects.tolist() == keys
    cases = validation_part(data, exclude_seen=False)
    assert cases is not None
    assert cases.histories.subjects.tolist() == keys[1:2]
