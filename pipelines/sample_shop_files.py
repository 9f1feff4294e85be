"""Write the sample shop's days as JSON lines, with DuckDB.

A log line is put together as text from ready-made JSON words, not by a JSON writer, since some lines must be broken.
A bad time keeps its time of day, lest two of one session be identical rows.
The same rows give the same bytes, gz or not, however many threads DuckDB uses.
"""

import json
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.sample_shop_catalogue import encoded
from pipelines.sample_shop_dirt import KIND, UNKNOWN_ITEM_IDS
from pipelines.sample_shop_sessions import EVENTS, NO_SESSION
from pipelines.sample_shop_settings import SampleShop

LOG_LINES = """
    select
        case when is_malformed then left(line, 1 + arrival % (length(line) - 1)) else line end as line
    from (
        select
            is_malformed,
            arrival,
            concat(
                '{"user":', "user",
                ',"session":', coalesce('"s' || session || '"', 'null'),
                ',"item":', item,
                ',"time":"',
                case
                    when is_bad_time then ['yesterday ', '2026-13-45T', '31/13/26 ', 'NaT '][1 + arrival % 4]
                    else strftime("time", '%Y-%m-%dT')
                end,
                strftime("time", '%H:%M:%S.%gZ'),
                '","event":"', event, '"}'
            ) as line
        from log_rows
    )
"""
CATALOGUE_ROWS = """
    select
        id,
        title,
        concat(title, ' by ', brand, '. Made of ', material, ', in ', colour, '.') as description,
        category,
        brand,
        price,
        {'colour': colour, 'material': material} as attributes
    from (
        select
            *,
            coalesce(hostile_title, concat(upper(left(colour, 1)), substr(colour, 2), ' ', material, ' ', noun))
                as title
        from catalogue_rows
    )
"""


def path_of(config: SampleShop, folder: Path, kind: str, day: date) -> Path:
    """Return where the `events` or the `catalogue` file of a day lies."""
    suffix = "jsonl.gz" if config.compression == "gz" else "jsonl"
    return folder / {"events": "logs", "catalogue": "catalogue"}[kind] / f"{kind}-{day}.{suffix}"


def json_words(ids: list[str]) -> list[str]:
    """Return the ids as JSON texts, with null last, where the code -1 finds it."""
    return [json.dumps(word, ensure_ascii=False) for word in ids] + ["null"]


def write_log(
    config: SampleShop, path: Path, rows: NDArray[np.void], user_words: list[str], item_words: list[str]
) -> None:
    """Write a day's rows, in the order given; the words come from `json_words`."""
    first_midnight = np.datetime64(config.first_day, "ms").astype(np.int64)
    session = np.ascontiguousarray(rows["session"])
    table = pa.table(
        {
            "user": encoded(rows["user"], user_words),
            "session": pa.array(session, mask=session == NO_SESSION),
            "item": encoded(rows["item"], item_words),
            "event": encoded(rows["event"], EVENTS),
            "time": pa.array(rows["time"] + first_midnight, type=pa.timestamp("ms")),
            "arrival": pa.array(np.ascontiguousarray(rows["arrival"])),
            "is_bad_time": pa.array(rows["kind"] == KIND["bad_time"]),
            "is_malformed": pa.array(rows["kind"] == KIND["malformed"]),
        }
    )
    # One column without quoting is plain text: no id or title holds a raw control character.
    _copy(
        config, path, "log_rows", table, LOG_LINES, r"format csv, header false, quote '', escape '', delimiter '\x01'"
    )


def item_words(ids: list[str]) -> list[str]:
    """Return the JSON words of the items, with the unknown ones before null."""
    return json_words([*ids, *UNKNOWN_ITEM_IDS])


def write_catalogue(config: SampleShop, path: Path, table: pa.Table) -> None:
    """Write a day's snapshot of the catalogue, in the order given."""
    _copy(config, path, "catalogue_rows", table, CATALOGUE_ROWS, "format json")


def _copy(config: SampleShop, path: Path, name: str, table: pa.Table, select: str, options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same day in the other form would be read twice by whoever reads the whole folder.
    other_form = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    other_form.unlink(missing_ok=True)
    compression = "gzip" if config.compression == "gz" else "none"
    target = str(path).replace("'", "''")
    with duckdb.connect() as connection:
        connection.register(name, table)
        connection.execute(f"copy ({select}) to '{target}' ({options}, compression {compression})")
