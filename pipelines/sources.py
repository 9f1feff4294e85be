"""Raw files: which belong to which day, their hash, and their bytes without compression.

Compressed files are unpacked here and not by DuckDB: it reads a gzip file with a flipped bit, or a zstd file without
its end, as if nothing were wrong.
"""

import glob
import gzip
import lzma
import re
import shutil
import zlib
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from pipelines.errors import InputError

_DAY: Final = re.compile(r"\{day(?::([^}]*))?\}")
_DIRECTIVES: Final = {"%Y": r"\d{4}", "%m": r"\d{2}", "%d": r"\d{2}", "%j": r"\d{3}", "%y": r"\d{2}"}


def day_files(template: str, folder: Path) -> dict[date, list[str]]:
    """Paths relative to ``folder`` by the day in their name, both in order.

    ``template`` is a glob with ``{day}`` (ISO) or ``{day:%Y%m%d}`` in it. Raises ``InputError`` if nothing matches, or
    a name has an impossible day.
    """
    match = _DAY.search(template)
    assert match, f"{template}: the settings check that a day stands in the path"
    form = match.group(1) or "%Y-%m-%d"
    before, after = template[: match.start()], template[match.end() :]
    pattern = f"{before}{re.sub(r'%[a-zA-Z]', '*', form)}{after}".replace("[", "[[]")
    name = re.compile(f"{_as_regex(before)}({_day_regex(form)}){_as_regex(after)}")
    days: dict[date, list[str]] = {}
    for path in sorted(glob.glob(pattern, root_dir=folder, recursive=True)):
        found = name.fullmatch(path)
        if found and (folder / path).is_file():
            days.setdefault(_parse_day(found.group(1), form, folder / path), []).append(path)
    if not days:
        raise InputError(
            "no raw file matches the path of the settings",
            where=folder,
            value=template,
            allowed="at least one file, with its day in the name",
            fix="correct the path in the settings, or put the files there",
        )
    return dict(sorted(days.items()))


def _as_regex(part: str) -> str:
    """The regular expression of a glob without character classes."""
    translated = re.escape(part).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return translated


def _day_regex(form: str) -> str:
    parts = re.split(r"(%[a-zA-Z])", form)
    unknown = [part for part in parts if part.startswith("%") and part not in _DIRECTIVES]
    if unknown:
        raise InputError(
            "the day in a path is written with an unknown directive",
            where="settings, path",
            value=unknown[0],
            allowed=", ".join(_DIRECTIVES),
            fix="write the day with these",
        )
    return "".join(_DIRECTIVES.get(part, re.escape(part)) for part in parts)


def _parse_day(text: str, form: str, path: Path) -> date:
    try:
        return datetime.strptime(text, form).date()
    except ValueError as error:
        raise InputError(
            "the day in a file name does not exist",
            where=path,
            value=text,
            allowed=f"a day written as {form}",
            fix="rename the file",
        ) from error


def unpack(path: Path, scratch: Path) -> Path:
    """The file itself if it is not compressed, else its unpacked content below ``scratch``.

    The whole stream is read and its checksum verified. Raises ``InputError`` for an empty, truncated or damaged file.
    """
    if path.stat().st_size == 0:
        raise _unreadable(path, "the file is empty", "0 bytes")
    if path.suffix not in _OPENERS:
        return path
    target = scratch / path.stem
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _OPENERS[path.suffix](path) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise _unreadable(path, "the file cannot be unpacked: it is truncated or damaged", str(error)) from error
    if target.stat().st_size == 0:
        raise _unreadable(path, "the file is empty", "0 bytes after unpacking")
    return target


def _unreadable(path: Path, what: str, value: str) -> InputError:
    return InputError(
        what,
        where=path,
        value=value,
        allowed="a complete file; a day without events needs no file at all",
        fix="deliver the file again and re-run the night; or remove it, and the night runs without it",
    )


def _open_zstd(path: Path) -> IO[bytes]:
    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


_OPENERS: Final[dict[str, Callable[..., Any]]] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstd}
