import json
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.store import ATTEMPTS, Part, Store, Write
from tests.pipelines.small_parts import DAYS, killed, names, part, publish, publish_night, publish_slices, said

FIRST, SECOND, THIRD = DAYS
days = st.sampled_from(DAYS)
slices = st.sampled_from(("", "a", "b"))
contents = st.sampled_from("xyz")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_store_that_nobody_wrote_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.parts("sessions") == []
    assert store.partitions("sessions") == []
    assert store.version() == 0
    assert not (tmp_path / "none").exists()


def test_parts_come_back_in_order_and_within_the_range_that_is_asked_for(store: Store) -> None:
    publish(store, "t", part(store, THIRD), part(store, FIRST, "b"), part(store, FIRST, "a"), part(store, SECOND))
    assert [(p.partition, p.slice) for p in store.parts("t")] == [
        (FIRST, "a"), (FIRST, "b"), (SECOND, ""), (THIRD, ""),
    ]  # fmt: skip
    first, second = date(2026, 1, 1), date(2026, 1, 2)
    assert [p.partition for p in store.parts("t", since=second)] == [SECOND, THIRD]
    assert [p.slice for p in store.parts("t", until=first)] == ["a", "b"]
    assert [p.slice for p in store.parts("t", since=first, until=second, slices=["b", ""])] == ["b", ""]
    assert store.partitions("t", until=second) == [first, second]
    assert store.paths(store.parts("t", since=second, until=second)) == [f"{store.root}/runs/a/t/{SECOND}_.parquet"]


def test_a_write_replaces_its_partitions_and_slices_and_no_other_part(store: Store) -> None:
    publish(store, "t", *(part(store, day, slice_) for day in DAYS for slice_ in "ab"))
    publish(store, "other", part(store, FIRST, "a"))
    fresh = part(store, SECOND, "a", "new")
    publish(store, "t", fresh, partitions=frozenset({SECOND}), slices=frozenset({"a"}))
    assert said(store) == [
        (FIRST, "a", "a", 1), (FIRST, "b", "a", 1), (SECOND, "a", "new", 3), (SECOND, "b", "a", 1),
        (THIRD, "a", "a", 1), (THIRD, "b", "a", 1),
    ]  # fmt: skip
    assert said(store, "other") == [(FIRST, "a", "a", 2)]


def test_a_write_by_slice_takes_away_parts_that_it_no_longer_has(store: Store) -> None:
    publish(store, "t", part(store, FIRST, "a"), part(store, SECOND, "a"), part(store, SECOND, "b"))
    publish(store, "t", part(store, SECOND, "a", "new"), slices=frozenset({"a"}))
    assert said(store) == [(SECOND, "a", "new", 2), (SECOND, "b", "a", 1)]
    publish(store, "t", slices=frozenset({"b"}))
    assert said(store) == [(SECOND, "a", "new", 2)]
    assert store.version() == 3


@given(st.lists(st.tuples(st.frozensets(days, max_size=2), st.frozensets(slices, max_size=2), contents), max_size=6))
@hypothesis_settings(max_examples=30, deadline=None)
def test_any_row_of_writes_leaves_what_a_plain_dictionary_would_hold(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[frozenset[str], frozenset[str], str]]
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    expected, version = dict[tuple[str, str], tuple[str, int]](), 0
    for partitions, chosen, content in writes:
        keys = [(day, name) for day in partitions or DAYS for name in chosen or ("", "a", "b")]
        new = [part(store, day, name, content) for day, name in keys]
        publish(store, "t", *new, partitions=partitions, slices=chosen)
        changed = [key for key in keys if expected.get(key, ("", 0))[0] != content]
        version += bool(changed)
        expected |= dict.fromkeys(changed, (content, version))
    assert said(store) == [(*key, *expected[key]) for key in sorted(expected)]
    assert store.version() == version


def test_a_part_that_says_the_same_is_no_change(store: Store) -> None:
    publish(store, "t", part(store, FIRST, "", "a"), part(store, SECOND, "", "b"))
    before = store.parts("t")
    again = [Part(p.partition, p.slice, f"runs/again/{p.path}", p.num_rows, p.sha256) for p in before]
    publish(store, "t", *again)
    assert store.parts("t") == before
    assert store.version() == 1
    publish(store, "t", again[0], part(store, SECOND, "", "c"))
    assert said(store) == [(FIRST, "", "a", 1), (SECOND, "", "c", 2)]
    assert store.parts("t")[0] == before[0]


def test_a_part_whose_file_is_gone_is_published_anew_though_it_says_the_same(store: Store) -> None:
    publish_night(store, FIRST, "a")
    (store.work / "runs/a").rename(store.work / "runs/lost")
    again = Part(FIRST, "", f"runs/lost/t/{FIRST}_.parquet", 1, store.parts("t")[0].sha256)
    publish(store, "t", again)
    assert said(store) == [(FIRST, "", "a", 2)]


def test_the_tables_of_one_publish_become_visible_together_and_no_other_list_is_written(store: Store) -> None:
    writes = [Write("t", (part(store, FIRST),)), Write("s", (part(store, SECOND, "", "b", "s"),))]
    store.publish(writes, run="r1")
    publish_night(store, SECOND, "c", run="r2")
    first, second = (json.loads((store.work / f"manifests/000000000{n}.json").read_text()) for n in (1, 2))
    assert (first["version"], first["number"], first["run"], first["changed"]) == (2, 1, "r1", ["s", "t"])
    assert (second["version"], second["number"], second["run"], second["changed"]) == (2, 2, "r2", ["t"])
    assert second["tables"]["s"] == first["tables"]["s"]
    assert names(store.work / "manifests/tables") == sorted({*first["tables"].values(), second["tables"]["t"]})


def test_a_reader_opens_the_lists_of_the_tables_that_it_asks_for_and_no_other(store: Store) -> None:
    store.publish([Write("t", (part(store, FIRST),)), Write("s", (part(store, FIRST, "", "b", "s"),))])
    (broken,) = (store.work / "manifests/tables").glob("s-*")
    broken.write_text("{")
    reader = Store(store.root)
    assert [p.version for p in reader.parts("t")] == [1]
    with pytest.raises(InputError, match="broken"):
        reader.parts("s")


def test_a_reader_sees_what_another_publishes_at_its_next_call(store: Store) -> None:
    publish_night(store, FIRST, "a")
    reader = Store(store.root)
    assert said(reader) == [(FIRST, "", "a", 1)]
    publish_night(store, FIRST, "b")
    assert said(reader) == [(FIRST, "", "b", 2)]


def test_what_a_run_wrote_is_invisible_until_published(store: Store) -> None:
    publish_night(store, FIRST, "a")
    folder = store.run_folder("r1", "t")
    (folder / "2026-01-02.parquet").write_bytes(b"new")
    assert folder == store.work / "runs/r1/t"
    assert said(store) == [(FIRST, "", "a", 1)]


def test_a_process_that_is_killed_at_any_step_publishes_all_of_its_tables_or_none(tmp_path: Path) -> None:
    template = Store(tmp_path / "template")
    template.publish([Write("t", (part(template, FIRST),)), Write("s", (part(template, FIRST, "", "b", "s"),))])
    seen = []
    for step in count(1):
        store = Store(shutil.copytree(template.root, tmp_path / str(step)))
        writes = [Write("t", (part(store, FIRST, "", "c"),)), Write("s", (part(store, FIRST, "", "d", "s"),))]
        finished = not killed(partial(store.publish, writes), step)
        seen.append((said(store), said(store, "s")))
        publish_night(store, SECOND, "e")
        assert [entry[:3] for entry in said(store)] == [(FIRST, "", seen[-1][0][0][2]), (SECOND, "", "e")]
        if finished:
            break
    old = ([(FIRST, "", "a", 1)], [(FIRST, "", "b", 1)])
    new = ([(FIRST, "", "c", 2)], [(FIRST, "", "d", 2)])
    turn = seen.index(new)
    assert turn > 8, "steps before the one that publishes"
    assert seen == [old] * turn + [new] * (len(seen) - turn)
    assert len(seen) > turn + 1, "a step after it"


def test_threads_that_publish_at_once_lose_nothing(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda writer: publish_slices(Store(store.root), str(writer), 8), range(6)))
    assert {p.slice for p in store.parts("t")} == {f"{w}-{n}" for w in range(6) for n in range(8)}
    assert sorted(p.version for p in store.parts("t")) == list(range(1, 49))


def test_processes_that_publish_at_once_lose_nothing(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=publish_slices, args=(Store(store.root), str(writer), 8)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(30)
    assert [process.exitcode for process in writers] == [0] * 4
    assert {p.slice for p in store.parts("t")} == {f"{w}-{n}" for w in range(4) for n in range(8)}
    assert sorted(p.version for p in store.parts("t")) == list(range(1, 33))


def test_a_run_does_not_replace_what_another_published_after_it_began_to_read(store: Store) -> None:
    publish_night(store, FIRST, "a", run="r0")
    seen = store.version()
    publish_night(store, FIRST, "b", run="r1")
    late = Write("t", (part(store, FIRST, "", "c"),), frozenset({FIRST}))
    with pytest.raises(
        InputError, match=rf"another run published t of {FIRST} in the meantime(.|\n)*version 2 by run r1"
    ):
        store.publish([Write("s", (part(store, FIRST, "", "s", "s"),)), late], seen=seen, run="r2")
    assert said(store) == [(FIRST, "", "b", 2)]
    assert store.parts("s") == [], "nothing of a refused write is published"
    store.publish([late], seen=store.version(), run="r2")
    assert said(store) == [(FIRST, "", "c", 3)]


def test_runs_without_a_name_are_not_taken_for_one(store: Store) -> None:
    publish_night(store, FIRST, "a")
    with pytest.raises(InputError, match=r"version 1 by run \?"):
        store.publish([Write("t", (part(store, FIRST, "", "b"),))], seen=0)


def test_a_run_does_not_drop_what_another_published_after_it_began_to_read(store: Store) -> None:
    seen = store.version()
    publish(store, "t", part(store, SECOND, "x"), run="r1")
    with pytest.raises(InputError, match=f"published t of {SECOND} in the meantime"):
        store.publish([Write("t", (part(store, FIRST, "x"),), slices=frozenset({"x"}))], seen=seen, run="r2")


@pytest.mark.parametrize(
    ("partition", "slice_", "content", "run"),
    [(FIRST, "x", "b", "r2"), (FIRST, "y", "c", "r2"), (SECOND, "x", "c", "r2"), (FIRST, "x", "c", "r1")],
    ids=["the same content", "another slice", "another partition", "the same run"],
)
def test_what_does_not_contradict_another_run_is_published(
    store: Store, partition: str, slice_: str, content: str, run: str
) -> None:
    publish(store, "t", part(store, FIRST, "x", "b"), run="r1")
    write = Write("t", (part(store, partition, slice_, content),), frozenset({partition}), frozenset({slice_}))
    store.publish([write], seen=0, run=run)
    assert (partition, slice_, content) in [entry[:3] for entry in said(store)]


def _overtaken(store: Store, monkeypatch: pytest.MonkeyPatch, overtake: Callable[[], None]) -> None:
    """Let someone else publish just before this store does, once."""
    create, done = store.files.create, list[str]()

    def late(name: str, content: bytes) -> bool:
        if not done:
            done.append(name)
            overtake()
        return create(name, content)

    monkeypatch.setattr(store.files, "create", late)


def test_who_is_overtaken_publishes_on_top_of_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_night(store, FIRST, "a")
    _overtaken(store, monkeypatch, lambda: publish_night(Store(store.root), SECOND, "b"))
    publish_night(store, THIRD, "c")
    assert said(store) == [(FIRST, "", "a", 1), (SECOND, "", "b", 2), (THIRD, "", "c", 3)]


def test_who_is_overtaken_brings_its_files_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_night(store, FIRST, "a")
    placed = list[str]()
    monkeypatch.setattr(store.files, "place", placed.extend)
    _overtaken(store, monkeypatch, lambda: publish_night(Store(store.root), SECOND, "b"))
    publish_night(store, THIRD, "c")
    assert placed == [f"runs/c/t/{THIRD}_.parquet"]


def test_who_is_overtaken_in_the_same_partition_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_night(store, FIRST, "a")
    _overtaken(store, monkeypatch, lambda: publish_night(Store(store.root), FIRST, "b", run="r1"))
    with pytest.raises(InputError, match=r"version 2 by run r1"):
        store.publish([Write("t", (part(store, FIRST, "", "c"),))], seen=1, run="r2")
    assert said(store) == [(FIRST, "", "b", 2)]


def test_who_is_always_overtaken_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_night(store, FIRST, "a")
    monkeypatch.setattr(store.files, "create", lambda *_: False)
    with pytest.raises(InputError, match=rf"too many runs(.|\n)*{ATTEMPTS} attempts"):
        publish_night(store, SECOND, "b")


def test_a_store_of_the_former_format_is_refused(store: Store) -> None:
    (store.work / "manifest.json").write_text('{"version": 1, "tables": {}}')
    for act in (store.version, lambda: store.parts("t"), lambda: publish_night(store, FIRST, "a")):
        with pytest.raises(InputError, match=r"another version(.|\n)*value:   1\n  allowed: 2\n"):
            act()


def test_a_local_store_may_work_elsewhere(tmp_path: Path) -> None:
    store = Store(tmp_path / "root", tmp_path / "work")
    publish_night(store, FIRST, "a")
    (one,) = store.parts("t")
    assert names(tmp_path / "work") == [one.path]
    assert store.locate(one) == str(tmp_path / "work" / one.path)
    shutil.rmtree(tmp_path / "work")
    assert store.locate(one) == str(tmp_path / "root" / one.path)
    assert store.fetch(one) == tmp_path / "work" / one.path
    assert (tmp_path / "work" / one.path).read_text() == "a"
    assert names(tmp_path / "work") == [one.path]


def test_a_part_may_be_a_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "root", tmp_path / "work")
    folder = store.run_folder("r", "checkpoints") / FIRST / "popular"
    for name in ("serving/weights", "serving/header.json", "evaluation/weights"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    publish(store, "checkpoints", Part(FIRST, "popular", folder.relative_to(store.work).as_posix(), 0, "hash"))
    expected = names(folder)
    shutil.rmtree(store.work)
    assert names(store.fetch(store.parts("checkpoints")[0])) == expected
    assert len(expected) == 3


def test_a_part_that_is_nowhere_is_told(store: Store) -> None:
    publish_night(store, FIRST, "a")
    (one,) = store.parts("t")
    shutil.rmtree(store.work / "runs")
    with pytest.raises(InputError, match=f"files of the store are gone(.|\n)*{one.path}"):
        store.fetch(one)
    assert names(store.work / "runs") == []


def test_a_worker_gets_the_same_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "root", tmp_path / "work")
    publish_night(store, FIRST, "a")
    other = pickle.loads(pickle.dumps(store))
    assert (other.root, other.work, said(other)) == (store.root, store.work, [(FIRST, "", "a", 1)])
