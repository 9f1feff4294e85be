import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import InputError
from pipelines.settings import Events, EventType
from pipelines.settings_file import load_settings
from tests.pipelines.small_log import settings_of
from tests.pipelines.small_settings import TOML, complaint, with_line, write


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
        ("[sessions]", "[sessions]\ngap_minutes = 0", "sessions.gap_minutes", "greater than 0"),
        ("[sessions]", "[sessions]\ngap_minutes = 1321", "sessions.gap_minutes", "equal to 1320"),
        ("[sessions]", "[sessions]\nmax_events = 1", "sessions.max_events", "equal to 2"),
        ("[sessions]", "[sessions]\nmax_events_a_day = -1", "sessions.max_events_a_day", "equal to 0"),
        ("[sessions]", '[sessions]\nimmediate_repeats = "x"', "sessions.immediate_repeats", "'keep' or 'drop'"),
        ("[nights]", "[nights]\nrun_last = 0", "nights.run_last", "equal to 1"),
        ("[statistics]", "[statistics]\nfrequent_share = 0", "statistics.frequent_share", "greater than 0"),
        ("[statistics]", "[statistics]\nuniform_share = 1.1", "statistics.uniform_share", "equal to 1"),
        ("[statistics]", '[statistics]\ntime_granularity = "hour"', "statistics.time_granularity", "'second' or 'day'"),
        ("[statistics]", "[statistics]\nmin_token_items = 0", "statistics.min_token_items", "equal to 1"),
        ("[statistics]", "[statistics]\nnum_neighbours = 0", "statistics.num_neighbours", "equal to 1"),
        ("[statistics]", "[statistics]\nneighbour_days = 0", "statistics.neighbour_days", "equal to 1"),
        ("[statistics]", "[statistics]\nmax_neighbour_items = 1", "statistics.max_neighbour_items", "equal to 2"),
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
        ("[training]", "[training]\nnum_processes = 0", "training.num_processes", "equal to 1"),
        (
            "[training]",
            "[training]\nsettings.markov.num_step = 2",
            "training.settings.markov",
            "no setting 'num_step': did you mean 'num_steps'",
        ),
        (
            "[training]",
            "[training]\nsettings.markov.num_steps = 0",
            "training.settings.markov.num_steps",
            "Input should be greater than or equal to 1",
        ),
        ("[training]", "[training]\nsettings.sasrek = {}", "training.settings.sasrek", "did you mean 'sasrec'"),
        ("[recommendations]", "[recommendations]\nk = 1001", "recommendations.k", "equal to 1000"),
        ("[validation]", "[validation]\nmax_quarantine_share = 1.5", "validation.max_quarantine_share", "equal to 1"),
        ("[store]", '[store]\nmemory_limit = "lots"', "store.memory_limit", "pattern"),
        ("[store]", "[store]\nthreads = 0", "store.threads", "equal to 1"),
        ("[store]", "[store]\nkeep_nights = 1", "store.keep_nights", "equal to 2"),
        ("[store]", "[store]\nkeep_nights = 1.5", "store.keep_nights", "integer"),
        ("[store]", "[store]\nkeep_days = 0", "store.keep_days", "equal to 1"),
        ("[store]", '[store]\nroot = "s3://bucket/shop"', "store", "store.work must name a local folder"),
        ("[beam]", '[beam]\nrunner = ""', "beam.runner", "at least 1"),
        ("[beam]", "[beam]\nbuckets = 0", "beam.buckets", "equal to 1"),
        ("[beam]", "[beam]\nbuckets = 10001", "beam.buckets", "equal to 10000"),
        ("\n[events]", 'engine = "spark"\n[events]', "engine", "'local' or 'beam'"),
    ],
)
def test_a_wrong_value_is_told_with_its_place_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, where: str, allowed: str
) -> None:
    error = complaint(tmp_path, TOML.replace(old, new, 1))
    assert error.what == f"wrong setting {where}"
    assert allowed in error.allowed
    assert error.fix == f"change {where}"


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


def test_the_store_works_in_its_own_folder_or_in_the_one_that_is_named(tmp_path: Path) -> None:
    plain = settings_of(tmp_path, store={"root": "a/../tables"})
    assert plain.work_folder == tmp_path / "tables"
    assert (plain.open_store().root, plain.open_store().work) == (str(tmp_path / "tables"), tmp_path / "tables")
    apart = settings_of(tmp_path, store={"root": "tables", "work": "work"})
    assert (apart.open_store().root, apart.open_store().work) == (str(tmp_path / "tables"), tmp_path / "work")


def test_a_store_at_a_url_keeps_its_url_and_works_in_a_local_folder(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, store={"root": "memory://settings/shop", "work": "work"})
    store = settings.open_store()
    assert (store.root, store.work, store.is_local) == ("memory://settings/shop", tmp_path / "work", False)
    assert settings.work_folder == tmp_path / "work"


def test_options_of_beam_are_kept_as_they_are_written(tmp_path: Path) -> None:
    lines = 'runner = "DataflowRunner"\nbuckets = 64\n[beam.options]\nregion = "x"\nnum_workers = 3\nstreaming = false'
    beam = load_settings(write(tmp_path, with_line("[beam]", f'{lines}\nexperiments = ["a", "b"]'))).beam
    assert (beam.runner, beam.buckets) == ("DataflowRunner", 64)
    assert beam.options == {"region": "x", "num_workers": 3, "streaming": False, "experiments": ["a", "b"]}
