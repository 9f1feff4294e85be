"""A small settings file with every section, and what is said about a wrong one."""

from pathlib import Path
from typing import Final

import pytest

from pipelines.errors import InputError
from pipelines.settings_file import load_settings

TOML: Final = """
[events]
path = "logs/{day}.csv"
format = "csv"
[events.columns]
user = "u"
item = "i"
time = "t"
[events.item_columns]
title = "t"
[[events.event_types]]
name = "view"
[[events.reject]]
reason = "robot"
column = "u"
matches = "bot"
[catalogue]
path = "items/{day}.csv"
format = "csv"
[catalogue.columns]
id = "id"
[nights]
first = 2026-01-01
[sessions]
[statistics]
[training]
[recommendations]
[validation]
[store]
[beam]
"""


def write(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> InputError:
    """The error that a settings file of this text gives."""
    with pytest.raises(InputError) as caught:
        load_settings(write(folder, text))
    return caught.value


def with_line(header: str, line: str) -> str:
    """``TOML`` with a line below a header, or on top if there is no header."""
    return TOML.replace(f"{header}\n", f"{header}\n{line}\n", 1) if header else f"{line}\n{TOML}"
