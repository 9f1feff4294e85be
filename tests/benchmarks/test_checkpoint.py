from datetime import date
from pathlib import Path

import duckdb
import pytest

from benchmarks.checkpoint import DAYS, build_table, measure
from pipelines.settings import Storage

STORAGE = Storage(memory_limit="1GB", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    build_table(STORAGE, folder, 20_000)
    return folder


def test_the_table_is_that_of_a_store(folder: Path) -> None:
    names = sorted(path.name for path in folder.glob("*.parquet"))
    on_time = [f"{day}_{day}.parquet" for day in DAYS]
    late = [f"{event}_{file}.parquet" for event, file in zip([date(2026, 3, 26), *DAYS], DAYS, strict=False)]
    assert names == sorted(on_time + late)
    rows, files, users, sessions = duckdb.execute(
        "select count(*), count(distinct source_file), count(user_id) / count(*), count(source_session) / count(*)"
        f" from '{folder}/*.parquet'"
    ).fetchall()[0]
    assert (rows, files) == (20_000, 15)
    assert 0.88 < users < 0.92
    assert 0.64 < sessions < 0.69


def test_every_query_is_counted_for_its_expectation(folder: Path) -> None:
    cost = measure(STORAGE, folder)
    counted = {name for name, seconds in cost.queries_cpu_s.items() if seconds > 0}
    assert set(cost.queries_cpu_s) - counted == {"columns_match_the_contract"}
    assert len(counted) == 9
    assert sum(cost.queries_cpu_s.values()) < cost.cpu_s
    assert cost.peak_mib >= cost.before_mib


def test_a_table_that_does_not_pass_is_not_measured(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.parquet"):
        (tmp_path / path.name).symlink_to(path)
        (tmp_path / f"again_{path.name}").symlink_to(path)
    with pytest.raises(RuntimeError, match="source_file_and_source_row_are_unique_together"):
        measure(STORAGE, tmp_path)
