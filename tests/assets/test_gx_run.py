"""The suites of all tables, judged by Great Expectations: as when DuckDB runs their queries by itself."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.gx_run import run
from pipelines.contracts import CONTRACTS, Contract
from pipelines.engine import scan
from pipelines.expectations import COMPANIONS, Expectation, suite
from pipelines.settings import Settings

NIGHT = date(2026, 1, 3)
ODD_VALUES: dict[pa.DataType, Any] = {
    pa.string(): "",
    pa.timestamp("us", tz="UTC"): datetime(2026, 1, 1, tzinfo=UTC),
    pa.date32(): NIGHT,
    pa.int64(): -1,
    pa.int32(): -1,
    pa.float64(): float("nan"),
    pa.float32(): float("inf"),
    pa.bool_(): True,
    pa.list_(pa.string()): [""],
    pa.list_(pa.int32()): [-1, -2],
    pa.list_(pa.timestamp("us", tz="UTC")): [],
    pa.decimal128(38, 0): Decimal(-1),
    pa.map_(pa.string(), pa.list_(pa.string())): {},
}


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "events": {
                "format": "csv",
                "path": "logs/{day}.csv",
                "columns": {"item": "item", "time": "time", "user": "user"},
                "item_columns": {"price": "price"},
                "event_types": [{"name": r"a{b} :c \:d %e $f 'g'"}],
            },
            "nights": {"first": "2026-01-01"},
        }
    )


def _odd_rows(contract: Contract, folder: Path) -> Path:
    """A file of two equal rows in which nearly everything is wrong."""
    row = {column.name: ODD_VALUES[column.type] for column in contract.columns}
    pq.write_table(pa.Table.from_pylist([row, row], schema=contract.schema), folder / "odd.parquet")
    return folder / "odd.parquet"


def _companion(view: str) -> str:
    if view == "expected_subjects":
        return "select 'user' as subject_type, 'u1' as subject_id where false"
    return scan(CONTRACTS[view if view in CONTRACTS else view.partition("_")[2]], [])


def _broken_in_duckdb(views: dict[str, str], expectations: tuple[Expectation, ...]) -> set[str]:
    with duckdb.connect() as con:
        for name, select in views.items():
            con.execute(f"create view {name} as {select}")
        queries = {e.name: e.arguments.get("unexpected_rows_query", "select 1 limit 0") for e in expectations}
        return {name for name, sql in queries.items() if con.execute(sql.replace("{batch}", "batch")).fetchall()}


@pytest.mark.parametrize("table", CONTRACTS)
def test_odd_rows_break_what_they_break_in_duckdb(table: str, settings: Settings, tmp_path: Path) -> None:
    contract, expectations = CONTRACTS[table], suite(CONTRACTS[table], settings)
    views = {"batch": scan(contract, [_odd_rows(contract, tmp_path)])}
    views |= {view: _companion(view) for view in COMPANIONS.get(table, ())}
    report = run(table, expectations, views, NIGHT, tmp_path / "docs", settings.store, tmp_path)
    assert {verdict.name for verdict in report.failures} == _broken_in_duckdb(views, expectations)
    assert not [verdict for verdict in report.verdicts if "could not be evaluated" in verdict.observed]
    assert report.verdicts[0].observed == ", ".join(contract.column_names)
    assert report.failures
    assert report.page
    assert report.page.is_file()


@pytest.mark.parametrize("table", ["interactions", "quarantine", "items", "metrics", "recommendations"])
def test_tables_without_rows_pass(table: str, settings: Settings, tmp_path: Path) -> None:
    views = {"batch": scan(CONTRACTS[table], [])} | {view: _companion(view) for view in COMPANIONS.get(table, ())}
    expectations = suite(CONTRACTS[table], settings)
    report = run(table, expectations, views, NIGHT, tmp_path / "docs", settings.store, tmp_path)
    assert [verdict.name for verdict in report.verdicts] == [expectation.name for expectation in expectations]
    assert report.passed
    assert not report.warnings


def test_a_text_of_the_settings_reaches_duckdb_unchanged(settings: Settings, tmp_path: Path) -> None:
    contract, path = CONTRACTS["interactions"], tmp_path / "events.parquet"
    row = {column.name: None for column in contract.columns}
    pq.write_table(pa.Table.from_pylist([row | {"event_type": r"a{b} :c \:d %e $f 'g'"}], schema=contract.schema), path)
    expectations = [e for e in suite(contract, settings) if e.name == "event_type_is_known"]
    views = {"batch": scan(contract, [path])}
    report = run("interactions", expectations, views, NIGHT, tmp_path / "docs", settings.store, tmp_path)
    assert report.passed, report.message()
