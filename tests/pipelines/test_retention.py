"""Day n of a test is n days after the epoch of the tests; what a test does on a day bears the time of that day."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines import store as store_module
from pipelines.retention import Pruned, prune
from pipelines.store import Store
from tests.pipelines.small_parts import DAYS, killed, names, part, publish, publish_night, said

FIRST, SECOND, THIRD = DAYS
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _time(day: int) -> datetime:
    return EPOCH + timedelta(days=day)


def _stamp(folder: Path, day: int) -> None:
    """Give everything in a folder the time of a day."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (_time(day).timestamp(),) * 2)


def _on(day: int, store: Store, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something to a local store on a day."""

    times = {path: path.stat().st_mtime for path in Path(store.root).rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "datetime", SimpleNamespace(now=lambda _: _time(day)))
        act()
    _stamp(Path(store.root), day)
    for path, time in times.items():
        if path.is_file():
            os.utime(path, (time, time))


@pytest.fixture
def four_states(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One night that was published four times, on day 0, 10, 20 and 30."""
    for day, content in ((0, "a"), (10, "b"), (20, "c"), (30, "d")):
        _on(day, store, monkeypatch, partial(publish_night, store, FIRST, content))
    return store


def _prune(store: Store, day: int, *tables: str, keep_nights: int = 2, keep_days: int = 15) -> Pruned:
    return prune(store, tables, keep_nights, keep_days, _time(day))


def _contents(store: Store) -> list[str]:
    """The contents of the parts of which there are files."""
    return sorted(path.read_text() for path in Path(store.root, "runs").rglob("*.parquet"))


def _numbers(store: Store) -> list[int]:
    return [manifest.number for manifest in store.manifests()]


def test_a_state_is_kept_for_so_long_after_it_was_replaced_and_its_files_until_the_next_pass(
    four_states: Store,
) -> None:
    store = four_states
    assert _prune(store, 24) == Pruned(0, 0, 0, 0), "the first was replaced on day 10, 14 days ago"
    assert _prune(store, 31) == Pruned(0, 1, 0, 0), "the second was replaced on day 20, 11 days ago"
    assert _numbers(store) == [2, 3, 4]
    assert _contents(store) == ["a", "b", "c", "d"]
    (gone,) = Path(store.root).glob("manifests/tables/t-0000000001-*")
    size = gone.stat().st_size
    assert _prune(store, 31) == Pruned(0, 0, 2, size + len("a"))
    assert _contents(store) == ["b", "c", "d"]
    assert not gone.exists()
    assert not Path(store.root, "runs/a").exists()
    assert [state.version for state in store.history("t")] == [4, 3, 2]
    store.rollback("t", 2)
    assert said(store) == [(FIRST, "", "b", 5)]


def test_the_newest_state_stays_however_old_it_is(four_states: Store) -> None:
    store = four_states
    for _ in range(2):
        _prune(store, 4000)
    assert _numbers(store) == [4]
    assert said(store) == [(FIRST, "", "d", 4)]
    assert [name.split("-")[0] for name in names(Path(store.root))] == [
        "manifests/0000000004.json", "manifests/tables/t", "runs/d/t/2026",
    ]  # fmt: skip
    publish_night(store, SECOND, "e")
    assert said(store) == [(FIRST, "", "d", 4), (SECOND, "", "e", 5)]


def test_of_a_perishable_table_the_newest_nights_stay_and_of_another_all(store: Store) -> None:
    publish(store, "t", *(part(store, day, name) for day in DAYS for name in "xy"))
    publish(store, "other", *(part(store, day, "", "b") for day in DAYS))
    assert prune(store, {"t", "never_written"}, 2, 30, datetime.now(UTC)) == Pruned(1, 0, 0, 0)
    assert store.partitions("t") == [date(2026, 1, 2), date(2026, 1, 3)]
    assert [p.slice for p in store.parts("t")] == ["x", "y"] * 2
    assert len(store.partitions("other")) == 3
    assert store.history("t")[0].run == "retention"
    assert prune(store, {"t"}, 2, 30, datetime.now(UTC)) == Pruned(0, 0, 0, 0)
    store.rollback("t", 1)
    assert len(store.partitions("t")) == 3, "what is dropped can be rolled back to"


def test_a_dropped_partition_leaves_the_disk_with_the_last_state_that_had_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day, (night, content) in enumerate(zip(DAYS, "abc", strict=True)):
        _on(day, store, monkeypatch, partial(publish_night, store, night, content))
    _on(3, store, monkeypatch, lambda: _prune(store, 3, "t"))
    assert said(store) == [(SECOND, "", "b", 2), (THIRD, "", "c", 3)]
    assert _prune(store, 18).num_manifests == 2, "the third was replaced on day 3, not more than 15 days ago"
    assert _prune(store, 19).num_manifests == 1
    assert _contents(store) == ["a", "b", "c"]
    _prune(store, 19)
    assert _contents(store) == ["b", "c"]


def test_what_a_run_is_writing_stays_and_what_a_dead_run_left_goes(store: Store) -> None:
    publish_night(store, FIRST, "a")
    for run in ("dead", "slow", "young"):
        part(store, SECOND, "", run)
    store.run_folder("empty", "t")
    _stamp(store.work / "runs", 0)
    part(store, THIRD, "", "slow")
    for run in ("young", "new"):
        store.run_folder(run, "t").touch()
        part(store, THIRD, "", run)
    os.utime(store.work / "runs/new/t", (EPOCH.timestamp(),) * 2)
    now = datetime.now(UTC)
    assert prune(store, (), 2, 15, now) == Pruned(0, 0, 1, len("dead"))
    assert sorted(path.name for path in (store.work / "runs").iterdir()) == ["a", "new", "slow", "young"]
    assert len(names(store.work / "runs/slow")) == 2, "the run still writes, so its first file is kept, too"


def test_a_list_that_was_never_published_goes_and_a_young_one_stays(store: Store) -> None:
    publish_night(store, FIRST, "a")
    for name in ("t-0000000002-0123.json", ".t-0000000002-0123.json.abc"):
        (store.work / "manifests/tables" / name).write_text("{}")
    _stamp(store.work / "manifests", 0)
    (store.work / "manifests/tables/t-0000000002-4567.json").write_text("{}")
    assert prune(store, (), 2, 15, datetime.now(UTC)) == Pruned(0, 0, 2, 4)
    assert len(names(store.work / "manifests/tables")) == 2
    assert said(store) == [(FIRST, "", "a", 1)]


def test_a_checkpoint_is_kept_or_deleted_as_a_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(run: str) -> None:
        folder = store.run_folder(run, "checkpoints") / "popular"
        for chain in ("serving", "evaluation"):
            (folder / chain).mkdir(parents=True)
            (folder / chain / "weights").write_text(run)
        one = part(store, FIRST, "popular", run)
        publish(store, "checkpoints", type(one)(FIRST, "popular", f"runs/{run}/checkpoints/popular", 0, run))

    _on(0, store, monkeypatch, lambda: train("r1"))
    _on(1, store, monkeypatch, lambda: train("r2"))
    for _ in range(2):
        _prune(store, 30)
    assert names(store.work / "runs") == [
        "r2/checkpoints/popular/evaluation/weights",
        "r2/checkpoints/popular/serving/weights",
    ]


def test_a_rollback_that_comes_while_old_states_go_finds_its_files(
    four_states: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, delete = four_states, four_states.files.delete

    def late(swept: Iterator[str]) -> None:
        chosen = list(swept)
        if "manifests/0000000001.json" in chosen:
            Store(store.root).rollback("t", 1)
        delete(chosen)

    monkeypatch.setattr(store.files, "delete", late)
    assert _prune(store, 31).num_manifests == 1
    monkeypatch.undo()
    for _ in range(2):
        _prune(store, 31)
    assert said(Store(store.root)) == [(FIRST, "", "a", 5)]


def _is_whole(store: Store) -> bool:
    """Tell whether all that any manifest names is there."""
    return all(Path(store.root, name).exists() for name in store.files_of(store.manifests()))


def test_a_process_that_is_killed_at_any_step_leaves_every_state_whole_and_the_next_one_ends_its_work(
    four_states: Store, tmp_path: Path
) -> None:
    publish(four_states, "t", *(part(four_states, day, "", "e") for day in DAYS))
    _prune(four_states, 31)
    template = shutil.copytree(four_states.root, tmp_path / "template")  # with files to sweep, and states that go
    for step in count(1):
        store = Store(shutil.copytree(template, tmp_path / str(step)))
        finished = not killed(partial(_prune, store, 4000, "t"), step)
        assert _is_whole(store)
        assert [entry[2] for entry in said(store)] in (["e"] * 3, ["e"] * 2)
        for _ in range(2):
            _prune(store, 4000, "t")
        assert _contents(store) == ["e", "e"]
        assert len(names(Path(store.root, "manifests"))) == 2
        if finished:
            break
    assert step > 20


def test_a_remote_store_forgets_as_a_local_one_does_and_its_local_copies_with_it(tmp_path: Path) -> None:
    store = Store("memory://shop", tmp_path)
    try:
        for content in "abc":
            publish_night(store, FIRST, content)
        later = datetime.now(UTC) + timedelta(days=16)
        assert prune(store, {"t"}, 1, 17, later) == Pruned(0, 0, 0, 0)
        assert prune(store, {"t"}, 1, 15, later) == Pruned(0, 2, 0, 0)
        assert prune(store, {"t"}, 1, 15, later).num_files == 6, "two lists, two files, and their local copies"
        assert [found.name for found in store.files.find("runs")] == names(tmp_path) == [f"runs/c/t/{FIRST}_.parquet"]
        assert said(store) == [(FIRST, "", "c", 3)]
    finally:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


def test_a_line_of_the_log_says_what_was_let_go() -> None:
    assert str(Pruned(2, 3, 4, 5 * 2**20)) == "2 partitions, 3 states of the store, 4 files (5.0 MiB)"
