import re
from datetime import date
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.settings import ItemColumns, Settings
from pipelines.settings_file import load_settings
from tests.pipelines.small_settings import TOML, complaint, with_line, write

CONFIGS = Path(__file__).parents[2] / "configs"
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
    ("[nights]", "run_lst", "run_last"),
    ("[sessions]", "gap_minute", "gap_minutes"),
    ("[statistics]", "frequent_shares", "frequent_share"),
    ("[training]", "window_day", "window_days"),
    ("[recommendations]", "related", "related_k"),
    ("[validation]", "max_quarantine", "max_quarantine_share"),
    ("[store]", "memory", "memory_limit"),
    ("[store]", "keep_night", "keep_nights"),
    ("[beam]", "runer", "runner"),
]


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
    assert settings.work_folder == tmp_path / "store"
    assert settings.open_store().root == str(tmp_path / "store")
    assert settings.path_of("../logs/x.csv") == tmp_path.parent / "logs" / "x.csv"
    elsewhere = load_settings(write(tmp_path, with_line("[store]", 'root = "/x/y"')))
    assert (elsewhere.work_folder, elsewhere.open_store().root) == (Path("/x/y"), "/x/y")


def test_sections_that_are_left_out_have_their_documented_values(tmp_path: Path) -> None:
    settings = load_settings(
        write(tmp_path, re.sub(r"\[(catalogue|statistics)(.|\n)*", "", TOML) + "[nights]\nfirst=2026-01-02")
    )
    assert settings.catalogue is None
    assert settings.nights.first == date(2026, 1, 2)
    assert (settings.sessions.gap_minutes, settings.nights.time_zone) == (30, "UTC")
    assert (settings.sessions.max_events, settings.sessions.max_events_a_day) == (10_000, 0)
    assert (settings.store.keep_nights, settings.store.keep_days, settings.store.work) == (30, 7, "")
    assert (settings.engine, settings.beam.runner, settings.beam.options) == ("local", "FnApiRunner", {})
    assert (settings.statistics.frequent_share, settings.statistics.uniform_share) == (0.3, 0.4)
    assert (settings.events.identical_rows, settings.events.without_user) == ("keep", "session")
    assert settings.events.item_columns == ItemColumns(title="t")
    assert settings.recommendations.serve == "sasrec"


@pytest.mark.parametrize("name", ["sample_shop", "online_retail"])
def test_the_settings_that_come_with_the_project_are_valid(name: str) -> None:
    settings = load_settings(CONFIGS / f"{name}.toml")
    assert isinstance(settings, Settings)
    assert settings.work_folder == CONFIGS.parent / "store" / name
