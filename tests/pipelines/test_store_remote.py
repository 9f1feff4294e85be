"""A store whose root is a URL: in memory, and on a server that speaks S3."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from pipelines.errors import InputError
from pipelines.store import Part, Store, Write
from pipelines.store_remote import open_files
from tests.pipelines.small_parts import DAYS, names, part, publish, publish_night, publish_slices, said
from tests.pipelines.small_s3 import BUCKET, s3_server

FIRST, SECOND, _ = DAYS
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def memory() -> Iterator[None]:
    """Forget what is in memory: it is one for the whole process."""
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    request.getfixturevalue("memory" if request.param == "memory" else "server")
    root = "memory://shop" if request.param == "memory" else BUCKET
    return Store(f"{root}/{tmp_path.name}", tmp_path / "work")


def _elsewhere(store: Store) -> Store:
    """The store as another machine sees it, which has none of its files."""
    return Store(store.root, store.work.with_name("elsewhere"))


def test_what_one_machine_publishes_another_reads(store: Store) -> None:
    publish(store, "t", part(store, FIRST, "", "a"), part(store, SECOND, "", "b"))
    publish_night(store, SECOND, "c")
    other = _elsewhere(store)
    assert (other.version(), other.partitions("t")) == (2, [date(2026, 1, 1), date(2026, 1, 2)])
    assert other.paths(other.parts("t")) == [
        f"{store.root}/runs/{run}.parquet" for run in (f"a/t/{FIRST}_", f"c/t/{SECOND}_")
    ]
    assert said(other) == [(FIRST, "", "a", 1), (SECOND, "", "c", 2)]
    assert not store.is_local
    assert store.scratch == store.work / "scratch"


def test_a_local_copy_is_read_in_place_of_the_remote_file(store: Store) -> None:
    publish_night(store, FIRST, "a")
    other = _elsewhere(store)
    (one,) = other.parts("t")
    assert store.locate(one) == str(store.work / one.path)
    assert other.locate(one) == f"{store.root}/{one.path}"
    assert other.fetch(one) == other.work / one.path
    assert other.locate(one) == str(other.work / one.path)
    assert names(other.work) == [one.path]


def test_many_parts_are_downloaded_at_once_and_only_those_that_are_missing(store: Store) -> None:
    publish(store, "t", *(part(store, FIRST, slice_, slice_) for slice_ in "abc"))
    other = _elsewhere(store)
    parts = other.parts("t")
    other.fetch(parts[1]).write_text("here already")
    paths = other.fetch_all([*parts, parts[0]])
    assert [path.read_text() for path in paths] == ["a", "here already", "c", "a"]
    assert paths == [other.work / p.path for p in [*parts, parts[0]]]
    assert names(other.work) == sorted(p.path for p in parts)


def test_a_folder_of_a_checkpoint_goes_there_and_comes_back(store: Store) -> None:
    folder = store.run_folder("r", "checkpoints") / FIRST
    for name in ("sasrec/serving/weights", "sasrec/serving/header.json", "sasrec/evaluation/weights", "sasrec2/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    publish(store, "checkpoints", Part(FIRST, "sasrec", f"runs/r/checkpoints/{FIRST}/sasrec", 0, "hash"))
    other = _elsewhere(store)
    local = other.fetch(other.parts("checkpoints")[0])
    assert {name: (local / name).read_text() for name in names(local)} == {
        name: f"sasrec/{name}" for name in ("serving/weights", "serving/header.json", "evaluation/weights")
    }
    with pytest.raises(InputError, match="files of the store are gone"):
        other.fetch(Part(FIRST, "sasrec2", f"runs/r/checkpoints/{FIRST}/sasrec2", 0, "hash"))


def _publish_numbers(store: Store, num_parts: int, rows: int) -> None:
    """One part a day, which hold the numbers from 0 on."""
    parts = []
    for n in range(num_parts):
        day = (date(2026, 1, 1) + timedelta(days=n)).isoformat()
        path = store.run_folder("r", "t") / f"{day}.parquet"
        pq.write_table(pa.table({"n": range(n * rows, (n + 1) * rows)}), path, row_group_size=rows // 4)
        parts.append(Part(day, "", path.relative_to(store.work).as_posix(), rows, f"{n}"))
    publish(store, "t", *parts)


def test_duckdb_reads_the_parts_where_they_lie_from_several_threads(store: Store) -> None:
    _publish_numbers(store, 4, 1000)
    other = _elsewhere(store)
    select = f"select count(*), sum(n), min(n), max(n) from read_parquet({other.paths(other.parts('t'))})"
    expected = (4000, 4000 * 3999 // 2, 0, 3999)
    with duckdb.connect(config={"threads": 4}) as con:
        for _ in range(2):
            other.register(con)
        assert con.execute(select).fetchone() == expected
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: con.cursor().execute(select).fetchone(), range(3)))
    assert answers == [expected] * 3
    assert not other.work.exists()


def test_a_local_store_has_nothing_to_register(tmp_path: Path) -> None:
    with duckdb.connect() as con:
        Store(tmp_path).register(con)
        assert con.list_filesystems() == []


def test_a_remote_store_is_rolled_back(store: Store) -> None:
    publish(store, "t", part(store, FIRST, "", "a"), part(store, SECOND, "", "b"))
    publish_night(store, SECOND, "c")
    other = _elsewhere(store)
    other.rollback("t", 1)
    assert said(store) == [(FIRST, "", "a", 1), (SECOND, "", "b", 3)]
    assert [(state.version, state.partitions) for state in store.history("t")] == [
        (3, (SECOND,)), (2, (SECOND,)), (1, (FIRST, SECOND)),
    ]  # fmt: skip
    store.files.delete([store.parts("t")[1].path])
    store.rollback("t", 2)
    with pytest.raises(InputError, match=f"files of the store are gone(.|\n)*runs/b/t/{SECOND}_.parquet"):
        store.rollback("t", 1)


def test_threads_that_publish_at_once_lose_nothing(store: Store) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda writer: publish_slices(Store(store.root, store.work), str(writer), 3), range(3)))
    assert {p.slice for p in store.parts("t")} == {f"{w}-{n}" for w in range(3) for n in range(3)}
    assert sorted(p.version for p in store.parts("t")) == list(range(1, 10))


@pytest.mark.usefixtures("server")
def test_processes_that_publish_at_once_lose_nothing(tmp_path: Path) -> None:
    root = f"{BUCKET}/{tmp_path.name}"
    program = f"""
import sys
from pathlib import Path
from pipelines.store import Store
from tests.pipelines.small_parts import publish_slices
publish_slices(Store({root!r}, Path(sys.argv[1])), sys.argv[2], 4)
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / str(n)), str(n)], cwd=ROOT) for n in range(2)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    store = Store(root, tmp_path / "reader")
    assert [entry[:3] for entry in said(store)] == sorted(
        (FIRST, f"{w}-{n}", f"{w}-{n}") for w in range(2) for n in range(4)
    )
    assert sorted(p.version for p in store.parts("t")) == list(range(1, 9))


class _Cut(Exception):
    """The end of a process, or of its network."""


def _cut_before(step: int, filesystem: Any, patch: pytest.MonkeyPatch) -> None:
    """Let the request of this number fail."""
    numbers = count(1)

    def counted(act: Any) -> Any:
        def request(*arguments: Any, **options: Any) -> Any:
            if next(numbers) == step:
                raise _Cut
            return act(*arguments, **options)

        return request

    for name in ("ls", "cat_file", "pipe_file", "put_file", "exists"):
        patch.setattr(filesystem, name, counted(getattr(filesystem, name)))


def _is_published(store: Store, writes: list[Write]) -> bool:
    try:
        store.publish(writes)
    except InputError as error:
        if isinstance(error.__cause__, _Cut):
            return False
        raise
    return True


@pytest.mark.usefixtures("memory")
def test_a_process_that_ends_at_any_request_publishes_all_of_its_tables_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, finished = [], False
    for step in count(1):
        store = Store(f"memory://shop/{step}", tmp_path / str(step))
        store.publish([Write("t", (part(store, FIRST),)), Write("s", (part(store, FIRST, "", "b", "s"),))])
        writes = [Write("t", (part(store, FIRST, "", "c"),)), Write("s", (part(store, FIRST, "", "d", "s"),))]
        with monkeypatch.context() as patch:
            _cut_before(step, store.files.filesystem, patch)
            finished = _is_published(store, writes)
        seen.append((said(store), said(store, "s")))
        if finished:
            break
    old = ([(FIRST, "", "a", 1)], [(FIRST, "", "b", 1)])
    new = ([(FIRST, "", "c", 2)], [(FIRST, "", "d", 2)])
    assert len(seen) > 6
    assert seen == [old] * (len(seen) - 1) + [new]


@pytest.mark.usefixtures("memory")
def test_a_server_that_ignores_the_condition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("memory://careless", tmp_path)
    write = store.files.filesystem.pipe_file
    monkeypatch.setattr(store.files.filesystem, "pipe_file", lambda path, value, mode="": write(path, value))
    with pytest.raises(InputError, match="this place cannot hold a store"):
        publish_night(store, FIRST, "a")
    assert store.version() == 0
    assert store.files.names("manifests") == []


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("code", [errno.EBUSY, errno.EINVAL], ids=["409", "412 without a word"])
def test_an_answer_that_means_someone_was_faster_is_understood(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    files = open_files("memory://shop")
    assert files.create("manifests/1.json", b"first")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(files.filesystem, "pipe_file", refuse)
    assert not files.create("manifests/1.json", b"second")
    if code == errno.EBUSY:  # the one who was faster may not have come to its end
        assert not files.create("manifests/2.json", b"second")
    else:
        with pytest.raises(InputError, match="cannot be reached"):
            files.create("manifests/2.json", b"second")


@pytest.mark.usefixtures("server")
def test_what_another_client_writes_is_seen_at_once(tmp_path: Path) -> None:
    files = open_files(f"{BUCKET}/{tmp_path.name}")
    other = S3FileSystem(skip_instance_cache=True)
    for number in range(3):
        assert len(files.names("manifests")) == number
        assert not files.exists(f"manifests/{number}.json")
        other.pipe_file(f"{files.root}/manifests/{number}.json", b"")


@pytest.mark.usefixtures("server")
def test_a_bucket_that_does_not_exist_is_told_before_anything_is_published(tmp_path: Path) -> None:
    store = Store("s3://no-such-bucket/store", tmp_path)
    assert store.parts("t") == []
    with pytest.raises(
        InputError, match=r"cannot be reached(.|\n)*s3://no-such-bucket/store(.|\n)*bucket does not exist"
    ):
        publish_night(store, FIRST, "a")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nosuch://bucket/x", "nosuch"),
        ("hdfs+nosuch://bucket/x", "nosuch"),
        ("s3://bucket/a*b", "pattern"),
        ("s3://bucket/[a]", "pattern"),
    ],
)
def test_a_url_that_cannot_be_opened_is_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"the store cannot be opened(.|\n)*{told}(.|\n)*s3://bucket/folder"):
        Store(url, tmp_path)


def test_a_store_of_the_former_format_is_refused(store: Store) -> None:
    store.files.write({"manifest.json": b'{"version": 1}'})
    with pytest.raises(InputError, match=r"another version(.|\n)*manifest.json\n  value:   1\n  allowed: 2\n"):
        store.version()


def test_a_local_copy_that_is_lost_comes_back(store: Store) -> None:
    publish_night(store, FIRST, "a")
    shutil.rmtree(store.work)
    assert said(store) == [(FIRST, "", "a", 1)]
    assert names(store.work) == [f"runs/a/t/{FIRST}_.parquet"]


def test_a_store_at_a_url_needs_a_folder_to_work_in() -> None:
    with pytest.raises(ValueError, match="memory://shop needs a local folder"):
        Store("memory://shop")
