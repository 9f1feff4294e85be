"""Settings: one TOML file, read by frozen models that refuse unknown keys and name the nearest valid one.

Each section is handed to the transforms that need it; the layer above only loads the file.
"""

import difflib
import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import duckdb
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from models import registry
from models.recommender import ModelConfig
from models.suggestion import suggestion
from pipelines.store import Store

Preset = Literal["tiny", "small", "paper"]
WRONG_SETTING: Final = "wrong_setting"
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
    """Which days are nights. ``schedule`` is cron fields in ``time_zone``; a tick runs the night that ended before."""

    first: date
    time_zone: str = "UTC"
    run_last: int = Field(default=2, ge=1)
    schedule: str = "30 2 * * *"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        return _require_zone(zone)


class Sessions(Section):
    """What a visit is. The gap is shorter than any day, so that a night concerns the sessions of few days.

    ``max_events`` cuts a longer visit into several. ``max_events_a_day`` leaves out who does more on one day (0: nobody
    is left out). ``immediate_repeats`` says whether the same item and event type again, right after, is kept.
    """

    gap_minutes: float = Field(default=30, gt=0, le=22 * 60)
    max_events: int = Field(default=10_000, ge=2)
    max_events_a_day: int = Field(default=0, ge=0)
    immediate_repeats: Literal["keep", "drop"] = "keep"


class Statistics(Section):
    """How frequency, uniformity, neighbours and vocabulary are computed (UniRec, arXiv 2406.18470, section 3).

    The published code takes the variance of an item's gaps for its frequency and the raw variance of a user's gaps for
    uniformity: ``gap_variance`` is that; the defaults are counts, and the dispersion of log gaps.
    """

    frequent_by: Literal["num_events", "gap_variance"] = "num_events"
    frequent_share: float = Field(default=0.3, gt=0, le=1)
    uniform_by: Literal["log_gap_dispersion", "gap_variance"] = "log_gap_dispersion"
    uniform_share: float = Field(default=0.4, gt=0, le=1)
    time_granularity: Literal["second", "day"] = "second"
    min_token_items: int = Field(default=2, ge=1)
    num_neighbours: int = Field(default=10, ge=1)
    neighbour_days: int = Field(default=30, ge=1)
    max_neighbour_items: int = Field(default=50, ge=2)


def wrong_setting(where: str, value: object, allowed: str) -> PydanticCustomError:
    """Make an error for pydantic that tells the place of the setting in the file, its value and what is allowed."""
    return PydanticCustomError(WRONG_SETTING, "{allowed}", {"where": where, "value": value, "allowed": allowed})


class Training(Section):
    """What the models learn from, and which models there are: name to preset.

    settings: by the name of a model, those in which it differs from its preset. warm_start: whether training goes on
    from the weights of the night before. num_processes: of training; more than one share each batch, as by torchrun.
    """

    window_days: int = Field(default=365, ge=3)
    max_events: int = Field(default=1000, ge=2)
    models: dict[str, Preset] = Field(
        default={"popular": "tiny", "markov": "tiny", "itemknn": "tiny", "sasrec": "tiny"}, min_length=1
    )
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seed: int = Field(default=7, ge=0)
    warm_start: bool = False
    num_processes: int = Field(default=1, ge=1, le=64)

    @field_validator("models")
    @classmethod
    def _known_models(cls, models: dict[str, Preset]) -> dict[str, Preset]:
        unknown = sorted(set(models) - set(registry.names()))
        if unknown:
            raise ValueError(f"there is no model {unknown[0]!r}: {suggestion(unknown[0], registry.names())}")
        return models

    @model_validator(mode="after")
    def _known_settings(self) -> "Training":
        for name, settings in self.settings.items():
            where = f"training.settings.{name}"
            if name not in self.models:
                raise wrong_setting(where, settings, f"no such model runs; {suggestion(name, self.models)}")
            try:
                registry.configure(name, self.models[name], settings)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join((where, *(str(part) for part in first["loc"])))
                value = first["input"] if first["loc"] else settings
                raise wrong_setting(where, value, first["msg"].removeprefix("Value error, ")) from error
        return self

    def config_of(self, name: str) -> ModelConfig:
        """The configuration of a model that runs."""
        return registry.configure(name, self.models[name], self.settings.get(name, {}))


class Recommendations(Section):
    """What is published for whom."""

    k: int = Field(default=20, ge=1, le=1000)
    related_k: int = Field(default=10, ge=1, le=1000)
    active_days: int = Field(default=90, ge=1)
    exclude_seen: bool = False
    serve: str = "sasrec"


class Validation(Section):
    """Limits of the checkpoints: shares of the rows of one night, and a fall below the mean of the nights before."""

    max_quarantine_share: float = Field(default=0.05, ge=0, le=1)
    quarantine_shares: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    min_quarantined_rows: int = Field(default=20, ge=0)
    max_anonymous_share: float = Field(default=0.9, ge=0, le=1)
    max_unpriced_share: float = Field(default=0.5, ge=0, le=1)
    max_delisted_share: float = Field(default=0.5, ge=0, le=1)
    max_familiarity_fall: float = Field(default=0.1, ge=0, le=1)


class Storage(Section):
    """Where the tables lie, what DuckDB may use, and how long the past is kept.

    ``root`` is a folder or an fsspec URL such as s3://bucket/shop; ``work`` is the local folder that a URL needs, for
    scratch, Data Docs and the file of views. Snapshots, lists and checkpoints are kept for ``keep_nights`` nights, and
    what a later run replaced for ``keep_days`` days: so far back can a table be rolled back.
    """

    root: str = "store"
    work: str = ""
    memory_limit: str = Field(default="2GB", pattern=r"^\d+(\.\d+)? ?[KMG]i?B$")
    threads: int = Field(default=2, ge=1)
    keep_nights: int = Field(default=30, ge=2)
    keep_days: int = Field(default=7, ge=1)

    @model_validator(mode="after")
    def _work_for_url(self) -> "Storage":
        if "://" in self.root and not self.work:
            raise ValueError("store.root is a URL, so store.work must name a local folder for scratch and Data Docs")
        return self


class Beam(Section):
    """How Apache Beam runs the transforms, if ``engine`` is beam. ``options`` are Beam's own, without the dashes."""

    runner: str = Field(default="FnApiRunner", min_length=1)
    options: dict[str, str | int | float | bool | list[str]] = Field(default_factory=dict)
    buckets: int = Field(default=8, ge=1, le=10_000)


class Settings(Section):
    """All settings of one deployment."""

    events: Events
    catalogue: Catalogue | None = None
    nights: Nights
    sessions: Sessions = Sessions()
    statistics: Statistics = Statistics()
    training: Training = Training()
    recommendations: Recommendations = Recommendations()
    validation: Validation = Validation()
    store: Storage = Storage()
    engine: Literal["local", "beam"] = "local"
    beam: Beam = Beam()
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
    def work_folder(self) -> Path:
        """Absolute local folder of scratch, Data Docs and views: the store itself if it is local."""
        return (self.folder / (self.store.work or self.store.root)).resolve()

    def open_store(self) -> Store:
        """The store of this deployment."""
        if "://" in self.store.root:
            return Store(self.store.root, self.work_folder)
        return Store((self.folder / self.store.root).resolve(), self.work_folder)


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
