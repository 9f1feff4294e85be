import re
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import InputError
from pipelines.settings import Events, EventType, ItemColumns, Settings
from pipelines.settings_file import load_settings
from tests.pipelines.small_log import settings_of

CONFIGS = Path(__file__).parents[2] / "configs"
TOML = """
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
[statistics]
[training]
[recommendations]
[validation]
[store]
"""

UNKNOWN_KEYS = [
    ("", "evnets", "events"),
    ("", "engin", "engine"),
    ("[events]", "time_zon", "time_zone"),
    ("[events.columns]", "sesion", "session"),
    ("[events.item_columns]", "titel", "title"),
    ("[[events.event_types]]", "wieght", "weight"),
    ("[[events.reject]]", "event_type", "event_types"),
    ("[catalogue]", "unknown_item", "unknown_items"),
    ("[catalogue.columns]", "atributes", "attributes"),
    ("[nights]", "session_gap_minute", "session_gap_minutes"),
    ("[statistics]", "frequent_shares", "frequent_share"),
    ("[training]", "window_day", "window_days"),
    ("[recommendations]", "related", "related_k"),
    ("[validation]", "max_quarantine", "max_quarantine_share"),
    ("[store]", "memory", "memory_limit"),
]


def write(folder: Path, text: str) -> Path:
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_settings(write(folder, text))
    return caught.value


def with_line(header: str, line: str) -> str:
    return TOML.replace(f"{header}\n", f"{header}\n{line}\n", 1) if header else f"{line}\n{TOML}"


@pytest.mark.parametrize(("header", "key", "nearest"), UNKNOWN_KEYS)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_valid_one(
    tmp_path: Path, header: str, key: str, nearest: str
) -> None:
    error = complaint(tmp_path, with_line(header, f'{key} = "x"'))
    places = [place for place in header.strip("[]").split(".") if place]
    where = ".".join([*places, *(["0"] if header.startswith("[[") else []), key])
    assert error.what == f"unknown setting {where}"
    assert error.fix == f"did you mean {nearest}?"
    assert nearest in error.allowed.split(", ")
    assert (error.where, error.value) == (str(tmp_path / "shop.toml"), "x")


def test_a_misspelt_key_is_told_before_the_missing_one_that_it_causes(tmp_path: Path) -> None:
    error = complaint(tmp_path, TOML.replace("item = ", "itm = "))
    assert (error.what, error.fix) == ("unknown setting events.columns.itm", "did you mean item?")


def test_a_key_like_no_other_is_to_be_removed(tmp_path: Path) -> None:
    assert complaint(tmp_path, with_line("[store]", "zzz = 1")).fix == "remove it"


def test_the_folder_is_no_setting(tmp_path: Path) -> None:
    error = complaint(tmp_path, with_line("", 'folder = "/elsewhere"'))
    assert error.what == "unknown setting folder"
    assert "folder" not in error.allowed


@pytest.mark.parametrize(
    ("old", "new", "where", "allowed"),
    [
        ('"logs/{day}.csv"', '"logs/today.csv"', "events.path", "needs {day} once"),
        ('"logs/{day}.csv"', '"{day:%Y}/{day}.csv"', "events.path", "needs {day} once"),
        ('"items/{day}.csv"', '"items.csv"', "catalogue.path", "needs {day} once"),
        ('format = "csv"', 'format = "xml"', "events.format", "'csv', 'json' or 'parquet'"),
        ('format = "csv"', 'format = "csv"\ndelimiter = ";;"', "events.delimiter", "at most 1"),
        ('format = "csv"', 'format = "csv"\ntime_zone = "Europe/Berln"', "events.time_zone", "mean Europe/Berlin?"),
        ('format = "csv"', 'format = "csv"\ntime_format = "epoch"', "events.time_format", "iso, epoch_s, epoch_ms"),
        ('format = "csv"', 'format = "csv"\nlateness_days = -1', "events.lateness_days", "or equal to 0"),
        ('format = "csv"', 'format = "csv"\nwithout_user = "x"', "events.without_user", "'session' or 'quarantine'"),
        ('format = "csv"', 'format = "csv"\nidentical_rows = "x"', "events.identical_rows", "'keep' or 'quarantine'"),
        ('item = "i"', 'item = ""', "events.columns.item", "at least 1"),
        ('time = "t"\n', "", "events.columns.time", "required"),
        ('user = "u"', "", "events.columns", "map user, session or both"),
        ('title = "t"', 'category_separator = ""', "events.item_columns.category_separator", "at least 1"),
        ('name = "view"', 'name = ""', "events.event_types.0.name", "at least 1"),
        ('name = "view"', 'name = "view"\nweight = -1', "events.event_types.0.weight", "or equal to 0"),
        ('name = "view"', 'name = "view"\nweight = inf', "events.event_types.0.weight", "finite"),
        ('name = "view"', 'name = "view"\nwhen_column = "x"', "events.event_types.0", "go together"),
        ('name = "view"', 'name = "view"\nwhen_matches = "x"', "events.event_types.0", "go together"),
        ('name = "view"', 'name = "view"\n[[events.event_types]]\nname = "view"', "events", "names repeat"),
        ('name = "view"', 'name = "view"\nwhen_column = "x"\nwhen_matches = "y"', "events", "must have no when_column"),
        ('reason = "robot"', 'reason = "A robot!"', "events.reject.0.reason", "pattern"),
        ('matches = "bot"', 'matches = "bot"\nevent_types = ["buy"]', "events", "not among ['view']"),
        ('id = "id"', 'id = ""', "catalogue.columns.id", "at least 1"),
        ("first = 2026-01-01", 'first = "soon"', "nights.first", "valid date"),
        ("[nights]", '[nights]\ntime_zone = "utc+1"', "nights.time_zone", "an IANA time zone"),
        ("[nights]", "[nights]\nsession_gap_minutes = 0", "nights.session_gap_minutes", "greater than 0"),
        ("[nights]", "[nights]\nsession_gap_minutes = 1381", "nights.session_gap_minutes", "equal to 1380"),
        ("[nights]", "[nights]\nrun_last = 0", "nights.run_last", "equal to 1"),
        ("[statistics]", "[statistics]\nfrequent_share = 0", "statistics.frequent_share", "greater than 0"),
        ("[statistics]", "[statistics]\nuniform_share = 1.1", "statistics.uniform_share", "equal to 1"),
        ("[statistics]", '[statistics]\ntime_granularity = "hour"', "statistics.time_granularity", "'second' or 'day'"),
        ("[statistics]", "[statistics]\nmin_token_items = 0", "statistics.min_token_items", "equal to 1"),
        ("[training]", "[training]\nwindow_days = 2", "training.window_days", "equal to 3"),
        ("[training]", "[training]\nmax_events = 1", "training.max_events", "equal to 2"),
        ("[training]", "[training]\nmodels = {}", "training.models", "at least 1"),
        (
            "[training]",
            '[training]\nmodels = {sasrec = "huge"}',
            "training.models.sasrec",
            "'tiny', 'small' or 'paper'",
        ),
        ("[training]", '[training]\nmodels = {sasrek = "tiny"}', "training.models", "did you mean 'sasrec'"),
        ("[recommendations]", "[recommendations]\nk = 1001", "recommendations.k", "equal to 1000"),
        ("[validation]", "[validation]\nmax_quarantine_share = 1.5", "validation.max_quarantine_share", "equal to 1"),
        ("[store]", '[store]\nmemory_limit = "lots"', "store.memory_limit", "pattern"),
        ("[store]", "[store]\nthreads = 0", "store.threads", "equal to 1"),
    ],
)
def test_a_wrong_value_is_told_with_its_place_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, where: str, allowed: str
) -> None:
    error = complaint(tmp_path, TOML.replace(old, new, 1))
    assert error.what == f"wrong setting {where}"
    assert allowed in error.allowed
    assert error.fix == f"change {where}"


def test_two_sections_that_do_not_fit_together_are_told(tmp_path: Path) -> None:
    error = complaint(tmp_path, TOML.replace("[recommendations]", '[recommendations]\nserve = "sasrek"', 1))
    assert error.what == "two settings do not fit together"
    assert "recommendations.serve is 'sasrek', allowed: ['itemknn', 'markov', 'popular', 'sasrec']" in error.value


def test_a_missing_file_and_broken_toml_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_settings(tmp_path / "none.toml")
    assert "is no TOML" in complaint(tmp_path, "[events").what
    (tmp_path / "shop.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is no TOML"):
        load_settings(tmp_path / "shop.toml")


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, TOML))
    assert settings.folder == tmp_path
    assert settings.store_root == tmp_path / "store"
    assert settings.path_of("../logs/x.csv") == tmp_path.parent / "logs" / "x.csv"
    assert settings.model_copy(update={"store": settings.store.model_copy(update={"root": "/x/y"})}).store_root == Path(
        "/x/y"
    )


def test_sections_that_are_left_out_have_their_documented_values(tmp_path: Path) -> None:
    settings = load_settings(
        write(tmp_path, re.sub(r"\[(catalogue|statistics)(.|\n)*", "", TOML) + "[nights]\nfirst=2026-01-02")
    )
    assert settings.catalogue is None
    assert settings.nights.first == date(2026, 1, 2)
    assert (settings.nights.session_gap_minutes, settings.nights.time_zone) == (30, "UTC")
    assert (settings.statistics.frequent_share, settings.statistics.uniform_share) == (0.3, 0.4)
    assert (settings.events.identical_rows, settings.events.without_user) == ("keep", "session")
    assert settings.events.item_columns == ItemColumns(title="t")
    assert settings.recommendations.serve == "sasrec"


def test_settings_are_frozen() -> None:
    settings = settings_of(Path("/"))
    with pytest.raises(ValidationError, match="frozen"):
        settings.nights.run_last = 3


def test_one_event_type_takes_the_rest_or_a_column_names_it() -> None:
    fields = {"path": "{day}.csv", "format": "csv", "columns": {"user": "u", "item": "i", "time": "t"}}
    assert Events.model_validate(fields).event_types == (EventType(name="event", weight=1),)
    rule = {"name": "buy", "when_column": "kind", "when_matches": "^b"}
    named = fields | {"columns": {"user": "u", "item": "i", "time": "t", "event_type": "kind"}}
    assert Events.model_validate(named | {"event_types": [rule]}).event_types[0].when_matches == "^b"


@pytest.mark.parametrize("name", ["sample_shop", "online_retail"])
def test_the_settings_that_come_with_the_project_are_valid(name: str) -> None:
    settings = load_settings(CONFIGS / f"{name}.toml")
    assert isinstance(settings, Settings)
    assert settings.store_root == CONFIGS.parent / "store" / name


def test_an_unknown_model_is_refused_and_the_nearest_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(TOML.replace("[training]", "[training.models]\nmarkof = 'tiny'"))
    with pytest.raises(InputError, match=r"no model 'markof': did you mean 'markov'"):
        load_settings(path)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            "[validation]\nquarantine_shares = { unknwon_item = 0.5 }",
            "no reason 'unknwon_item': did you mean 'unknown_item'",
        ),
        ("[validation]\nquarantine_shares = { too_late = 7.0 }", "less than or equal to 1"),
        ("[[events.reject]]\nreason = 'r'\ncolumn = 'u'\nmatches = '('", "a regular expression as RE2 reads it"),
        ("[[events.reject]]\nreason = 'too_late'\ncolumn = 'u'\nmatches = 'x'", "the reason 'too_late' is built in"),
    ],
)
def test_reasons_shares_and_patterns_are_checked_when_the_settings_load(
    tmp_path: Path, section: str, told: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(TOML.replace("[validation]\n", "") + section)
    with pytest.raises(InputError, match=re.escape(told)):
        load_settings(path)
