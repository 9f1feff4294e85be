"""The files of a store in an object store that fsspec reaches: S3, Google Cloud Storage; in tests, memory.

A PUT there is atomic, and ``create`` is one with a condition: ``If-None-Match: *`` on S3 (since August 2024),
``ifGenerationMatch=0`` on Google Cloud Storage.
"""

import errno
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import fsspec.core

from pipelines.errors import InputError
from pipelines.store_files import Files, Found, LocalFiles, full_disk_is_told, sync

CONNECTIONS: Final = 16
_TIMES: Final = ("LastModified", "mtime", "updated", "last_modified", "created")
"""What the filesystems of fsspec call the time of a file."""

_creating = threading.Lock()


def open_files(root: str | Path) -> Files:
    """The files of a store at a local folder, or at a URL such as s3://bucket/folder."""
    text = str(root).removeprefix("file://")
    return RemoteFiles(text) if re.match(r"[a-z][a-z0-9+.-]+://", text) else LocalFiles(Path(text).resolve())


class RemoteFiles(Files):
    """Files in an object store; a PUT there is atomic, so nothing is written under another name first."""

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        if set("*?[]") & set(url):
            raise _cannot_open(self.root, "fsspec would take * ? [ ] for a pattern")
        try:  # a listing that fsspec remembers would hide what others publish
            self.filesystem, path = fsspec.core.url_to_fs(self.root, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise _cannot_open(self.root, error) from error
        self._path = path.rstrip("/")

    def names(self, folder: str) -> list[str]:
        """See ``Files``."""
        with self._reached():
            try:
                entries = self.filesystem.ls(self._full(folder), detail=True)
            except FileNotFoundError:
                return []
            return [entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """See ``Files``."""
        by_path = {self._full(name): name for name in names}
        with self._reached():
            contents = self.filesystem.cat(list(by_path), on_error="return") if by_path else {}
            for content in contents.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {by_path[path]: content for path, content in contents.items() if isinstance(content, bytes)}

    def create(self, name: str, content: bytes) -> bool:
        """See ``Files``."""
        path = self._full(name)
        with self._reached(), _creating:  # the lock is for memory://, which first looks and then writes
            try:
                self.filesystem.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                # S3 answers 409 to one of two who come together, and not every server says why it answers 412.
                if error.errno == errno.EBUSY or self.filesystem.exists(path):
                    return False
                raise
            return True

    def write(self, contents: Mapping[str, bytes]) -> None:
        """See ``Files``."""
        with self._reached():
            self.filesystem.pipe({self._full(name): content for name, content in contents.items()})

    def place(self, sources: Mapping[str, Path]) -> None:
        """See ``Files``."""
        for source in sources.values():
            sync(source)  # the local copy is what this machine goes on reading
        with self._reached():
            self.filesystem.put([str(path) for path in sources.values()], [self._full(name) for name in sources])

    def fetch(self, names: Collection[str], folder: Path) -> None:
        """See ``Files``."""
        with self._reached(), ThreadPoolExecutor(CONNECTIONS) as pool:
            found = dict(zip(names, pool.map(self.filesystem.find, map(self._full, names)), strict=True))
        missing = [self.url(name) for name in names if not found[name]]
        if missing:
            raise FileNotFoundError(", ".join(missing))
        paths = [path for some in found.values() for path in some]
        targets = [str(folder / path.removeprefix(f"{self._path}/")) for path in paths]
        with self._reached(), full_disk_is_told(folder):
            self.filesystem.get(paths, targets)
            for path in targets:
                sync(Path(path))

    def exists(self, name: str) -> bool:
        """See ``Files``."""
        with self._reached():
            return self.filesystem.exists(self._full(name))

    def find(self, folder: str) -> list[Found]:
        """See ``Files``."""
        with self._reached():
            entries = self.filesystem.find(self._full(folder), detail=True)
            return [
                Found(path.removeprefix(f"{self._path}/"), entry["size"], self._modified(path, entry))
                for path, entry in entries.items()
            ]

    def delete(self, names: Iterable[str]) -> None:
        """See ``Files``."""
        paths = [self._full(name) for name in names]
        with self._reached(), suppress(FileNotFoundError):
            if paths:
                self.filesystem.rm(paths)

    def _full(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _modified(self, path: str, entry: Mapping[str, Any]) -> datetime:
        time = next((entry[key] for key in _TIMES if entry.get(key)), None) or self.filesystem.modified(path)
        if isinstance(time, str):
            time = datetime.fromisoformat(time)
        return time if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell the user of wrong credentials, a missing bucket, a lost network: each library has its own errors."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                "the store cannot be reached",
                where=self.root,
                value=f"{type(error).__name__}: {error}",
                allowed="a bucket that exists and that this machine may list, read, write and delete in",
                fix="check store.root, the credentials and the network, then run again",
            ) from error


def _cannot_open(url: str, value: object) -> InputError:
    return InputError(
        "the store cannot be opened",
        where=url,
        value=value,
        allowed="a local folder, or a URL that fsspec knows, such as s3://bucket/folder or gs://bucket/folder",
        fix="change store.root, or install the package that is named",
    )
