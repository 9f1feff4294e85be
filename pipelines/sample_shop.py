"""Write a sample shop: daily logs and catalogues as JSON lines, with planted structure and planted dirt.

`python -m pipelines.sample_shop --out FOLDER` writes `FOLDER/logs/events-DAY.jsonl` and
`FOLDER/catalogue/catalogue-DAY.jsonl`. The same settings write the same bytes, and any day can be written alone.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipelines.sample_shop_catalogue import catalogue_table
from pipelines.sample_shop_files import item_words, json_words, path_of, write_catalogue, write_log
from pipelines.sample_shop_plan import Plan
from pipelines.sample_shop_settings import DIRT_KINDS, SampleShop
from pipelines.sample_shop_truth import DayTruth, ShopTruth

__all__ = ["DIRT_KINDS", "DayTruth", "SampleShop", "ShopTruth", "main", "shop_truth", "write_day", "write_shop"]

OPTIONS = {
    "--days": ("num_days", "number of days from 2026-01-01"),
    "--events-per-day": ("events_per_day", "mean number of events, before dirt"),
    "--users": ("num_users", "number of users"),
    "--items": ("num_items", "number of items on the first day"),
    "--clusters": ("num_clusters", "number of groups of items seen together"),
    "--seed": ("seed", "another seed, another shop"),
}


def shop_truth(config: SampleShop) -> ShopTruth:
    """Compute the planted truth without writing or reading any file."""
    plan = Plan.until(config, config.num_days - 1)
    days = {day: truth for day, _, truth in plan.files(0, config.num_days - 1)}
    return ShopTruth.of_shop(config, plan.items, plan.visitors, days)


def write_shop(config: SampleShop, folder: Path) -> ShopTruth:
    """Write every day's log and catalogue under the folder, over what is there; return the planted truth.

    Memory holds two days of events and the ids: 0.4 GB at 0.3 million events a day, 1.2 GB at 3 million.
    """
    plan = Plan.until(config, config.num_days - 1)
    writer = _Writer.of(plan, folder)
    days: dict[date, DayTruth] = {}
    for day, rows, truth in plan.files(0, config.num_days - 1):
        writer.write(day, rows)
        days[day] = truth
    return ShopTruth.of_shop(config, plan.items, plan.visitors, days)


def write_day(config: SampleShop, folder: Path, day: date) -> DayTruth:
    """Write one day alone, the same bytes as `write_shop` would; the day may lie after the shop's last.

    Raises ValueError for a day before the first.
    """
    day_index = config.day_index(day)
    plan = Plan.until(config, day_index)
    _, rows, truth = next(plan.files(day_index, day_index))
    _Writer.of(plan, folder).write(day, rows)
    return truth


@dataclass(frozen=True)
class _Writer:
    """Write a plan's days into a folder; the words are made once."""

    plan: Plan
    folder: Path
    user_words: list[str]
    item_words: list[str]
    catalogue: pa.Table

    @classmethod
    def of(cls, plan: Plan, folder: Path) -> Self:
        words = json_words(plan.visitors.ids), item_words(plan.items.ids)
        return cls(plan, folder, *words, catalogue_table(plan.config, plan.items))

    def write(self, day: date, rows: NDArray[np.void]) -> None:
        config = self.plan.config
        num_items = config.num_items_on(config.day_index(day))
        write_catalogue(config, path_of(config, self.folder, "catalogue", day), self.catalogue.slice(0, num_items))
        write_log(config, path_of(config, self.folder, "events", day), rows, self.user_words, self.item_words)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 2 when the settings or the folder are of no use."""
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        config = _config(options)
        if options.day is None:
            counts = write_shop(config, options.out).days
        else:
            counts = {options.day: write_day(config, options.out, options.day)}
    except ValidationError as error:
        return _refuse(*map(_sentence, error.errors()))
    except ValueError as error:
        return _refuse(str(error))
    except (OSError, duckdb.IOException) as error:
        return _refuse(f"cannot write into --out {options.out}: {error}. Name a folder you may write to, with room.")
    _report(options.out, counts, time.monotonic() - started)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.sample_shop",
        description="Write a sample shop's daily logs and catalogues, with planted structure and planted dirt.",
        epilog="The same options write the same bytes. To add a night later: the same options and --day.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where logs/ and catalogue/ go")
    for option, (field, text) in OPTIONS.items():
        default = SampleShop.model_fields[field].default
        parser.add_argument(
            option, dest=field, type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    parser.add_argument("--clean", action="store_true", help="plant no dirt")
    parser.add_argument("--gz", action="store_true", help="compress the files")
    parser.add_argument("--day", type=_day, metavar="YYYY-MM-DD", help="write this day alone")
    return parser


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day of the calendar. Write it as 2026-01-31.") from None


def _config(options: argparse.Namespace) -> SampleShop:
    numbers = {field: getattr(options, field) for field, _ in OPTIONS.values()}
    config = SampleShop(**numbers, compression="gz" if options.gz else "none")
    return config.without_dirt() if options.clean else config


def _sentence(problem: ErrorDetails) -> str:
    """Say which setting has which value and what is allowed; our own messages say so already."""
    if not problem["loc"]:
        return problem["msg"].removeprefix("Value error, ")
    return f"{problem['loc'][0]}={problem['input']}: {problem['msg']}."


def _refuse(*problems: str) -> int:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2


def _report(folder: Path, counts: dict[date, DayTruth], seconds: float) -> None:
    num_rows = sum(day.num_rows for day in counts.values())
    planted = {kind: sum(day.num_planted[kind] for day in counts.values()) for kind in DIRT_KINDS}
    print(f"{num_rows} log rows of {len(counts)} days in {seconds:.1f} s: {folder / 'logs'}, {folder / 'catalogue'}")
    print("planted dirt: " + ", ".join(f"{kind} {num}" for kind, num in planted.items()))


if __name__ == "__main__":
    sys.exit(main())
