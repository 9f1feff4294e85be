import json
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.sample_shop_dirt import KIND
from pipelines.sample_shop_files import item_words, json_words, path_of, write_log
from pipelines.sample_shop_sessions import ROW
from pipelines.sample_shop_settings import SampleShop

CONFIG = SampleShop()
ITEM_WORDS = item_words(["i00000", 'i"\n\\🛋️'])


def write(folder: Path, rows: list[tuple[int, ...]]) -> list[str]:
    """Write rows of (user, session, item, event, time, arrival, kind) and return the lines."""
    write_log(CONFIG, folder / "a 'file'.jsonl", np.array(rows, ROW), json_words(["u00000", "u'用户"]), ITEM_WORDS)
    return (folder / "a 'file'.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


def test_a_row_becomes_the_line_known_by_hand(tmp_path: Path) -> None:
    assert write(tmp_path, [(0, 12, 0, 1, 2 * 86_400_000 + 33_327_123, 0, 0)]) == [
        '{"user":"u00000","session":"s12","item":"i00000","time":"2026-01-03T09:15:27.123Z","event":"cart"}'
    ]


def test_negative_codes_become_null_and_unknown_ids(tmp_path: Path) -> None:
    lines = write(tmp_path, [(-1, 0, -1, 0, 0, 0, 0), (-1, 3, -2, 0, 0, 0, 0), (0, 3, -51, 0, 0, 0, 0)])
    rows = [json.loads(line) for line in lines]
    assert [(row["user"], row["session"], row["item"]) for row in rows] == [
        (None, None, None),
        (None, "s3", "gone-49"),
        ("u00000", "s3", "gone-00"),
    ]


def test_hostile_ids_are_one_line_and_come_back(tmp_path: Path) -> None:
    (line,) = write(tmp_path, [(1, 3, 1, 2, 0, 0, 0)])
    row = json.loads(line)
    assert (row["user"], row["item"], row["event"]) == ("u'用户", 'i"\n\\🛋️', "purchase")


def test_bad_times_cannot_be_read_as_times(tmp_path: Path) -> None:
    lines = write(tmp_path, [(0, 3, 0, 0, moment, moment, KIND["bad_time"]) for moment in range(8)])
    texts = [json.loads(line)["time"] for line in lines]
    assert len(set(texts)) == 8
    for text in texts:
        with pytest.raises(duckdb.ConversionException):
            duckdb.execute("select ?::timestamptz", [text])


def test_malformed_lines_break_wherever_they_are_cut(tmp_path: Path) -> None:
    lines = write(tmp_path, [(1, 3, 1, 0, 0, arrival, KIND["malformed"]) for arrival in range(120)])
    assert len({len(line) for line in lines}) > 90
    for line in lines:
        assert line
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)


def test_rows_keep_their_order_beyond_one_batch_of_the_writer(tmp_path: Path) -> None:
    rows: NDArray[np.void] = np.zeros(300_000, ROW)
    rows["session"] = np.random.default_rng(0).permutation(300_000) + 1
    write_log(CONFIG, tmp_path / "log.jsonl", rows, ["null"], ["null"])
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [int(line.split('"s')[2].split('"')[0]) for line in lines] == rows["session"].tolist()


def test_paths_say_the_day_and_the_compression(tmp_path: Path) -> None:
    packed = SampleShop(compression="gz")
    day = date(2026, 1, 3)
    assert path_of(CONFIG, tmp_path, "events", day) == tmp_path / "logs" / "events-2026-01-03.jsonl"
    assert path_of(packed, tmp_path, "catalogue", day) == tmp_path / "catalogue" / "catalogue-2026-01-03.jsonl.gz"
