"""Where the bytes of a store lie: what every such place can do, and the local folder that does it.

A name is a path below the root. Files are written once and never changed, so one operation decides who was first:
``create`` makes a file appear whole, and only if there is none of that name; hence no lock file. A local folder does it
with a hard link.
"""

import errno
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pipelines.errors import InputError

_IS_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_HAS_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def hash_file(path: Path) -> str:
    """SHA-256 of a file as it lies on disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Found:
    """A file below a folder; an empty local folder is found too, and its name ends with a slash."""

    name: str
    num_bytes: int
    modified: datetime


class Files(ABC):
    """The files of a store, by their names below ``root``."""

    root: str
    filesystem: Any = None
    """What DuckDB needs to read the files; None if it can do so by itself."""

    def url(self, name: str) -> str:
        """Where a file lies, as DuckDB and pyarrow take it."""
        return f"{self.root}/{name}"

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names, without the folder, of the files that lie directly in it; none if there is no such folder."""

    @abstractmethod
    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Contents by name; without those that do not exist."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Make a file appear whole, unless there is one of that name: then nothing is changed and the answer False."""

    @abstractmethod
    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write files whole, in place of any that are there."""

    @abstractmethod
    def place(self, sources: Mapping[str, Path]) -> None:
        """Bring local files here, by name; afterwards they outlast a power cut."""

    @abstractmethod
    def fetch(self, names: Collection[str], folder: Path) -> None:
        """Copy files and folders into a local folder, under their names. FileNotFoundError if one does not exist."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Tell whether there is such a file or folder."""

    @abstractmethod
    def find(self, folder: str) -> list[Found]:
        """All files at any depth below a folder."""

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Delete files, and the folders that this leaves empty; those that are gone already are no error."""

    def require_exclusive_create(self) -> None:
        """Raise ``InputError`` if ``create`` writes over a file: some servers that speak S3 ignore the condition."""
        name = f"manifests/.probe-{uuid4().hex}"
        self.create(name, b"")
        is_exclusive = not self.create(name, b"")
        self.delete([name])
        if not is_exclusive:
            raise InputError(
                "this place cannot hold a store: two runs could write over each other's tables",
                where=self.root,
                value="a second file of a name replaced the first, against If-None-Match: *",
                allowed="conditional writes, as S3 and Google Cloud Storage have them",
                fix="update the server of the store, or take another one",
            )


class LocalFiles(Files):
    """Files in a local folder, or in a network mount that has hard links."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._root = root

    def names(self, folder: str) -> list[str]:
        """See ``Files``."""
        try:
            return [entry.name for entry in os.scandir(self._root / folder) if entry.is_file()]
        except FileNotFoundError:
            return []

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """See ``Files``."""
        contents = {}
        for name in names:
            with suppress(FileNotFoundError):
                contents[name] = (self._root / name).read_bytes()
        return contents

    def create(self, name: str, content: bytes) -> bool:
        """See ``Files``."""
        path = self._root / name
        with _temporary(path, content) as fresh:
            try:
                os.link(fresh, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _HAS_NO_LINKS:
                    raise
                raise InputError(
                    "the store cannot publish on this file system",
                    where=path.parent,
                    value=error,
                    allowed="a file system with hard links, or a URL of an object store",
                    fix="move the store to a local disk and change store.root",
                ) from error
        sync(path.parent)
        return True

    def write(self, contents: Mapping[str, bytes]) -> None:
        """See ``Files``."""
        for name, content in contents.items():
            _replace(self._root / name, content)

    def place(self, sources: Mapping[str, Path]) -> None:
        """See ``Files``."""
        for name, source in sources.items():
            target = self._root / name
            with full_disk_is_told(target.parent):
                if source != target:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
                sync(target)
        for folder in {(self._root / name).parent for name in sources}:
            sync(folder)

    def fetch(self, names: Collection[str], folder: Path) -> None:
        """See ``Files``."""
        for name in names:
            source, target = self._root / name, folder / name
            with full_disk_is_told(folder):
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target)
                else:
                    shutil.copyfile(source, target)

    def exists(self, name: str) -> bool:
        """See ``Files``."""
        return (self._root / name).exists()

    def find(self, folder: str) -> list[Found]:
        """See ``Files``."""
        found, top = [], self._root / folder
        for place, folders, files in os.walk(top):
            is_empty = not (folders or files) and Path(place) != top
            for path in [Path(place)] if is_empty else [Path(place, name) for name in files]:
                with suppress(FileNotFoundError):  # another process may delete, too
                    stat = path.stat()
                    name = path.relative_to(self._root).as_posix() + ("/" if is_empty else "")
                    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                    found.append(Found(name, 0 if is_empty else stat.st_size, modified))
        return found

    def delete(self, names: Iterable[str]) -> None:
        """See ``Files``."""
        for name in names:
            folder = self._root / name
            if not name.endswith("/"):
                folder.unlink(missing_ok=True)
                folder = folder.parent
            while folder.parent != self._root and _removed(folder):
                folder = folder.parent


@contextmanager
def full_disk_is_told(where: Path) -> Iterator[None]:
    """Turn a full disk, or a quota that is used up, into an ``InputError``; the caller has published nothing yet.

    DuckDB has no errno to ask for; it quotes the text of the system.
    """
    try:
        yield
    except Exception as error:
        full = error.errno in _IS_FULL if isinstance(error, OSError) else os.strerror(errno.ENOSPC) in str(error)
        if not full:
            raise
        raise InputError(
            "the disk is full",
            where=where,
            value=error,
            allowed="room for the tables of a night, beside those that are kept",
            fix="free space or move the store to a larger disk, then run again: nothing was published",
        ) from error


def _replace(path: Path, content: bytes) -> None:
    """Put a file in place so that a reader sees the old or the new content, also after a power cut."""
    with _temporary(path, content) as fresh:
        os.replace(fresh, path)
    sync(path.parent)


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside ``path`` with that content, safe on disk; what the caller leaves of it is removed."""
    fresh = path.with_name(f".{path.name}.{uuid4().hex}")
    with full_disk_is_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield fresh
        finally:
            fresh.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # not empty
        return False
    return True
