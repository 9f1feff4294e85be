"""Fixtures for the tests of the pipelines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import connect
from pipelines.raw import raw_column, read_raw
from pipelines.settings import Format, Storage
from tests.pipelines.small_log import Read
from tests.pipelines.wild_log import run_ranges, wild_settings, write_wild_log


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks as small as these train faster without a pool of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    folder = tmp_path_factory.mktemp("raw")
    with connect(Storage(), folder / "scratch") as con:

        def rows(content: str | bytes, columns: Sequence[str], form: str = "csv", **options: Any) -> list[Any]:
            """Row number, whether it is malformed, and the columns that were asked for; malformed: the raw text."""
            path = folder / "file"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            described = Format.model_validate({"format": form, **options})
            wanted = ", ".join(raw_column(name) for name in columns)
            answer = con.execute(f"""
                select source_row, is_malformed, raw_row, {wanted}
                from ({read_raw(con, described, path, folder / "origin", columns)})
                order by source_row
            """).fetchall()
            return [(row[0], row[2]) if row[1] else (row[0], *row[3:]) for row in answer]

        yield rows


@pytest.fixture(scope="session")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the wild log, with a store whose days were run as one backfill; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("wild")
    write_wild_log(folder)
    run_ranges(wild_settings(folder, "backfill"), [0])
    return folder
