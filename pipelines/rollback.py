"""Serve a former state of a table again: ``python -m pipelines.rollback --settings FILE TABLE [VERSION]``.

Without a version it lists those there are. Nothing is deleted, so a rollback can be rolled back.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipelines.errors import InputError
from pipelines.manifests import Publication
from pipelines.query import console, print_answer
from pipelines.settings import Settings
from pipelines.settings_file import load_settings
from pipelines.store import Store
from pipelines.views import write_views

COLUMNS = ("version", "published_utc", "run", "partitions", "rows", "served")


def print_history(screen: Console, history: Sequence[Publication]) -> None:
    """Print the states of a table, newest first; the first is the one that is served."""
    rows = [
        (
            state.version,
            state.time.strftime("%Y-%m-%d %H:%M:%S"),
            state.run,
            describe_partitions(state.partitions),
            state.num_rows,
            "now" if state == history[0] else "",
        )
        for state in history
    ]
    print_answer(screen, COLUMNS, rows)


def describe_partitions(partitions: Sequence[str]) -> str:
    """Say in a few words which partitions changed."""
    if len(partitions) < 3:
        return ", ".join(partitions)
    return f"{partitions[0]} to {partitions[-1]} ({len(partitions)})"


def roll_back(store: Store, settings: Settings, table: str, version: int) -> str:
    """Serve a table as of a version, write the views anew, and say what is served."""
    before = store.version()
    tables = store.rollback(table, version)
    write_views(store, settings)
    served, *former = store.history(table)
    if served.version <= before:
        return f"{table} is what version {version} had already: nothing changed."
    others = f" (and so are {', '.join(tables[1:])}: one stage writes them)" if tables[1:] else ""
    return (
        f"{table} is served as of version {version} again{others}, by the new version {served.version}: "
        f"{served.num_rows:,} rows; changed: {describe_partitions(served.partitions)}.\n"
        f"To undo this, roll back to version {former[0].version}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if the history was shown or the table is served as of the version."""
    parser = argparse.ArgumentParser(description="Show the former states of a table, or serve one of them again.")
    parser.add_argument("--settings", type=Path, required=True, help="settings of the deployment")
    parser.add_argument("table", help="name of the table, or checkpoints")
    parser.add_argument("version", nargs="?", type=int, help="the version to serve (default: list them)")
    chosen = parser.parse_args(arguments)
    try:
        settings = load_settings(chosen.settings)
        store = settings.open_store()
        if chosen.version is None:
            print_history(console(), store.history(chosen.table))
        else:
            print(roll_back(store, settings, chosen.table, chosen.version))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
