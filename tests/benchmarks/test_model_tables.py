from pathlib import Path

import numpy as np
import pytest

from benchmarks.model_cells import Cell
from benchmarks.model_tables import headline, slices
from benchmarks.protocols import Task, load_task
from tests.benchmarks.small_data import at, write_set

NUM_CASES = 200


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """200 users: the target of the first 150 has no event to learn from, that of the others 50."""
    data = tmp_path_factory.mktemp("data")
    rows = [
        (user, item, at(place), place)
        for user in range(NUM_CASES)
        for place, item in enumerate([1, 2, 3, 4, 100 + user] if user < 150 else [5, 6, 7, 4, 8 + (user < 151)])
    ]
    write_set(data, "movielens_1m", "user_id item_id timestamp seq", rows, item_id=range(400), category=["x"] * 400)
    return load_task("movielens_1m", data)


def cell(task: Task, value: float, *, seconds: float = 2.0, **more: float) -> Cell:
    """Every metric of the first half of the cases is `value`, of the others 0."""
    values = np.where(np.arange(NUM_CASES) < NUM_CASES / 2, value, 0.0)
    numbers = {"fit_seconds": 3.0, "rank_seconds": seconds, "epochs": 1.0, "coverage": 0.25, "peak_mib": 1500.0}
    return Cell(dict.fromkeys(task.metrics, values), numbers | more)


def test_a_row_has_means_over_seeds_their_spread_and_the_difference_to_the_best_cheap_model(task: Task) -> None:
    cells = {
        "sasrec": [cell(task, 0.5), cell(task, 0.7, refit_seconds=4.0)],
        "markov": [cell(task, 0.4)],
        "popular": [cell(task, 0.2, seconds=0.1)],
    }
    title, _, head, _, sasrec, markov, popular = headline(task, cells).splitlines()
    assert title == "### movielens_1m, P2 (leave-one-out): 200 cases"
    columns = [column.strip() for column in head.strip("|").split("|")]
    assert "minus markov" in columns
    rows = [dict(zip(columns, row.strip("| ").split(" | "), strict=False)) for row in (sasrec, markov, popular)]
    assert [row["ndcg@10 ± sd"] for row in rows] == ["0.3000 ± 0.0707", "0.2000", "0.1000"]
    assert rows[0]["fit s"] == "5.0"  # (3 + 3 + 4) / 2
    assert [row["lists/s"] for row in rows] == ["100", "100", "2,000"]
    assert rows[1]["minus markov"].strip() == ""
    assert rows[2]["minus markov"].startswith("-0.1000 (-0.1")
    assert rows[0]["minus markov"].startswith("+0.1000 (+0.0")
    assert (rows[0]["coverage"], rows[0]["peak MiB"]) == ("0.25", "1,500")


def test_the_first_model_is_compared_with_where_no_cheap_one_is_shown(task: Task) -> None:
    assert "minus gru4rec" in headline(task, {"sasrec": [cell(task, 0.1)], "gru4rec": [cell(task, 0.2)]})


def test_a_model_can_be_chosen_to_compare_with_in_all_and_by_slice(task: Task) -> None:
    cells = {"markov": [cell(task, 0.4)], "unirec": [cell(task, 0.5)], "sasrec": [cell(task, 0.3)]}
    head, _, *rows = headline(task, cells, "sasrec").splitlines()[2:]
    assert " minus sasrec " in head
    assert ["+0.0500 (+0.0" in row for row in rows] == [True, False, False]
    assert ["+0.1000 (+0.0" in row for row in rows] == [False, True, False]
    _, _, title, table = slices(task, cells, "sasrec").split("\n\n")[:4]
    assert title == "Minus sasrec, paired:"
    assert [row.split(" | ")[0] for row in table.splitlines()[2:]] == ["| markov", "| unirec"]
    assert table.splitlines()[3].startswith("| unirec | +0.1000 (+0.0")


def test_a_slice_of_few_cases_gives_no_verdict(task: Task) -> None:
    text = slices(task, {"markov": [cell(task, 0.4), cell(task, 0.8)]})
    head, _, row = text.split("\n\n")[1].splitlines()
    assert head == "| model | target_0 (200) | history_1_5 (200) | uneven_users (120) | rare_targets (200) |"
    assert row.startswith("| markov | 0.3000 | 0.3000 | ")
    assert row.endswith(" | 0.3000 |")
    assert "Under 100 cases, so without a verdict: target_1_10 (0)," in text


def test_a_file_of_a_cell_is_whole_or_not_there(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = cell(task, 0.25, refit_seconds=1.5)
    path = tmp_path / "new" / "cell.npz"
    measured.save(path)
    read = Cell.read(path)
    assert read.numbers == measured.numbers
    assert {name: values.tolist() for name, values in read.values.items()} == {
        name: values.tolist() for name, values in measured.values.items()
    }
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cell(task, 0.75).save(path)
    assert Cell.read(path).values["hit@10"].max() == 0.25
