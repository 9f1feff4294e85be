"""Settings: one TOML file, read by frozen models that refuse unknown keys and name the nearest valid one.

Each section is handed to the transforms that need it; the layer above only loads the file.
"""

import difflib
import os
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import duckdb
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models import registry
from models.suggestion import suggestion
from pipelines.errors import InputError

Preset = Literal["tiny", "small", "paper"]
TIME_FORMATS: Final = ("iso", "epoch_s", "epoch_ms", "epoch_us")


BUILT_IN_REASONS: Final = (
    "malformed_row",
    "missing_item",
    "missing_time",
    "unreadable_time",
    "missing_user",
    "unknown_event_type",
    "in_the_future",
    "too_late",
    "unknown_item",
    "identical_row",
)
"""Why a raw row goes to quarantine, besides the reasons of ``events.reject``; the first that applies counts."""


class Section(BaseModel):
    """A part of the settings: frozen, and nothing in it is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Format(Section):
    """How raw files are written: the compression is told by the suffix (.gz, .xz, .zst)."""

    format: Literal["csv", "json", "parquet"]
    delimiter: str = Field(default=",", min_length=1, max_length=1)


class EventType(Section):
    """One kind of event. The first one whose ``when_*`` applies is taken."""

    name: str = Field(min_length=1)
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    when_column: str = ""
    when_matches: str = ""

    @field_validator("when_matches")
    @classmethod
    def _readable(cls, pattern: str) -> str:
        return _require_regex(pattern)

    @model_validator(mode="after")
    def _both_or_none(self) -> "EventType":
        if bool(self.when_column) != bool(self.when_matches):
            raise ValueError("when_column and when_matches go together")
        return self


class RejectRule(Section):
    """Rows whose ``column`` matches the regular expression go to quarantine with this reason."""

    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: str
    matches: str
    event_types: tuple[str, ...] = ()

    @field_validator("matches")
    @classmethod
    def _readable(cls, pattern: str) -> str:
        return _require_regex(pattern)


class EventColumns(Section):
    """Which raw column holds what. For JSON a dotted path reaches into objects. Empty: the log has none."""

    item: str = Field(min_length=1)
    time: str = Field(min_length=1)
    user: str = ""
    session: str = ""
    event_type: str = ""

    @model_validator(mode="after")
    def _someone_acts(self) -> "EventColumns":
        if not (self.user or self.session):
            raise ValueError("map user, session or both: otherwise no event belongs to anybody")
        return self


class ItemColumns(Section):
    """Which raw column holds which property of an item. Empty: there is none."""

    title: str = ""
    description: str = ""
    category: str = ""
    brand: str = ""
    price: str = ""
    category_separator: str = Field(default=">", min_length=1)


class CatalogueColumns(ItemColumns):
    """Columns of the catalogue: the item's id, its properties, and free attributes by name."""

    id: str = Field(min_length=1)
    attributes: dict[str, str] = Field(default_factory=dict)


class Events(Format):
    """The raw logs."""

    path: str
    columns: EventColumns
    item_columns: ItemColumns = ItemColumns()
    event_types: tuple[EventType, ...] = (EventType(name="event"),)
    reject: tuple[RejectRule, ...] = ()
    time_format: str = "iso"
    time_zone: str = "UTC"
    without_user: Literal["session", "quarantine"] = "session"
    identical_rows: Literal["keep", "quarantine"] = "keep"
    lateness_days: int = Field(default=3, ge=0)

    @field_validator("path")
    @classmethod
    def _day_in_path(cls, path: str) -> str:
        return _require_day(path)

    @field_validator("time_format")
    @classmethod
    def _known_format(cls, form: str) -> str:
        if form not in TIME_FORMATS and "%" not in form:
            raise ValueError(f"{', '.join(TIME_FORMATS)}, or strptime directives such as %d.%m.%Y %H:%M")
        return form

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        return _require_zone(zone)

    @model_validator(mode="after")
    def _event_types_fit(self) -> "Events":
        names = [kind.name for kind in self.event_types]
        if len(set(names)) != len(names):
            raise ValueError(f"event_types: names repeat: {names}")
        unknown = sorted({name for rule in self.reject for name in rule.event_types} - set(names))
        if unknown:
            raise ValueError(f"reject: event_types {unknown} are not among {names}")
        if not self.columns.event_type and not any(not kind.when_column for kind in self.event_types):
            raise ValueError("without columns.event_type, one event type must have no when_column: it takes the rest")
        return self


class Catalogue(Format):
    """The item metadata files. The newest file that is not later than the night is the catalogue of the night."""

    path: str
    columns: CatalogueColumns
    unknown_items: Literal["keep", "quarantine"] = "quarantine"

    @field_validator("path")
    @classmethod
    def _day_in_path(cls, path: str) -> str:
        return _require_day(path)


class Nights(Section):
    """Which days are nights. ``schedule`` is cron fields in ``time_zone``; a tick runs the night that ended before it.

    The gap of sessions is no longer than the shortest day, so that a session is settled by the day before it starts.
    """

    first: date
    time_zone: str = "UTC"
    session_gap_minutes: float = Field(default=30, gt=0, le=23 * 60)
    run_last: int = Field(default=2, ge=1)
    schedule: str = "30 2 * * *"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        return _require_zone(zone)


class Statistics(Section):
    """How frequency, uniformity and vocabulary are computed (UniRec, arXiv 2406.18470, with the default repaired)."""

    frequent_share: float = Field(default=0.3, gt=0, le=1)
    uniform_share: float = Field(default=0.4, gt=0, le=1)
    time_granularity: Literal["second", "day"] = "second"
    min_token_items: int = Field(default=2, ge=1)


class Training(Section):
    """What the models learn from, and which models there are: name to preset."""

    window_days: int = Field(default=365, ge=3)
    max_events: int = Field(default=1000, ge=2)
    models: dict[str, Preset] = Field(
        default={"popular": "tiny", "markov": "tiny", "itemknn": "tiny", "sasrec": "tiny"}, min_length=1
    )
    seed: int = Field(default=7, ge=0)

    @field_validator("models")
    @classmethod
    def _known_models(cls, models: dict[str, Preset]) -> dict[str, Preset]:
        unknown = sorted(set(models) - set(registry.names()))
        if unknown:
            raise ValueError(f"there is no model {unknown[0]!r}: {suggestion(unknown[0], registry.names())}")
        return models


class Recommendations(Section):
    """What is published for whom."""

    k: int = Field(default=20, ge=1, le=1000)
    related_k: int = Field(default=10, ge=1, le=1000)
    active_days: int = Field(default=90, ge=1)
    exclude_seen: bool = False
    serve: str = "sasrec"


class Validation(Section):
    """Limits of the checkpoints; each share is of the rows of one night."""

    max_quarantine_share: float = Field(default=0.05, ge=0, le=1)
    quarantine_shares: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    min_quarantined_rows: int = Field(default=20, ge=0)
    max_anonymous_share: float = Field(default=0.9, ge=0, le=1)
    max_unpriced_share: float = Field(default=0.5, ge=0, le=1)
    max_delisted_share: float = Field(default=0.5, ge=0, le=1)


class Storage(Section):
    """Where the tables lie, and what DuckDB may use."""

    root: str = "store"
    memory_limit: str = Field(default="2GB", pattern=r"^\d+(\.\d+)? ?[KMG]i?B$")
    threads: int = Field(default=2, ge=1)


class Settings(Section):
    """All settings of one deployment."""

    events: Events
    catalogue: Catalogue | None = None
    nights: Nights
    statistics: Statistics = Statistics()
    training: Training = Training()
    recommendations: Recommendations = Recommendations()
    validation: Validation = Validation()
    store: Storage = Storage()
    engine: Literal["local"] = "local"
    folder: Path = Field(Path("."), exclude=True)

    @model_validator(mode="after")
    def _served_model_is_trained(self) -> "Settings":
        if self.recommendations.serve not in self.training.models:
            raise ValueError(
                f"recommendations.serve is {self.recommendations.serve!r}, allowed: {sorted(self.training.models)}"
            )
        return self

    @model_validator(mode="after")
    def _reasons_fit(self) -> "Settings":
        own = {rule.reason for rule in self.events.reject}
        if own & set(BUILT_IN_REASONS):
            raise ValueError(f"events.reject: the reason {sorted(own & set(BUILT_IN_REASONS))[0]!r} is built in")
        known = [*BUILT_IN_REASONS, *sorted(own)]
        unknown = sorted(set(self.validation.quarantine_shares) - set(known))
        if unknown:
            raise ValueError(f"validation.quarantine_shares: no reason {unknown[0]!r}: {suggestion(unknown[0], known)}")
        return self

    def path_of(self, name: str) -> Path:
        """Path of a raw file that is named below the folder of the settings, without detours, as errors show it."""
        return Path(os.path.normpath(self.folder / name))

    @property
    def store_root(self) -> Path:
        """Absolute folder of the store."""
        return (self.folder / self.store.root).resolve()


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


def _require_regex(pattern: str) -> str:
    try:
        duckdb.execute("select regexp_matches('', ?)", [pattern])
    except duckdb.Error as error:
        raise ValueError(f"a regular expression as RE2 reads it: {str(error).splitlines()[0]}") from error
    return pattern


def _require_day(path: str) -> str:
    if len(re.findall(r"\{day(?::[^}]*)?\}", path)) != 1:
        raise ValueError(
            "needs {day} once, where the day stands in the file name, such as logs/{day}.csv "
            "or logs/events-{day:%Y%m%d}*.jsonl.gz"
        )
    return path


def _require_zone(zone: str) -> str:
    if zone not in available_timezones():
        nearest = difflib.get_close_matches(zone, available_timezones(), n=1)
        raise ValueError("an IANA time zone" + (f", did you mean {nearest[0]}?" if nearest else ""))
    return ZoneInfo(zone).key
