"""Run a stored query: ``python -m pipelines.query --settings FILE NAME [parameter=value ...]``.

A query is a file of ``queries/``. Its first comment lines say the question and the parameters, which it reads with
``getvariable``; so the same file works in a plain ``duckdb`` shell after ``set variable``.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from pipelines.engine import identifier, quote
from pipelines.errors import InputError
from pipelines.settings_file import load_settings
from pipelines.views import FILE_NAME, open_views

FOLDER: Final = Path(__file__).parent.parent / "queries"


def run_query(views: Path, name: str, parameters: Mapping[str, str]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer a stored query: column names and rows.

    Raises ``InputError`` for an unknown query, model or parameter, or a parameter that is needed and not given.
    """
    sql = _read_query(name)
    known = set(re.findall(r"getvariable\('(\w+)'\)", sql))
    optional = set(re.findall(r"coalesce\(getvariable\('(\w+)'\)", sql))
    _check_parameters(name, parameters, known, known - optional)
    with open_views(views) as con:
        if "model" in parameters:
            _check_model(con, parameters["model"])
        for key, value in parameters.items():
            con.execute(f"set variable {identifier(key)} = {quote(value)}")
        answer = con.execute(sql)
        return [column[0] for column in answer.description], answer.fetchall()


def _read_query(name: str) -> str:
    names = sorted(path.stem for path in FOLDER.glob("*.sql"))
    if name not in names:
        raise _unknown("query", name, names, FOLDER)
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def _check_parameters(name: str, given: Mapping[str, str], known: set[str], needed: set[str]) -> None:
    wrong = sorted(set(given) - known) or sorted(needed - set(given))
    if wrong:
        nearest = difflib.get_close_matches(wrong[0], known, n=1) if wrong[0] in given else []
        example = "".join(f' P="{key}=..."' for key in sorted(needed))
        raise InputError(
            f"the query has no parameter {wrong[0]}" if wrong[0] in given else f"the query needs {wrong[0]}",
            where=FOLDER / f"{name}.sql",
            value=", ".join(f"{key}={value}" for key, value in given.items()) or "no parameter",
            allowed=", ".join(f"{key} ({'needed' if key in needed else 'optional'})" for key in sorted(known))
            or "none",
            fix=f"did you mean {nearest[0]}?" if nearest else f"make query Q={name}{example}",
        )


def _check_model(con: duckdb.DuckDBPyConnection, model: str) -> None:
    models = [name for (name,) in con.execute("select distinct model from training_runs order by model").fetchall()]
    if model not in models:
        raise _unknown("model", model, models, "training_runs")


def _unknown(kind: str, name: str, names: Sequence[str], where: Path | str) -> InputError:
    nearest = difflib.get_close_matches(name, names, n=1)
    return InputError(
        f"there is no {kind} {name!r}",
        where=where,
        value=name,
        allowed=", ".join(names),
        fix=f"did you mean {nearest[0]}?" if nearest else "name one of these",
    )


def console() -> Console:
    """A console as wide as the terminal; where there is none, wide enough that no cell is folded."""
    return Console(width=None if sys.stdout.isatty() else 240)


def print_answer(screen: Console, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows as a table; text is shown as it is, control characters escaped."""
    table = Table(*(Column(name, overflow="fold") for name in columns), box=box.SIMPLE_HEAD, header_style="bold")
    for row in rows:
        table.add_row(*(Text(_printable(value)) for value in row))
    screen.print(table)
    screen.print(f"{len(rows)} rows")


def _printable(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if the query was answered."""
    parser = argparse.ArgumentParser(description="Answer a stored query over the published tables.")
    parser.add_argument("--settings", type=Path, required=True, help="settings of the deployment")
    parser.add_argument("name", help="name of a file in queries/, without .sql")
    parser.add_argument("parameters", nargs="*", help="name=value")
    chosen = parser.parse_args(arguments)
    try:
        parameters = dict(_split(parameter) for parameter in chosen.parameters)
        views = load_settings(chosen.settings).work_folder / FILE_NAME
        print_answer(console(), *run_query(views, chosen.name, parameters))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except duckdb.Error as error:
        print(f"the query failed: {error}", file=sys.stderr)
        return 1
    return 0


def _split(parameter: str) -> tuple[str, str]:
    name, equals, value = parameter.partition("=")
    if not equals:
        raise InputError(
            "a parameter has no value",
            where="the command line",
            value=parameter,
            allowed="name=value",
            fix=f"write {parameter}=...",
        )
    return name, value


if __name__ == "__main__":
    sys.exit(main())
