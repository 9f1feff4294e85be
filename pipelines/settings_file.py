"""Read a settings file, and say what is wrong with it in words that name the nearest valid key."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.errors import InputError
from pipelines.settings import WRONG_SETTING, Section, Settings


def load_settings(path: Path) -> Settings:
    """Read a settings file; relative paths in it start from its own folder.

    Raises ``InputError`` for a missing file, broken TOML, an unknown key or a wrong value.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            "the settings file does not exist",
            where=path.resolve(),
            value=path,
            allowed="an existing TOML file",
            fix="pass its path: make run CONFIG=configs/sample_shop.toml",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            "the settings file is no TOML", where=path, value=error, allowed="TOML 1.0 in UTF-8", fix="mend that line"
        ) from error
    if "folder" in raw:  # a field of ours, and no setting
        raise _unknown_key(("folder",), raw["folder"], path)
    try:
        return Settings.model_validate({"folder": path.resolve().parent} | raw)
    except ValidationError as error:
        raise _explain(error, path) from error


def _explain(error: ValidationError, path: Path) -> InputError:
    """Turn one complaint of pydantic into ours, with the nearest valid key."""
    errors = error.errors()  # a misspelt key first: it is the cause where a needed one is missing
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    if first["type"] == "extra_forbidden":
        return _unknown_key(first["loc"], first["input"], path)
    where = ".".join(str(part) for part in first["loc"])
    allowed = first["msg"].removeprefix("Value error, ")
    if first["type"] == WRONG_SETTING:
        where, first["input"] = first["ctx"]["where"], first["ctx"]["value"]
    if not where:  # two sections that do not fit together: pydantic would show all settings as the value
        return InputError(
            "two settings do not fit together",
            where=path,
            value=allowed,
            allowed="see there",
            fix="change one of them",
        )
    return InputError(
        f"wrong setting {where}", where=path, value=first["input"], allowed=allowed, fix=f"change {where}"
    )


def _unknown_key(loc: tuple[int | str, ...], value: object, path: Path) -> InputError:
    valid = _keys_at(Settings, loc[:-1])
    nearest = difflib.get_close_matches(str(loc[-1]), valid, n=1, cutoff=0.4)
    return InputError(
        f"unknown setting {'.'.join(str(part) for part in loc)}",
        where=path,
        value=value,
        allowed=", ".join(sorted(valid)),
        fix=f"did you mean {nearest[0]}?" if nearest else "remove it",
    )


def _keys_at(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section at ``loc``; list positions in it are skipped."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation)
    return [name for name in model.model_fields if name != "folder"]


def _section_of(annotation: Any) -> Any:
    """The settings section inside an annotation such as ``tuple[EventType, ...]`` or ``Catalogue | None``."""
    inner = getattr(annotation, "__args__", ())
    return next((a for a in (annotation, *inner) if isinstance(a, type) and issubclass(a, Section)), annotation)
