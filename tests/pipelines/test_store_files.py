"""What every place of a store does alike, and what is special about a local folder."""

import errno
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.errors import InputError
from pipelines.store import Store
from pipelines.store_files import Files, LocalFiles, full_disk_is_told
from pipelines.store_remote import RemoteFiles, open_files
from tests.pipelines.small_parts import DAYS, killed, names, part, publish, said
from tests.pipelines.small_s3 import BUCKET, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture(params=["local", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    """An empty place of each kind."""
    if request.param == "local":
        yield open_files(tmp_path / "root")
    elif request.param == "memory":
        yield open_files(f"memory://{tmp_path.name}")
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
    else:
        request.getfixturevalue("server")
        yield open_files(f"{BUCKET}/{tmp_path.name}")


def test_a_place_that_nobody_wrote_is_empty(files: Files) -> None:
    assert files.names("manifests") == []
    assert files.read_all(["manifests/1.json"]) == {}
    assert files.read_all([]) == {}
    assert files.find("runs") == []
    assert not files.exists("manifests/1.json")
    files.delete(["manifests/1.json"])
    files.delete([])


def test_the_first_creates_a_file_and_no_later_one_changes_it(files: Files) -> None:
    assert files.create("manifests/1.json", b"first")
    assert not files.create("manifests/1.json", b"second")
    assert files.read_all(["manifests/1.json", "manifests/2.json"]) == {"manifests/1.json": b"first"}
    assert files.names("manifests") == ["1.json"]
    files.require_exclusive_create()
    assert files.names("manifests") == ["1.json"]


def test_of_many_who_create_a_file_at_once_one_succeeds(files: Files) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda n: files.create("manifests/1.json", b"%d" % n), range(8)))
    assert sum(created) == 1
    assert files.read_all(["manifests/1.json"]) == {"manifests/1.json": b"%d" % created.index(True)}


def test_names_are_those_of_the_files_directly_in_a_folder(files: Files) -> None:
    files.write({"manifests/1.json": b"a", "manifests/tables/2.json": b"b", "manifests2/3.json": b"c"})
    files.write({"manifests/1.json": b"new"})
    assert files.names("manifests") == ["1.json"]
    assert files.read_all(["manifests/1.json", "manifests/tables/2.json"]) == {
        "manifests/1.json": b"new", "manifests/tables/2.json": b"b",
    }  # fmt: skip


def test_files_and_folders_go_there_and_come_back(files: Files, tmp_path: Path) -> None:
    sources = {
        name: tmp_path / f"from{number}" for number, name in enumerate(("r/t/a.b", "r/u/m/c", "r/u/m/d/e", "r/u/m2"))
    }
    for name, path in sources.items():
        path.write_text(name)
    files.place(sources)
    files.fetch(["r/t/a.b", "r/u/m"], tmp_path / "to")
    assert {name: (tmp_path / "to" / name).read_text() for name in names(tmp_path / "to")} == {
        name: name for name in ("r/t/a.b", "r/u/m/c", "r/u/m/d/e")
    }
    assert [files.exists(name) for name in ("r/t/a.b", "r/u/m", "r/u", "r/t/a", "r/x")] == [True] * 3 + [False] * 2
    with pytest.raises(FileNotFoundError, match="r/x"):
        files.fetch(["r/t/a.b", "r/x"], tmp_path / "x")


def test_what_is_found_has_a_size_and_a_time_and_is_gone_when_deleted(files: Files) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 tells whole seconds
    files.write({"runs/1/t/a": b"12", "runs/1/t/b": b"", "runs/2/c": b"345", "manifests/d": b"6"})
    found = {one.name: one for one in files.find("runs")}
    assert {name: one.num_bytes for name, one in found.items()} == {"runs/1/t/a": 2, "runs/1/t/b": 0, "runs/2/c": 3}
    assert all(before < one.modified < before + timedelta(seconds=20) for one in found.values())
    files.delete(["runs/1/t/a", "runs/2/c"])
    assert [one.name for one in files.find("runs")] == ["runs/1/t/b"]


def test_a_url_is_remote_and_any_other_root_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "a", "a", f"file://{tmp_path}/a", f"{tmp_path}/b/../a"):
        files = open_files(root)
        assert isinstance(files, LocalFiles)
        assert (files.root, files.url("x/y")) == (f"{tmp_path}/a", f"{tmp_path}/a/x/y")
    remote = open_files("memory://a/")
    assert isinstance(remote, RemoteFiles)
    assert (remote.root, remote.url("x/y")) == ("memory://a", "memory://a/x/y")


def test_deleting_leaves_no_empty_folder_of_a_run(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write({"runs/1/t/a": b"", "runs/2/t/b": b"", "runs/2/u/c": b"", "manifests/d": b""})
    (tmp_path / "runs/3/t").mkdir(parents=True)
    assert sorted(one.name for one in files.find("runs")) == ["runs/1/t/a", "runs/2/t/b", "runs/2/u/c", "runs/3/t/"]
    files.delete(["runs/1/t/a", "runs/2/t/b", "runs/3/t/", "manifests/d"])
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "manifests", "runs", "runs/2", "runs/2/u", "runs/2/u/c",
    ]  # fmt: skip


def test_a_folder_that_is_no_longer_empty_is_not_deleted(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / "runs/1/t").mkdir(parents=True)
    (found,) = files.find("runs")
    files.write({"runs/1/t/a": b""})
    files.delete([found.name])
    assert names(tmp_path) == ["runs/1/t/a"]


@pytest.mark.parametrize(
    ("code", "error"), [(errno.EPERM, InputError), (errno.ENOTSUP, InputError), (errno.EIO, OSError)]
)
def test_a_file_system_without_hard_links_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(code, "no hard links")

    monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(error, match="hard links"):
        LocalFiles(tmp_path).create("manifests/1.json", b"")
    assert names(tmp_path) == []


def test_a_text_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    files, path = LocalFiles(tmp_path), tmp_path / "new" / "file.txt"
    files.write({"new/file.txt": b"a long first text"})
    files.write({"new/file.txt": "ö".encode()})
    assert path.read_bytes() == "ö".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_process_that_is_killed_while_it_replaces_a_text_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    path, step, seen = tmp_path / "file.txt", 1, []
    path.write_text("old")
    while killed(lambda: LocalFiles(tmp_path).write({path.name: b"new"}), step):
        seen.append(path.read_text())
        path.write_text("old")
        step += 1
    assert seen == ["old"] * seen.count("old") + ["new"] * seen.count("new")
    assert {"old", "new"} == set(seen)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, of which 1.5 MB are taken by a file named ``other``."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    try:
        (folder / "other").write_bytes(bytes(1_500_000))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder: Path) -> None:
    with suppress(OSError), (folder / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_told_and_publishes_nothing_and_room_mends_it(small_disk: Path) -> None:
    store = Store(small_disk)
    publish(store, "t", part(store, DAYS[0], "", "a"))
    fresh = part(store, DAYS[0], "", "b")
    _fill(small_disk)
    before = names(small_disk)
    with pytest.raises(InputError, match=r"the disk is full(.|\n)*free space(.|\n)*nothing was published"):
        publish(store, "t", fresh)
    assert names(small_disk) == before
    assert said(store) == [(DAYS[0], "", "a", 1)]
    (small_disk / "fill").unlink()
    publish(store, "t", fresh)
    assert said(store) == [(DAYS[0], "", "b", 2)]


def test_a_disk_without_room_for_a_copy_of_a_part_is_told(small_disk: Path, tmp_path: Path) -> None:
    store = Store(small_disk, tmp_path / "work")
    large = part(store, DAYS[0])
    (store.work / large.path).write_bytes(bytes(1_000_000))
    with pytest.raises(InputError, match="the disk is full"):
        publish(store, "t", large)
    assert store.version() == 0


def test_duckdb_and_arrow_on_a_full_disk_are_understood(small_disk: Path) -> None:
    table = pa.table({"n": list(range(400_000))})
    path = str(small_disk / "x.parquet")
    for write in (
        lambda: duckdb.execute(f"copy (select random() from range(400000)) to '{path}' (format parquet)"),
        lambda: pq.write_table(table, path, compression="none", use_dictionary=False),
    ):
        with pytest.raises(InputError, match="the disk is full"), full_disk_is_told(small_disk):
            write()
    with pytest.raises(duckdb.Error, match="no_such"), full_disk_is_told(small_disk):
        duckdb.execute("select no_such")
