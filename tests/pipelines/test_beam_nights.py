"""Whole nights, from logs to lists, give on Beam the rows that they give on the local engine."""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines import beam_shards
from pipelines.errors import InputError
from pipelines.log_stages import build_interactions
from pipelines.night import Night
from pipelines.store import RUNS, Store
from tests.pipelines.beam_runners import HOSTILE, LAST, copy_of, job_service, run_nights, shop, tables, write_logs
from tests.pipelines.small_log import at, day, event, put, put_log, rows_of

TWICE = {"options": {"direct_runner_bundle_repeat": 1}}


@dataclass(frozen=True)
class History:
    """The shop on the night before the last, and the rows of every table after the last."""

    store: Store
    rows: dict[str, Counter[str]]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    before = shop(tmp_path_factory.mktemp("shop"))
    write_logs(before.folder)
    store = run_nights(before, [(0, LAST - 1)])
    after = copy_of(store, tmp_path_factory.mktemp("after")).model_copy(update={"engine": "local"})
    return History(store, tables(run_nights(after, [(LAST, LAST)])))


def test_the_shop_has_what_is_hard(history: History) -> None:
    sessions = rows_of(history.store, "sessions")
    assert {row["user_id"] for row in sessions} >= {None, "owl", "whale", *HOSTILE}
    assert any(row["started_at"].date() < row["ended_at"].date() for row in sessions)
    items = Counter(rows_of(history.store, "interactions", "item_id"))
    assert items["hot"] > items.total() / 3
    assert all(rows for table, rows in history.rows.items() if table != "metrics")


def test_a_night_goes_on_from_what_another_engine_published(history: History, tmp_path: Path) -> None:
    store = run_nights(copy_of(history.store, tmp_path, buckets=1), [(LAST, LAST)])
    assert tables(store) == history.rows


def test_every_bundle_twice_and_files_in_pieces_give_the_same_and_leave_nothing(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam_shards, "ROW_GROUP_SIZE", 300)
    settings, former = copy_of(history.store, tmp_path, buckets=3, **TWICE), files(history.store)
    store = run_nights(settings, [(LAST, LAST)])
    assert tables(store) == history.rows
    published = tuple(part.path for table in [*history.rows, "checkpoints"] for part in store.parts(table))
    assert [path for path in files(store) - former if not path.startswith(published)] == []
    assert [path.name for path in store.scratch.iterdir()] == ["training_arrays"]  # for the next model of the night


def files(store: Store) -> set[str]:
    """Files of all runs."""
    return {str(path.relative_to(store.work)) for path in (store.work / RUNS).rglob("*") if path.is_file()}


def test_a_portable_runner_gives_the_same(history: History, tmp_path: Path) -> None:
    with job_service() as runner:
        store = run_nights(copy_of(history.store, tmp_path, **runner, buckets=2), [(LAST, LAST)])
    assert tables(store) == history.rows


def test_more_buckets_than_keys_and_a_night_without_events(tmp_path: Path) -> None:
    found = []
    for name, more in {"local": {}, "beam": {"engine": "beam", "beam": {"buckets": 5}}}.items():
        settings = shop(tmp_path / name, **more)
        put_log(settings.folder, 0, [event("u", "a", at(1)), event("u", "b", at(1.1)), event(None, "b", at(2), "s")])
        found.append(tables(run_nights(settings, [(0, 0), (1, 1)])))
    assert found[0] == found[1]
    assert found[0]["recommendations"]


@pytest.fixture
def memory() -> Iterator[None]:
    """Forget what is in memory: it is one for the whole process."""
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.mark.usefixtures("memory")
def test_a_store_at_a_url_gives_the_same(history: History, tmp_path: Path) -> None:
    """The second night runs on a machine that has none of the files of the first."""
    found: dict[str, Counter[str]] = {}
    for number, (first, last) in enumerate([(0, LAST - 1), (LAST, LAST)]):
        storage = {"root": "memory://shop", "work": str(tmp_path / f"machine {number}"), "memory_limit": "500MB"}
        settings = shop(tmp_path, engine="beam", beam={"buckets": 2}, store=storage)
        write_logs(tmp_path)
        found = tables(run_nights(settings, [(first, last)]))
    assert found == history.rows


def test_a_damaged_file_is_told_as_on_the_local_engine(tmp_path: Path) -> None:
    errors = []
    for engine in ("local", "beam"):
        settings = shop(tmp_path, engine=engine, events={"path": "logs/{day}.csv.gz"})
        for number in range(4):
            content = gzip.compress(b"user,session,item,time\nu,,i,2026-01-01\n" * 99)
            put(tmp_path, f"logs/{day(number)}.csv.gz", content[:-9] if number in (1, 2) else content)
        with pytest.raises(InputError) as caught:
            build_interactions(Night(settings, settings.open_store(), day(0), day(3), f"run-{engine}"))
        errors.append(vars(caught.value))
    assert errors[0] == errors[1]
    assert errors[0]["where"] == str(tmp_path / f"logs/{day(1)}.csv.gz")
    runs = (settings.open_store().work / RUNS / "run-beam").rglob("*")
    assert [path for path in runs if path.is_file()] == []
