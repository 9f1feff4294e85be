from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks import model_settings, sparsity_cells
from benchmarks.model_cells import Cell
from benchmarks.protocols import Task, load_task
from benchmarks.sparsity_cells import deciles, found_targets, measure, pruned, tables_of, to_int8_and_back
from tests.benchmarks.small_data import write_set
from tests.models.conftest import make

NUM_USERS, NUM_ITEMS = 24, 16


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """Two halves of users and items; the last item of each user is the test."""
    rows = []
    for user in range(NUM_USERS):
        for number in range(6):
            item = (user % 2) * (NUM_ITEMS // 2) + (user // 2 + number) % (NUM_ITEMS // 2)
            rows.append((user, item, "test" if number == 5 else "train"))
    data = tmp_path_factory.mktemp("data")
    write_set(data, "lightgcn_gowalla", "user_id item_id split", rows)
    small = {("lightgcn_gowalla", "lightgcn"): {"dim": 8, "num_epochs": 4, "batch_size": 32, "num_negatives": 8}}
    settings: Mapping[tuple[str, str], Mapping[str, Any]] = {**model_settings.SETTINGS, **small}
    with pytest.MonkeyPatch.context() as context:
        context.setattr(model_settings, "SETTINGS", settings)
        yield load_task("lightgcn_gowalla", data)


NUM_ROWS = NUM_USERS + NUM_ITEMS + 2


@pytest.fixture(scope="module")
def cells(task: Task) -> dict[str, Cell]:
    forms = ("lightgcn", *(f"lightgcn_{name}" for name in ("density_20", "static", "dim_5", "mf_density_20")))
    found = [measure(task, form, seed=0) for form in forms]
    return {name.removeprefix("lightgcn"): cell for cells in found for name, cell in cells.items()}


def test_files_and_states_take_what_is_counted_by_hand(cells: dict[str, Cell]) -> None:
    live = round(0.2 * 8 * NUM_USERS) + round(0.2 * 8 * (NUM_ITEMS + 2))
    offsets = 4 * (NUM_ROWS + 2)
    header = 500
    expected = {
        "": 4 * 8 * NUM_ROWS,
        "_dim_5": 4 * 5 * NUM_ROWS,
        "_density_20": 5 * live + offsets,
        "_static": 5 * live + offsets,
        "_pruned_20": 5 * live + offsets,
        "_int8": (8 + 4) * NUM_ROWS,
    }
    for form, size in expected.items():
        assert size <= cells[form].numbers["file_bytes"] <= size + header
    states = {"": 16 * 8 * NUM_ROWS, "_density_20": 17 * live + offsets, "_dim_5": 16 * 5 * NUM_ROWS}
    assert {form: cells[form].numbers["state_bytes"] for form in states} == states


def test_what_was_ever_live_is_more_than_the_density_only_where_weights_are_rewired(cells: dict[str, Cell]) -> None:
    shares = {form: cell.numbers["ever_live"] for form, cell in cells.items()}
    assert shares[""] == shares["_pruned_20"] == shares["_int8"] == 1
    assert shares["_static"] == 0.2
    assert 0.25 < shares["_density_20"] <= 1
    assert 0.25 < shares["_mf_density_20"] <= 1


def test_the_test_is_asked_and_told_by_degree(cells: dict[str, Cell]) -> None:
    dense = cells[""]
    assert set(dense.values) == {"recall@20", "ndcg@20"}
    assert all(len(per_case) == NUM_USERS for per_case in dense.values.values())
    groups = [dense.numbers[f"items_{number}"] for number in range(10)]
    assert np.mean(groups) == pytest.approx(dense.values["recall@20"].mean(), abs=0.05)
    assert np.isnan(dense.numbers["correlation"])
    assert dense.numbers["epochs"] == 4
    assert (dense.values["ndcg@20"] != cells["_pruned_20"].values["ndcg@20"]).any()


def test_a_form_without_tables_is_refused(task: Task) -> None:
    with pytest.raises(AssertionError, match="popular has no tables"):
        measure(task, "popular", seed=0)


def test_tables_are_told_from_other_weights() -> None:
    whole, sparse = np.zeros((2, 3)), {"offsets": np.zeros(3), "columns": np.zeros(2), "values": np.zeros(2)}
    state = {"items.weight": whole, "positions.weight": whole, "norm.weight": np.zeros(3)}
    assert list(tables_of(state)) == ["items"]
    found = tables_of({**{f"tower.table.{part}": array for part, array in sparse.items()}, "norm.weight": np.zeros(3)})
    assert list(found) == ["tower.table"]
    assert set(found["tower.table"]) == set(sparse)


def test_rounding_is_off_by_half_a_step_at_most() -> None:
    table = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    steps = np.abs(table).max(axis=1, keepdims=True) / 127
    assert (np.abs(to_int8_and_back(table) - table) <= steps * 0.501).all()


def test_pruning_keeps_the_largest_weights() -> None:
    table = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    kept = pruned(table, 0.1)
    assert np.count_nonzero(kept) == 20
    assert np.abs(kept[kept != 0]).min() > np.abs(table[kept == 0]).max()


def test_deciles_are_of_as_many_cases_in_order_of_degree() -> None:
    degrees = np.random.default_rng(0).integers(0, 50, 100)
    groups = deciles(degrees)
    assert [len(group) for group in groups] == [10] * 10
    assert all(degrees[low].max() <= degrees[high].min() for low, high in pairwise(groups))


def test_a_target_is_found_in_the_list_of_its_own_case() -> None:
    lists = np.array([[3, 4], [5, 6]], np.int32)
    assert found_targets(lists, make([4, 5], [5, 3])).tolist() == [True, False, True, False]


def test_the_program_that_rewires_is_put_back(cells: dict[str, Cell]) -> None:
    assert sparsity_cells.rewiring.rewire.__name__ == "rewire"
