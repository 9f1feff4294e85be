import json
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.store import Part, Store, Write, write_atomically

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
days = st.sampled_from(DAYS)
slices = st.sampled_from(("", "a", "b"))


def part(partition: str, slice_: str = "", version: int = 0) -> Part:
    return Part(partition, slice_, f"runs/{version}/{partition}_{slice_}.parquet", version, f"{version:064x}")


def publish(store: Store, table: str, *parts: Part, **replaced: frozenset[str]) -> None:
    store.publish([Write(table, parts, **replaced)])


def test_a_store_that_nobody_wrote_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.parts("sessions") == []
    assert store.partitions("sessions") == []
    assert not (tmp_path / "none").exists()


def test_parts_come_back_in_order_and_within_the_range_that_is_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "t", part(DAYS[2]), part(DAYS[0], "b"), part(DAYS[0], "a"), part(DAYS[1]))
    assert [(p.partition, p.slice) for p in store.parts("t")] == [
        (DAYS[0], "a"), (DAYS[0], "b"), (DAYS[1], ""), (DAYS[2], ""),
    ]  # fmt: skip
    first, second = date(2026, 1, 1), date(2026, 1, 2)
    assert [p.partition for p in store.parts("t", since=second)] == [DAYS[1], DAYS[2]]
    assert [p.slice for p in store.parts("t", until=first)] == ["a", "b"]
    assert [p.slice for p in store.parts("t", since=first, until=second, slices=["b", ""])] == ["b", ""]
    assert store.partitions("t", until=second) == [first, second]
    assert store.paths(store.parts("t", since=second, until=second)) == [tmp_path / f"runs/0/{DAYS[1]}_.parquet"]


def test_a_write_replaces_its_partitions_and_slices_and_no_other_part(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "t", *(part(day, slice_) for day in DAYS for slice_ in "ab"))
    publish(store, "other", part(DAYS[0], "a"))
    fresh = part(DAYS[1], "a", version=1)
    publish(store, "t", fresh, partitions=frozenset({DAYS[1]}), slices=frozenset({"a"}))
    assert store.parts("t") == [
        part(DAYS[0], "a"), part(DAYS[0], "b"), fresh, part(DAYS[1], "b"), part(DAYS[2], "a"), part(DAYS[2], "b"),
    ]  # fmt: skip
    assert store.parts("other") == [part(DAYS[0], "a")]


def test_a_write_by_slice_takes_away_parts_that_it_no_longer_has(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "t", part(DAYS[0], "a"), part(DAYS[1], "a"), part(DAYS[1], "b"))
    publish(store, "t", part(DAYS[1], "a", version=1), slices=frozenset({"a"}))
    assert store.parts("t") == [part(DAYS[1], "a", version=1), part(DAYS[1], "b")]


@given(st.lists(st.tuples(st.frozensets(days, max_size=2), st.frozensets(slices, max_size=2)), max_size=6))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_row_of_writes_leaves_what_a_plain_dictionary_would_hold(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[frozenset[str], frozenset[str]]]
) -> None:
    store, expected = Store(tmp_path_factory.mktemp("store")), dict[tuple[str, str], Part]()
    for version, (partitions, names) in enumerate(writes):
        new = [part(day, name, version) for day in partitions or DAYS for name in names or ("", "a", "b")]
        publish(store, "t", *new, partitions=partitions, slices=names)
        replaced = [
            key for key in expected if (not partitions or key[0] in partitions) and (not names or key[1] in names)
        ]
        for key in replaced:
            del expected[key]
        expected |= {(p.partition, p.slice): p for p in new}
    assert store.parts("t") == [expected[key] for key in sorted(expected)]


def test_publishing_the_same_twice_leaves_the_same_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen = []
    for _ in range(2):
        publish(store, "t", part(DAYS[0], "a"), slices=frozenset({"a"}))
        publish(store, "s", part(DAYS[0]), partitions=frozenset({DAYS[0]}))
        seen.append(store.manifest_path.read_bytes())
    assert seen[0] == seen[1]


def test_the_tables_of_one_publish_become_visible_together(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish([Write("t", (part(DAYS[0]),)), Write("s", (part(DAYS[1]),))])
    manifest = json.loads(store.manifest_path.read_text())
    assert manifest["version"] == 1
    assert {name: [p["partition"] for p in parts] for name, parts in manifest["tables"].items()} == {
        "s": [DAYS[1]], "t": [DAYS[0]],
    }  # fmt: skip


def test_what_a_run_wrote_is_invisible_until_published(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "t", part(DAYS[0]))
    folder = store.run_folder("r1", "t")
    (folder / "2026-01-02.parquet").write_bytes(b"new")
    assert folder == tmp_path / "runs/r1/t"
    assert store.parts("t") == [part(DAYS[0])]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_run_that_dies_while_it_publishes_leaves_readers_with_the_old_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = Store(tmp_path)
    publish(store, "t", part(DAYS[0]))
    before = store.manifest_path.read_bytes()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, step, die)
        with pytest.raises(KeyboardInterrupt):
            publish(store, "t", part(DAYS[0], version=1))
    assert store.manifest_path.read_bytes() == before
    publish(store, "t", part(DAYS[1]), partitions=frozenset({DAYS[1]}))
    assert store.parts("t") == [part(DAYS[0]), part(DAYS[1])]


def _publish_then_die(root: Path) -> None:
    store = Store(root)
    (store.run_folder("r2", "t") / "x.parquet").write_bytes(b"half")
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    publish(store, "t", part(DAYS[0], version=2))


def test_a_killed_process_leaves_the_old_parts_and_no_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, "t", part(DAYS[0]))
    process = multiprocessing.get_context("fork").Process(target=_publish_then_die, args=(tmp_path,))
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert store.parts("t") == [part(DAYS[0])]
    publish(store, "t", part(DAYS[0], version=1))
    assert store.parts("t") == [part(DAYS[0], version=1)]


def _publish_slices(root: Path, writer: int) -> None:
    for number in range(8):
        name = f"{writer}-{number}"
        publish(Store(root), "t", part(DAYS[0], name), slices=frozenset({name}))


def test_threads_that_publish_at_once_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda writer: _publish_slices(tmp_path, writer), range(6)))
    assert {p.slice for p in Store(tmp_path).parts("t")} == {f"{w}-{n}" for w in range(6) for n in range(8)}


def test_processes_that_publish_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_publish_slices, args=(tmp_path, writer)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(30)
    assert [process.exitcode for process in writers] == [0] * 4
    assert {p.slice for p in Store(tmp_path).parts("t")} == {f"{w}-{n}" for w in range(4) for n in range(8)}


@pytest.mark.parametrize(
    "content",
    ['{"version": 1, "tables"', "[]", "null", "{}", '{"version": 1}', '{"version": 1, "tables": {"t": [{}]}}'],
)
def test_a_broken_manifest_is_told_and_not_written_over(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    store.manifest_path.write_text(content)
    for act in (lambda: store.parts("t"), lambda: publish(store, "t", part(DAYS[0]))):
        with pytest.raises(InputError, match=r"manifest of the store is broken(.|\n)*restore the file"):
            act()
    assert store.manifest_path.read_text() == content


@pytest.mark.parametrize("version", [0, 2, "1"])
def test_a_manifest_of_another_version_is_refused(tmp_path: Path, version: Any) -> None:
    store = Store(tmp_path)
    store.manifest_path.write_text(json.dumps({"version": version, "tables": {"t": [{"unheard": "of"}]}}))
    with pytest.raises(InputError, match=rf"another version(.|\n)*value:   {version}\n  allowed: 1\n"):
        store.parts("t")


def test_a_text_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "a long first text")
    write_atomically(path, "ö")
    assert path.read_bytes() == "ö".encode()
    assert list(path.parent.iterdir()) == [path]
