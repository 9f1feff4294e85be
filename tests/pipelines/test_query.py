import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.errors import InputError
from pipelines.query import FOLDER, main, print_answer, run_query
from pipelines.views import write_views
from tests.pipelines.served_store import HOSTILE, NIGHT, OLD, served_store
from tests.pipelines.small_log import at, day, settings_of

QUERIES = sorted(path.stem for path in FOLDER.glob("*.sql"))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    settings = settings_of(folder, recommendations={"serve": "markov"})
    return write_views(served_store(folder / "store"), settings)


def ask(views: Path, name: str, *columns: str, **parameters: str) -> list[Any]:
    """Answer of a query: the named columns of its rows."""
    names, rows = run_query(views, name, parameters)
    return [tuple(row[names.index(column)] for column in columns) for row in rows]


def test_history_of_user_is_newest_first(views: Path) -> None:
    assert ask(views, "history_of_user", "event_time", "item_id", "title", user="u1") == [
        (at(2, 1), "b", HOSTILE), (at(2, 1), "a", "A"), (at(1), "a", "A"),
    ]  # fmt: skip
    assert ask(views, "history_of_user", "item_id", user="nobody") == []


def test_familiarity_is_shown_night_by_night(views: Path) -> None:
    columns = ("night", "model", "familiarity", "cases", "mean_before")
    assert ask(views, "familiarity", *columns) == [
        (NIGHT, "popular", 0.5, 101, 0.75), (OLD, "popular", 0.75, 101, None),
    ]  # fmt: skip
    assert ask(views, "familiarity", *columns, slice="anonymous_sessions") == [(NIGHT, "popular", 0.875, 99, None)]


def test_leaderboard_ranks_the_models_of_the_newest_night(views: Path) -> None:
    assert ask(views, "leaderboard", "model", "ndcg@10", "hit@10") == [("markov", 0.3334, None), ("popular", 0.25, 0.5)]
    assert ask(views, "leaderboard", "model", "ndcg@10", slice="new_users") == [("popular", 0.01)]


def test_under_100_cases_there_is_no_verdict(views: Path) -> None:
    few, enough = "none: under 100 cases", "by the interval"
    assert ask(views, "leaderboard", "cases", "verdict") == [(100, enough), (100, enough)]
    assert ask(views, "leaderboard", "cases", "verdict", slice="new_users") == [(99, few)]
    assert ask(views, "slices", "slice", "cases", "verdict", model="popular") == [
        ("new_users", 99, few), ("users", 100, enough),
    ]  # fmt: skip


def test_slices_show_the_served_model_unless_told_otherwise(views: Path) -> None:
    columns = ("slice", "ndcg@10", "hit@10")
    assert ask(views, "slices", *columns) == [("users", 0.3334, None)]
    assert ask(views, "slices", *columns, model="popular") == [("new_users", 0.01, None), ("users", 0.25, 0.5)]


def test_quarantine_reasons_count_and_show_the_first_row(views: Path) -> None:
    columns = ("file_date", "reason", "num_rows", "percent", "source_file", "source_row", "raw_row")
    newest = [
        (NIGHT, "bad", 2, 25.0, "f2", 6, "f2:6"),
        (NIGHT, "too_late", 1, 12.5, "f2", 3, "f2:3"),
        (OLD, "too_late", 1, 50.0, "f1", 2, "f1:2"),
    ]
    assert ask(views, "quarantine_reasons", *columns) == newest
    assert ask(views, "quarantine_reasons", *columns, since=day(-9).isoformat()) == [
        *newest, (day(-9), "too_late", 1, 10.0, "f0", 1, "f0:1"),
    ]  # fmt: skip
    assert ask(views, "quarantine_reasons", *columns, since=day(1).isoformat()) == newest[:2]


def test_related_to_item_shows_the_served_model_unless_told_otherwise(views: Path) -> None:
    columns = ("rank", "related_item_id", "title", "price")
    assert ask(views, "related_to_item", *columns, item="a") == [(1, "b", HOSTILE, None), (2, "c", None, None)]
    assert ask(views, "related_to_item", *columns, item="a", model="popular") == [(1, "c", None, None)]
    assert ask(views, "related_to_item", *columns, item=HOSTILE) == [(1, "a", "A", 1.5)]


def test_top_for_some_users_shows_model_made_ranks(views: Path) -> None:
    columns = ("user_id", "rank", "item_id", "title")
    assert ask(views, "top_for_some_users", *columns) == [
        (HOSTILE, 1, "b", HOSTILE), (HOSTILE, 2, "a", "A"), ("u1", 1, "a", "A"),
    ]  # fmt: skip
    assert {row[1] for row in ask(views, "top_for_some_users", *columns, ranks="1")} == {1}
    assert len({row[0] for row in ask(views, "top_for_some_users", *columns, users="1")}) == 1
    assert ask(views, "top_for_some_users", *columns, model="popular") == [("u1", 1, "b", HOSTILE)]


def test_top_for_user_shows_users_before_anonymous_sessions(views: Path) -> None:
    columns = ("rank", "item_id", "title", "source", "reason", "as_of_date")
    assert ask(views, "top_for_user", *columns, user="u1") == [
        (1, "a", "A", "model", "because", NIGHT), (2, "b", HOSTILE, "fallback", "because", NIGHT),
        (1, "b", HOSTILE, "model", "because", NIGHT),
    ]  # fmt: skip
    assert ask(views, "top_for_user", "item_id", user="u1", model="popular") == [("b",)]


def test_volume_by_day_joins_files_events_and_visits(views: Path) -> None:
    columns = (
        "day", "num_files", "num_rows", "num_quarantined", "num_interactions", "num_users", "num_items",
        "num_sessions", "events_per_session",
    )  # fmt: skip
    assert ask(views, "volume_by_day", *columns) == [
        (day(-9), 1, 10, 1, None, None, None, None, None),
        (OLD, 1, 2, 1, 1, 1, 1, 1, 1.0),
        (NIGHT, 2, 8, 3, 4, 2, 3, 2, 2.5),
    ]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_says_its_question_and_every_parameter(name: str) -> None:
    question, parameters, *_ = (FOLDER / f"{name}.sql").read_text().splitlines()
    assert re.fullmatch(r"-- Question: \w.*[?.]", question)
    known = set(re.findall(r"getvariable\('(\w+)'\)", (FOLDER / f"{name}.sql").read_text()))
    assert known == set(re.findall(r"(?:^-- Parameters: |; )(\w+) \(", parameters))


@pytest.mark.parametrize("text", [HOSTILE, "u1' or '1' = '1", "'", "\\", "u1\n", "🙂", "%", "getvariable('model')"])
def test_a_parameter_is_text_whatever_stands_in_it(views: Path, text: str) -> None:
    expected = [("b",), ("a",)] if text == HOSTILE else []
    assert ask(views, "top_for_user", "item_id", user=text) == expected
    with pytest.raises(InputError, match="there is no model"):
        ask(views, "top_for_user", "item_id", user="u1", model=text)
    assert len(ask(views, "top_for_user", "item_id", user="u1")) == 3


def test_an_unknown_query_is_told_with_the_nearest(views: Path) -> None:
    with pytest.raises(InputError, match="no query 'top_for_usr'") as caught:
        run_query(views, "top_for_usr", {})
    assert caught.value.fix == "did you mean top_for_user?"
    assert caught.value.allowed == ", ".join(QUERIES)
    with pytest.raises(InputError, match="name one of these"):
        run_query(views, "../pipelines/x", {})


def test_an_unknown_parameter_is_told_with_the_nearest(views: Path) -> None:
    with pytest.raises(InputError, match="the query has no parameter modell") as caught:
        run_query(views, "top_for_user", {"user": "u1", "modell": "x"})
    assert caught.value.fix == "did you mean model?"
    assert caught.value.allowed == "model (optional), user (needed)"
    with pytest.raises(InputError, match="no parameter x") as caught:
        run_query(views, "volume_by_day", {"x": "1"})
    assert (caught.value.allowed, caught.value.fix) == ("none", "make query Q=volume_by_day")


def test_a_parameter_that_is_needed_is_asked_for(views: Path) -> None:
    with pytest.raises(InputError, match="the query needs item") as caught:
        run_query(views, "related_to_item", {"model": "markov"})
    assert caught.value.value == "model=markov"
    assert caught.value.fix == 'make query Q=related_to_item P="item=..."'


def test_an_answer_is_printed_with_control_characters_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a\x1b[31mred\nb", 0.123456, None), ("[bold]x[/bold]", 2, "ö🙂")]
    print_answer(Console(width=100), ["text", "number", "other"], rows)
    told = capsys.readouterr().out
    assert "a\\x1b[31mred\\nb" in told
    assert "0.1235" in told
    assert "[bold]x[/bold]" in told
    assert "ö🙂" in told
    assert told.endswith("2 rows\n")


def write_settings(folder: Path) -> Path:
    path = folder / "shop.toml"
    path.write_text(
        '[events]\npath = "{day}.csv"\nformat = "csv"\n[events.columns]\nuser = "u"\nitem = "i"\ntime = "t"\n'
        "[nights]\nfirst = 2026-01-01\n"
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["top_for_user", "user=u1"], 0, "because"),
        (["top_for_user", "user=a=b"], 0, "0 rows"),
        (["top_for_user", "u1"], 2, "write u1=..."),
        (["top_for_user"], 2, "the query needs user"),
        (["quarantine_reasons", "since=yesterday"], 1, "the query failed"),
    ],
)
def test_the_command_line_answers_or_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    settings = settings_of(tmp_path, recommendations={"serve": "markov"})
    write_views(served_store(tmp_path / "store"), settings)
    assert main(["--settings", str(write_settings(tmp_path)), *arguments]) == code
    captured = capsys.readouterr()
    assert told in (captured.err if code else captured.out)


def test_the_command_line_needs_a_complete_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--settings", str(write_settings(tmp_path)), "volume_by_day"]) == 2
    assert "nothing to query yet" in capsys.readouterr().err
    assert main(["--settings", str(tmp_path / "none.toml"), "volume_by_day"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_model_that_there_is_not_is_refused_with_the_nearest(views: Path) -> None:
    with pytest.raises(InputError, match="there is no model 'markof'") as caught:
        run_query(views, "top_for_user", {"user": "u1", "model": "markof"})
    assert "did you mean markov?" in str(caught.value)
