from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models import checkpoint
from models.catalogue import Catalogue
from models.checkpoint import HEADER_FILE, WEIGHTS_FILE, load, read_header, save
from models.markov import Markov, MarkovConfig

if TYPE_CHECKING:
    from tests.models.conftest import Shop

DAY = date(2024, 3, 9)


@pytest.fixture
def model(shop: "Shop") -> Markov:
    fitted = Markov(MarkovConfig(num_steps=2), shop.catalogue)
    fitted.fit(shop.train, seed=0)
    return fitted


def test_what_was_saved_is_loaded(tmp_path: Path, model: Markov) -> None:
    checkpoint_hash = save(tmp_path / "run" / "markov", model, "v1", DAY)
    loaded = load(tmp_path / "run" / "markov", model.catalogue, "v1", latest_as_of=DAY)
    assert isinstance(loaded, Markov)
    assert loaded.config == model.config
    assert all((loaded.state()[name] == array).all() for name, array in model.state().items())
    header = read_header(tmp_path / "run" / "markov")
    assert (header.name, header.num_items, header.as_of) == ("markov", model.num_items, DAY)
    assert header.checkpoint_hash == checkpoint_hash


def test_the_hash_follows_the_contents(tmp_path: Path, model: Markov) -> None:
    hashes = [
        save(tmp_path / "a", model, "v1", DAY),
        save(tmp_path / "b", model, "v1", DAY),
        save(tmp_path / "c", model, "v2", DAY),
        save(tmp_path / "d", model, "v1", date(2024, 3, 10)),
    ]
    model._matrix.data[0] += 1e-3
    hashes.append(save(tmp_path / "e", model, "v1", DAY))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_a_foreign_vocabulary_is_refused_with_both_values(tmp_path: Path, model: Markov) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    with pytest.raises(ValueError, match="made for vocabulary v1, not v2"):
        load(tmp_path / "a", model.catalogue, "v2")


def test_a_catalogue_that_shrank_is_refused(tmp_path: Path, model: Markov) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    with pytest.raises(ValueError, match="made for 62 items, and the catalogue has 61: item numbers are never"):
        load(tmp_path / "a", Catalogue(61), "v1")


def test_a_model_that_knows_the_future_is_refused_with_both_dates(tmp_path: Path, model: Markov) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    with pytest.raises(ValueError, match="up to 2024-03-09, but only days up to 2024-03-08"):
        load(tmp_path / "a", model.catalogue, "v1", latest_as_of=date(2024, 3, 8))


def test_damaged_weights_are_refused(tmp_path: Path, model: Markov) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    weights = bytearray((tmp_path / "a" / WEIGHTS_FILE).read_bytes())
    weights[-1] ^= 1
    (tmp_path / "a" / WEIGHTS_FILE).write_bytes(weights)
    with pytest.raises(ValueError, match="damaged: sha256"):
        load(tmp_path / "a", model.catalogue, "v1")


def test_a_newer_format_is_refused(tmp_path: Path, model: Markov) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    header = tmp_path / "a" / HEADER_FILE
    header.write_text(header.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="format_version"):
        load(tmp_path / "a", model.catalogue, "v1")


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path: Path, model: Markov) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    save(tmp_path / "a", model, "v2", DAY)
    assert read_header(tmp_path / "a").vocabulary_hash == "v2"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("failing", ["write", "publish"])
def test_a_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, model: Markov, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    save(tmp_path / "a", model, "v1", DAY)
    replace = checkpoint.os.replace

    def broken(source: Path, target: Path) -> None:
        if source.name.endswith(".new"):
            raise OSError("disk full")
        replace(source, target)

    if failing == "write":
        monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    else:
        monkeypatch.setattr(checkpoint.os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "a", model, "v2", DAY)
    monkeypatch.undo()
    assert load(tmp_path / "a", model.catalogue, "v1").num_items == model.num_items
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_state_need_not_be_contiguous(tmp_path: Path, model: Markov, monkeypatch: pytest.MonkeyPatch) -> None:
    state = model.state()
    spread = np.repeat(state["order"], 2)[::2]
    monkeypatch.setattr(model, "state", lambda: state | {"order": spread})
    save(tmp_path / "a", model, "v1", DAY)
    assert (load(tmp_path / "a", model.catalogue, "v1").state()["order"] == state["order"]).all()
