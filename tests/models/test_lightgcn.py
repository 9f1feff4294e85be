import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.checkpoint import load, save
from models.lightgcn import LightGcn, LightGcnConfig
from models.recommender import UnfitStart, Validation
from models.registry import configure
from models.rewiring import Rewirer
from models.sequences import FIRST_ITEM, Sequences
from models.stages import StepRecord
from tests.models.conftest import make

NUM_GROUPS, GROUP_ITEMS, NUM_SUBJECTS, EACH = 4, 12, 120, 8
BOTH = pytest.mark.parametrize("num_layers", [0, 2])


@dataclass(frozen=True)
class Groups:
    """Subjects of a few groups, each of whom met some items of the group's own; the rest of them are right answers."""

    train: Sequences
    targets: Sequences
    num_items: int = FIRST_ITEM + NUM_GROUPS * GROUP_ITEMS

    @property
    def everything(self) -> NDArray[np.bool_]:
        return np.ones(self.num_items, bool)


@pytest.fixture(scope="module")
def groups() -> Groups:
    generator = np.random.default_rng(0)
    orders = [generator.permutation(GROUP_ITEMS) for _ in range(NUM_SUBJECTS)]
    items = [(FIRST_ITEM + subject % NUM_GROUPS * GROUP_ITEMS + order).tolist() for subject, order in enumerate(orders)]
    keys = generator.permutation(NUM_SUBJECTS).astype(np.uint64) * np.uint64(2**56 + 1)
    train = replace(make(*(row[:EACH] for row in items)), subjects=keys)
    return Groups(train, make(*(sorted(row[EACH:]) for row in items)))


def config_of(num_layers: int, **others: Any) -> LightGcnConfig:
    common = {"num_layers": num_layers, "dim": 16, "num_epochs": 30, "batch_size": 256, "num_negatives": 64}
    found = configure("lightgcn", "tiny", {**common, "learning_rate": 0.02, **others})
    assert isinstance(found, LightGcnConfig)
    return found


def fitted(groups: Groups, num_layers: int, start: Any = None, **others: Any) -> LightGcn:
    model = LightGcn(config_of(num_layers, **others), Catalogue(groups.num_items))
    model.fit(groups.train, seed=0, start=start)
    return model


def recall(model: LightGcn, histories: Sequences, groups: Groups) -> float:
    items, _ = model.topk(histories, GROUP_ITEMS - EACH, groups.everything, exclude_seen=True)
    found = np.sort(items, axis=1)
    return float(np.mean([np.isin(row, found[case]).mean() for case, row in enumerate(_rows(groups.targets))]))


def _rows(sequences: Sequences) -> list[NDArray[np.int32]]:
    return np.split(sequences.items, sequences.offsets[1:-1])


@BOTH
@pytest.mark.parametrize("loss", ["sampled_softmax", "bpr"])
def test_it_finds_what_the_others_of_a_group_met(groups: Groups, num_layers: int, loss: str) -> None:
    assert recall(fitted(groups, num_layers, loss=loss), groups.train, groups) > 0.9


@BOTH
def test_sparse_tables_find_it_too(groups: Groups, num_layers: int) -> None:
    model = fitted(groups, num_layers, sparsity={"density": 0.3, "num_updates": 20}, num_epochs=60)
    assert recall(model, groups.train, groups) > 0.9


def test_without_training_one_layer_gives_what_neighbours_bring(groups: Groups) -> None:
    """The score of one layer is a sum over paths, computed here from the tables by hand."""
    model = fitted(groups, 1, num_epochs=1)
    state = model.state()
    subjects, items = state["subjects.weight"], state["items.weight"]
    keys, offsets, edges = state["keys"], state["edge_offsets"], state["edges"]
    adjacency = np.zeros((len(keys), groups.num_items))
    for subject in range(len(keys)):
        adjacency[subject, edges[offsets[subject] : offsets[subject + 1]]] = 1
    adjacency /= np.sqrt(adjacency.sum(axis=1, keepdims=True) * np.maximum(adjacency.sum(axis=0), 1))
    of_subjects = (subjects + adjacency @ items) / 2
    of_items = (items + adjacency.T @ subjects) / 2
    expected = (of_subjects @ of_items.T)[np.searchsorted(keys, groups.train.subjects)]
    listed, scores = model.topk(groups.train, 5, groups.everything)
    assert scores == pytest.approx(np.take_along_axis(expected, listed, axis=1), rel=1e-4)
    assert scores == pytest.approx(-np.sort(-expected[:, FIRST_ITEM:], axis=1)[:, :5], rel=1e-4)


@BOTH
def test_a_subject_is_known_again_by_its_key(groups: Groups, num_layers: int) -> None:
    model = fitted(groups, num_layers)
    no_history = Sequences.empty(NUM_SUBJECTS)
    known = replace(no_history, subjects=groups.train.subjects)
    assert recall_of_groups(model, known, groups) > 0.9
    _, scores = model.topk(no_history, 3, groups.everything)
    assert (scores == 0).all()
    _, scores = model.topk(replace(no_history, subjects=groups.train.subjects + np.uint64(1)), 3, groups.everything)
    assert (scores == 0).all()


@BOTH
def test_one_without_a_vector_gets_what_its_items_bring(groups: Groups, num_layers: int) -> None:
    model = fitted(groups, num_layers)
    strangers = groups.train.cut(groups.train.offsets[:-1], groups.train.lengths)
    assert not len(strangers.subjects)
    assert recall_of_groups(model, strangers, groups) > 0.9


def recall_of_groups(model: LightGcn, histories: Sequences, groups: Groups) -> float:
    """Return the share of listed items that are of the subject's group."""
    items, _ = model.topk(histories, 5, groups.everything)
    return float(((items - FIRST_ITEM) // GROUP_ITEMS == np.arange(NUM_SUBJECTS)[:, None] % NUM_GROUPS).mean())


def test_later_events_count_without_another_training(groups: Groups) -> None:
    model = fitted(groups, 2)
    other = FIRST_ITEM + (np.arange(NUM_SUBJECTS) + 1) % NUM_GROUPS * GROUP_ITEMS
    later = make(*([int(first) + number for number in range(GROUP_ITEMS)] for first in other))
    moved = replace(groups.train.concat(later), subjects=groups.train.subjects)
    before, _ = model.topk(groups.train, 20, groups.everything)
    after, _ = model.topk(moved, 20, groups.everything)
    group_of = (other - FIRST_ITEM)[:, None] // GROUP_ITEMS
    shares = [((items - FIRST_ITEM) // GROUP_ITEMS == group_of).mean() for items in (before, after)]
    assert shares[1] > shares[0] + 0.1


@BOTH
def test_a_checkpoint_gives_the_same_lists_and_holds_no_edge_without_need(
    groups: Groups, num_layers: int, tmp_path: Path
) -> None:
    model = fitted(groups, num_layers, sparsity={"density": 0.5})
    save(tmp_path / "model", model, "v1", date(2024, 3, 9))
    again = load(tmp_path / "model", model.catalogue, "v1")
    for histories in (groups.train, Sequences.empty(4), groups.train.cut(np.array([0]), np.array([3]))):
        ours, theirs = (some.topk(histories, 5, groups.everything) for some in (model, again))
        assert (ours[0] == theirs[0]).all()
        assert (ours[1] == theirs[1]).all()
    assert ("edges" in model.state()) == (num_layers > 0)


@pytest.mark.parametrize("sparsity", [{}, {"density": 0.5, "num_updates": 0}])
def test_a_later_night_starts_from_the_vectors_of_those_it_knows(groups: Groups, sparsity: dict[str, Any]) -> None:
    before = fitted(groups, 1, sparsity=sparsity).state()
    fewer = np.arange(10, NUM_SUBJECTS)
    train = groups.train.take(np.concatenate([fewer, fewer[:20]]))
    keys = train.subjects.copy()
    keys[len(fewer) :] += np.uint64(1)  # twenty new ones in the place of ten who are gone
    later = Groups(replace(train, subjects=keys), groups.targets.take(fewer))
    model = fitted(later, 1, before, sparsity=sparsity, learning_rate=1e-9, num_epochs=1)
    known = np.isin(before["keys"], model.state()["keys"])
    ours = model._network.subjects.weight.detach().numpy()[np.isin(model.state()["keys"], before["keys"])]
    whole = fitted(groups, 1, sparsity=sparsity)._network
    assert ours == pytest.approx(whole.subjects.weight.detach().numpy()[known], abs=1e-6)
    assert model._network.items.weight.detach().numpy() == pytest.approx(whole.items.weight.detach().numpy(), abs=1e-6)


def test_a_start_of_another_width_is_refused(groups: Groups) -> None:
    before = fitted(groups, 1, num_epochs=1).state()
    with pytest.raises(UnfitStart, match=r"subjects\.weight is \(120, 16\), here \(120, 8\)"):
        fitted(groups, 1, before, dim=8, num_epochs=1)


def test_it_stops_early_on_a_validation_part(groups: Groups) -> None:
    model = LightGcn(config_of(1, patience=1), Catalogue(groups.num_items))
    report = model.fit(groups.train, Validation(groups.train, groups.targets, exclude_seen=True), seed=0)
    metrics = [record.metric for record in report.records]
    assert report.chosen.model_dump()["num_epochs"] == int(np.nanargmax(metrics)) + 1 < 30


@BOTH
def test_weights_that_grew_learn_in_the_next_step(
    groups: Groups, num_layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch here holds a quarter of the pairs; what a single one said would leave most rows without growth."""
    grown: list[NDArray[np.int64]] = []
    learnt: list[float] = []
    after = Rewirer.after

    def look(rewirer: Rewirer, *arguments: Any) -> None:
        table = rewirer.tables[1]
        if grown:
            assert table.values.grad is not None
            places = table.places().numpy()
            learnt.append(float((table.values.grad.numpy()[np.isin(places, grown.pop())] != 0).mean()))
        was = table.places().numpy()
        after(rewirer, *arguments)
        now = table.places().numpy()
        if len(fresh := np.setdiff1d(now, was)):
            grown.append(fresh)

    monkeypatch.setattr(Rewirer, "after", look)
    fitted(groups, num_layers, sparsity={"density": 0.5, "num_updates": 15})
    assert len(learnt) > 8
    assert np.mean(learnt) > 0.95


PEAK = """
import json, sys
import numpy as np
import torch
from models.catalogue import Catalogue
from models.lightgcn import LightGcn, LightGcnConfig
from models.sequences import Sequences
from benchmarks.memory import peak_mib

torch.set_num_threads(1)
num_subjects, num_items = 100_000, 50_000
generator = np.random.default_rng(0)
items = generator.integers(2, num_items, 2 * num_subjects).astype(np.int32)
train = Sequences(items, np.zeros(len(items), np.int64), np.arange(0, len(items) + 1, 2))
config = LightGcnConfig(
    num_layers=0, dim=64, batch_size=4096, num_epochs=1, max_epoch_batches=12, sparsity=json.loads(sys.argv[1])
)
few = train.take(np.arange(100))
LightGcn(config, Catalogue(1000)).fit(few.where(few.items < 1000), seed=0)  # what every training takes
before = peak_mib()
LightGcn(config, Catalogue(num_items)).fit(train, seed=0)
print(peak_mib() - before)
"""


def peak_of_training(sparsity: dict[str, Any]) -> float:
    """Return the MiB that a training adds to what a process uses, in a process of its own."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PEAK, json.dumps(sparsity)]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_training_a_sparse_factorisation_takes_less_memory_than_a_dense_one() -> None:
    dense, sparse = peak_of_training({}), peak_of_training({"density": 0.1, "num_updates": 2, "explore": 1})
    dense_state = 4 * 4 * 150_000 * 64 / 2**20  # weights, gradient and two moments
    assert dense > 0.9 * dense_state
    assert sparse < 0.9 * dense


def test_records_tell_the_loss_of_every_epoch(groups: Groups) -> None:
    records: list[StepRecord] = []
    LightGcn(config_of(1, num_epochs=5), Catalogue(groups.num_items)).fit(groups.train, seed=0, on_step=records.append)
    losses = [record.loss for record in records]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert torch.tensor(losses).isfinite().all()
