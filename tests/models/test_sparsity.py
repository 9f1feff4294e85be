import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from models import training
from models.checkpoint import load, save
from models.recommender import Recommender, UnfitStart, Validation
from models.registry import configure, learns_by_gradient, model_class, names
from models.sparse_table import SparseTable
from models.sparsity import DENSE, Sparsity, degree_budget, even_budget, make_table, normal, spread_by_degree
from models.stages import Run, StepRecord
from models.training import Training, TrainingConfig
from tests.models.small_statistics import statistics_of
from tests.models.test_sparse_table import table_of

if TYPE_CHECKING:
    from tests.models.conftest import Shop

DENSITY = 0.3
NETWORKS = [name for name in names() if learns_by_gradient(name)]


def fitted(shop: "Shop", name: str, sparsity: dict[str, Any], num_epochs: int = 3, **others: Any) -> Recommender:
    training = {key: others.pop(key) for key in ("learning_rate",) if key in others}
    settings = {"num_epochs": num_epochs, "batch_size": 64, "sparsity": {"density": DENSITY, **sparsity}, **training}
    model = model_class(name)(configure(name, "tiny", settings), shop.catalogue)
    model.fit(shop.train, seed=0, statistics=statistics_of(shop.train, shop.num_items), **others)
    return model


def tables(model: Recommender) -> dict[str, int]:
    """Return the live weights of every sparse table."""
    return {name: len(array) for name, array in model.state().items() if name.endswith(".values")}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_with_sparse_tables_and_is_kept_as_such(shop: "Shop", name: str, tmp_path: Path) -> None:
    model = fitted(shop, name, {"num_updates": 10})
    found = model.state()
    assert tables(model)
    for table, num_weights in tables(model).items():
        offsets = found[table.replace("values", "offsets")]
        dim = {"m2trec": 16}.get(name, 32)
        assert num_weights == offsets[-1] == round(DENSITY * (len(offsets) - 1) * dim)
        assert np.isfinite(found[table]).all()
    save(tmp_path / "model", model, "v1", date(2024, 3, 9))
    again = load(tmp_path / "model", model.catalogue, "v1")
    everything = np.ones(shop.num_items, bool)
    ours, theirs = model.topk(shop.histories, 5, everything), again.topk(shop.histories, 5, everything)
    assert (ours[0] == theirs[0]).all()
    assert (ours[1] == theirs[1]).all()
    with safe_open(tmp_path / "model" / "weights.safetensors", "np") as file:
        assert not [key for key in file.keys() if key.endswith("items.weight")]  # noqa: SIM118 - it is no mapping


@pytest.mark.parametrize("start", ["even", "degree"])
def test_a_sparse_sasrec_finds_what_follows_what(shop: "Shop", start: str) -> None:
    model = fitted(shop, "sasrec", {"start": start}, num_epochs=15, validation=Validation(shop.histories, shop.targets))
    sparse = model.topk(shop.histories, 1, np.ones(shop.num_items, bool))[0][:, 0]
    assert (sparse == shop.targets.items).mean() > 0.8


def test_budgets_that_follow_degrees_do(shop: "Shop") -> None:
    state = fitted(shop, "sasrec", {"start": "degree", "num_updates": 0}).state()
    counts = np.bincount(shop.train.items, minlength=shop.num_items)
    budget = np.diff(state["items.offsets"])
    assert np.corrcoef(budget, np.sqrt(counts))[0, 1] > 0.95
    state = fitted(shop, "m2trec", {"start": "degree", "num_updates": 0}).state()
    budget = np.diff(state["tower.parts.1.table.offsets"])[2:]  # of the first category, of eight items each
    assert budget[0] > budget[-1]
    assert np.diff(state["tower.parts.1.table.offsets"])[0] == 1


def test_without_updates_what_is_live_stays_and_with_them_it_does_not(shop: "Shop") -> None:
    columns = [fitted(shop, "sasrec", {"num_updates": number}).state()["items.columns"] for number in (0, 10)]
    config = configure("sasrec", "tiny", {"sparsity": {"density": DENSITY}})
    model = model_class("sasrec")(config, shop.catalogue)
    with training.seeded(Run(0, "")):
        first = model.build_encoder().items.columns.numpy()  # type: ignore[attr-defined]
    assert (columns[0] == first).all()
    assert (columns[1] != first).mean() > 0.2


def test_an_interrupted_sparse_training_goes_on(shop: "Shop", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0.0)
    sparsity = {"num_updates": 9, "window": 2}
    expected = fitted(shop, "sasrec", sparsity).state()

    def stop(record: StepRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(shop, "sasrec", sparsity, folder=tmp_path, on_step=stop)
    resumed = fitted(shop, "sasrec", sparsity, folder=tmp_path).state()
    assert all((resumed[name] == array).all() for name, array in expected.items())


def test_a_later_night_starts_from_the_live_weights_of_the_one_before(shop: "Shop") -> None:
    before = fitted(shop, "sasrec", {}).state()
    model = fitted(shop, "sasrec", {"num_updates": 0}, start=before)
    assert (model.state()["items.columns"] == before["items.columns"]).all()
    assert (model.state()["items.offsets"] == before["items.offsets"]).all()


@pytest.mark.parametrize("density", [0.2, 1])
def test_another_density_is_another_network(shop: "Shop", density: float) -> None:
    before = fitted(shop, "sasrec", {}).state()
    with pytest.raises(UnfitStart, match=r"cannot start from these weights: items"):
        fitted(shop, "sasrec", {"density": density}, start=before)
    kept = configure("sasrec", "tiny", {"sparsity": {"density": density}}).model_dump(mode="json")
    ours = configure("sasrec", "tiny", {"sparsity": {"density": DENSITY, "num_updates": 3}})
    assert ours.network_changes(kept) == ["sparsity.density"]
    assert ours.network_changes(json.loads(ours.model_copy(update={"learning_rate": 1}).model_dump_json())) == []


def test_a_state_of_before_there_was_sparsity_is_dense() -> None:
    kept = configure("sasrec", "tiny", {}).model_dump(mode="json", exclude={"sparsity"})
    assert configure("sasrec", "tiny", {}).network_changes(kept) == []


@pytest.mark.parametrize("density", [0, -0.1, 1.01, float("nan")])
def test_a_density_outside_0_to_1_is_refused(density: float) -> None:
    with pytest.raises(ValueError, match=r"sparsity\.density"):
        configure("sasrec", "tiny", {"sparsity": {"density": density}})


@pytest.mark.parametrize(
    ("sparsity", "lowest"), [({"density": 0.03}, "0.031"), ({"density": 0.06, "least": 2}, "0.062")]
)
def test_less_than_the_least_weights_a_row_are_refused(shop: "Shop", sparsity: dict[str, Any], lowest: str) -> None:
    with pytest.raises(ValueError, match=f"of 32 weights a row; allowed: {lowest} to 1"):
        fitted(shop, "sasrec", sparsity)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "lightgcn"])
def test_linear_layers_can_be_thinned_out_too(shop: "Shop", name: str, tmp_path: Path) -> None:
    model = fitted(shop, name, {"layers": True, "num_updates": 10})
    layer = {"gru4rec": "project"}.get(name, "blocks.0.widen")
    assert f"{layer}.values" in model.state()
    assert f"{layer}.weight" not in model.state()
    save(tmp_path / "model", model, "v1", date(2024, 3, 9))
    again = load(tmp_path / "model", model.catalogue, "v1")
    everything = np.ones(shop.num_items, bool)
    ours, theirs = model.topk(shop.histories, 5, everything), again.topk(shop.histories, 5, everything)
    assert (ours[0] == theirs[0]).all()
    later = fitted(
        shop, name, {"layers": True, "num_updates": 0}, num_epochs=1, start=model.state(), learning_rate=1e-9
    )
    for key, array in model.state().items():
        np.testing.assert_allclose(later.state()[key], array, atol=1e-5, err_msg=key)


def test_thinned_out_layers_learn_what_follows_what(shop: "Shop") -> None:
    validation = Validation(shop.histories, shop.targets)
    model = fitted(shop, "sasrec", {"layers": True, "density": 0.4}, num_epochs=15, validation=validation)
    found = model.topk(shop.histories, 1, np.ones(shop.num_items, bool))[0][:, 0]
    assert (found == shop.targets.items).mean() > 0.8


def test_a_network_without_a_layer_is_refused(shop: "Shop") -> None:
    with pytest.raises(ValueError, match=r"sparsity\.layers is set, and this network has no linear layer"):
        fitted(shop, "lightgcn", {"layers": True})


def test_a_network_without_a_table_is_refused() -> None:
    network = nn.Linear(1, 1)
    config = TrainingConfig(sparsity=Sparsity(density=0.5))
    with pytest.raises(ValueError, match=r"sparsity\.density is 0\.5, and this network has no table"):
        Training("fit", network, config, lambda generator, number: None, lambda batch, generator: None, None)  # type: ignore[arg-type,return-value]


def test_a_model_without_gradient_has_no_such_setting() -> None:
    with pytest.raises(ValueError, match="no setting 'sparsity'"):
        configure("markov", "tiny", {"sparsity": {"density": 0.5}})


def test_a_mistyped_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no setting 'densty': did you mean 'density'"):
        configure("sasrec", "tiny", {"sparsity": {"densty": 0.5}})


def test_compiling_sparse_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="compile works with dense tables only"):
        configure("sasrec", "tiny", {"sparsity": {"density": 0.5}, "compile": True})


def test_the_chosen_configuration_keeps_the_pace_of_rewiring() -> None:
    config = TrainingConfig(num_epochs=9, sparsity=Sparsity(density=0.5))
    assert config.stopped_at({"fit": 4}).horizon == 9
    assert TrainingConfig(num_epochs=9).stopped_at({"fit": 4}).horizon == 4


def test_dense_tables_are_embeddings() -> None:
    assert isinstance(make_table(5, 4, DENSE), nn.Embedding)
    assert isinstance(make_table(5, 4, Sparsity(density=0.5)), SparseTable)


@pytest.mark.parametrize("draw", [normal, nn.init.xavier_uniform_])
def test_a_table_on_no_device_draws_nothing(draw: Callable[[torch.Tensor], torch.Tensor]) -> None:
    state = torch.random.get_rng_state()
    with torch.device("meta"):
        table = make_table(5, 4, Sparsity(density=0.5))
    assert isinstance(table, SparseTable)
    table.fill(draw)
    assert (torch.random.get_rng_state() == state).all()


@given(num_rows=st.integers(1, 50), num_weights=st.integers(0, 500))
def test_even_budgets_differ_by_one_at_most(num_rows: int, num_weights: int) -> None:
    budget = even_budget(num_rows, num_weights)
    assert int(budget.sum()) == num_weights
    assert int(budget.max() - budget.min()) <= 1


@given(
    degrees=st.lists(st.integers(0, 10_000), min_size=1, max_size=40),
    dim=st.integers(2, 64),
    density=st.floats(0.1, 1),
    least=st.integers(1, 2),
)
def test_degree_budgets_are_spent_as_a_whole_within_bounds_and_favour_the_frequent(
    degrees: list[int], dim: int, density: float, least: int
) -> None:
    num_weights = max(round(density * len(degrees) * dim), least * len(degrees))
    budget = degree_budget(torch.tensor(degrees), num_weights, dim, least)
    assert int(budget.sum()) == num_weights
    assert int(budget.min()) >= least
    assert int(budget.max()) <= dim
    assert (budget[torch.tensor(degrees).argsort(stable=True)].diff() >= -1).all()


def test_spreading_a_dense_table_by_degree_leaves_it() -> None:
    table = make_table(5, 4, DENSE)
    before = next(table.parameters()).clone()
    spread_by_degree(table, np.arange(5), DENSE)
    assert (next(table.parameters()) == before).all()
    sparse = table_of()
    spread_by_degree(sparse, np.array([0, 1, 4, 9, 16, 25]), Sparsity(density=0.5))
    assert int(sparse.offsets[-1]) == len(sparse.values)
