"""A small valid set of all tables, and a judge that tells which expectations a table breaks."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipelines.contracts import CONTRACTS
from pipelines.expectations import COMPANIONS, Expectation, suite
from pipelines.settings import Settings

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
Judge = Callable[..., set[str]]

NIGHT = date(2026, 1, 3)
EXPECTED_SUBJECTS = pa.schema([("subject_type", pa.string()), ("subject_id", pa.string())])


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "events": {
                "format": "csv",
                "path": "logs/{day}.csv",
                "columns": {"item": "item", "time": "time", "user": "user", "session": "session"},
                "event_types": [{"name": "view"}, {"name": "it's {x}:y", "when_column": "a", "when_matches": "b"}],
                "reject": [{"reason": "robot", "column": "a", "matches": "bot"}],
            },
            "catalogue": {"format": "csv", "path": "items/{day}.csv", "columns": {"id": "id", "price": "price"}},
            "nights": {"first": "2026-01-01", "time_zone": "Europe/Berlin", "session_gap_minutes": 30},
            "recommendations": {"k": 2, "related_k": 2},
            "validation": {
                "max_quarantine_share": 0.05,
                "quarantine_shares": {"robot": 0.5},
                "min_quarantined_rows": 3,
                "max_anonymous_share": 0.5,
                "max_unpriced_share": 0.25,
                "max_delisted_share": 0.5,
            },
        }
    )


@pytest.fixture
def tables() -> Tables:
    return deepcopy(VALID_TABLES)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


@pytest.fixture
def judge(con: duckdb.DuckDBPyConnection, settings: Settings) -> Judge:
    def broken(table: str, tables: Tables, settings: Settings = settings) -> set[str]:
        """Names of the expectations that ``tables[table]`` breaks; it sees the companions of its suite only."""
        views = {"batch": _arrow(table, tables)} | {view: _arrow(view, tables) for view in COMPANIONS.get(table, ())}
        for view, rows in views.items():
            con.register(view, rows)
        verdicts = {e.name: _holds(con, e) for e in suite(CONTRACTS[table], settings)}
        for view in views:
            con.unregister(view)
        return {name for name, holds in verdicts.items() if not holds}

    return broken


def _holds(con: duckdb.DuckDBPyConnection, expectation: Expectation) -> bool:
    if expectation.kind == "ExpectTableColumnsToMatchOrderedList":
        columns = [row[0] for row in con.execute("describe batch").fetchall()]
        return columns == expectation.arguments["column_list"]
    assert expectation.kind == "UnexpectedRowsExpectation"
    return not con.execute(expectation.arguments["unexpected_rows_query"].replace("{batch}", "batch")).fetchall()


def _arrow(view: str, tables: Tables) -> pa.Table:
    table = view.removeprefix("staged_").removeprefix("previous_")
    schema = EXPECTED_SUBJECTS if table == "expected_subjects" else CONTRACTS[table].schema
    return pa.Table.from_pylist(tables[view if view.startswith("previous_") else table], schema=schema)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


def _event(row: int, user: str | None, time: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "event_date": NIGHT,
        "user_id": user,
        "item_id": "A",
        "event_time": time,
        "event_type": "view",
        "weight": 1.0,
        "source_session": None,
        "source_file": "logs/2026-01-03.csv",
        "source_row": row,
        **changes,
    }


def _rejected(row: int, reason: str) -> dict[str, Any]:
    return {
        "file_date": NIGHT,
        "source_file": "logs/2026-01-03.csv",
        "source_row": row,
        "reason": reason,
        "raw_row": "u1,A," + "x" * 200,
    }


def _item(item: str, price: float | None, is_listed: bool = True) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "item_id": item,
        "title": f"Item {item}",
        "description": None,
        "category": ["shoes"],
        "brand": None,
        "price": price,
        "attributes": {"colour": ["red"]},
        "first_seen": date(2026, 1, 1),
        "is_listed": is_listed,
    }


def _session(name: str, user: str | None, *times: datetime, source_session: str | None = None) -> dict[str, Any]:
    return {
        "session_date": NIGHT,
        "session_id": name,
        "user_id": user,
        "source_session": source_session,
        "started_at": times[0],
        "ended_at": times[-1],
        "num_events": len(times),
        "item_ids": ["A"] * len(times),
        "event_times": list(times),
        "event_types": ["view"] * len(times),
    }


def _frequency(item: str, num_events: int, rank: int, share: float) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "item_id": item,
        "num_events": num_events,
        "num_users": 1,
        "num_sessions": 1,
        "first_seen": at(1, 8),
        "last_seen": at(3, 8),
        "popularity_rank": rank,
        "share": share,
        "is_frequent": rank == 1,
        "gap_variance_s2": None,
    }


def _uniformity(user: str, num_gaps: int, dispersion: float | None, rank: int | None) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "user_id": user,
        "num_gaps": num_gaps,
        "mean_gap_s": None,
        "gap_variance_s2": None,
        "log_gap_dispersion": dispersion,
        "uniformity_rank": rank,
        "is_uniform": rank is not None and rank <= 2,
    }


def _token(field: str, token: str, number: int) -> dict[str, Any]:
    return {"as_of_date": NIGHT, "field": field, "token": token, "number": number, "count": 1, "first_night": NIGHT}


def _sequence(subject: str, split: str, numbers: list[int], times: list[datetime]) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "subject_type": "user",
        "subject_id": subject,
        "split": split,
        "item_numbers": numbers,
        "event_times": times,
    }


def _step(model: str, step: int, loss: float | None) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "model": model,
        "chain": "serving",
        "stage": "fit",
        "step": step,
        "epoch": 0,
        "loss": loss,
        "validation_metric": None,
        "seconds": 0.0,
        "checkpoint_hash": "c0ffee",
    }


def _metric(metric: str, value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "model": "popular",
        "protocol": "next_night",
        "slice": "users",
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
        "num_cases": 0,
    }


def _entry(rank: int, item: str, **key: str) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "model": "popular",
        **key,
        "rank": rank,
        "related_item_id" if "item_id" in key else "item_id": item,
        "score": 0.5,
        "source": "model",
        "reason": "popular",
        "model_version": "1",
        "data_version": "1",
        "rule_version": "1",
    }


VALID_TABLES: Tables = {
    "source_files": [
        {
            "file_date": NIGHT,
            "source_file": "logs/2026-01-03.csv",
            "sha256": "abc",
            "num_bytes": 0,
            "num_rows": 100,
            "num_interactions": 87,
            "num_quarantined": 13,
        }
    ],
    "interactions": [
        _event(1, "u1", at(2, 23, 30)),
        _event(2, "u1", at(3, 8), event_type="it's {x}:y", weight=0.0),
        _event(3, None, at(3, 9), source_session="s9"),
    ],
    "quarantine": [
        *(_rejected(row, "robot") for row in range(1, 11)),
        *(_rejected(row, "bad_time") for row in range(11, 14)),
    ],
    "item_observations": [
        {
            "file_date": NIGHT,
            "item_id": "A",
            "observed_at": at(3, 8),
            "title": "Item A",
            "description": None,
            "category": None,
            "brand": None,
            "price": "1.00",
        }
    ],
    "items": [
        _item("A", 1.0),
        _item("B", 0.0),
        _item("C", None),
        _item("D", None, is_listed=False),
        _item("E", 3.0),
    ],
    "previous_items": [_item("A", 1.0), _item("B", 0.0), _item("D", None)],
    "sessions": [
        _session("1", "u1", at(2, 23, 30), at(3, 0)),
        _session("2", "u1", at(3, 0, 31)),
        _session("3", None, at(3, 9), source_session="s9"),
        _session("4", None, at(3, 9), source_session="s8"),
    ],
    "item_frequency": [_frequency("B", 3, 1, 0.6), _frequency("A", 1, 2, 0.2), _frequency("D", 1, 3, 0.2)],
    "interval_uniformity": [
        _uniformity("u1", 2, 0.0, 1),
        _uniformity("u2", 3, 0.5, 2),
        _uniformity("u3", 3, 0.7, 3),
        _uniformity("u4", 3, 0.8, 4),
        _uniformity("u5", 1, None, None),
    ],
    "metadata_vocabulary": [
        _token("item", "B", 2),
        _token("item", "A", 3),
        _token("item", "C", 4),
        _token("brand", "Acme", 2),
    ],
    "previous_metadata_vocabulary": [_token("item", "B", 2), _token("item", "A", 3)],
    "training_sequences": [
        _sequence("u1", "train", [2, 3], [at(1, 8), at(1, 8)]),
        _sequence("u2", "train", [4], [at(1, 9)]),
        _sequence("u1", "validation", [2], [at(2, 8)]),
        _sequence("u2", "test", [3], [at(3, 8)]),
    ],
    "training_runs": [_step("popular", 0, None), _step("sasrec", 10, 2.5)],
    "metrics": [_metric("ndcg@10", 0.2, 0.1, 0.3), _metric("novelty@10", 11.5), _metric("coverage@10", 1.0)],
    "recommendations": [
        _entry(1, "A", subject_type="user", subject_id="u1"),
        _entry(2, "B", subject_type="user", subject_id="u1"),
        _entry(1, "C", subject_type="session", subject_id="s9"),
        _entry(2, "A", subject_type="session", subject_id="s9"),
    ],
    "expected_subjects": [
        {"subject_type": "user", "subject_id": "u1"},
        {"subject_type": "session", "subject_id": "s9"},
    ],
    "related_items": [_entry(1, "B", item_id="A"), _entry(2, "C", item_id="A"), _entry(1, "A", item_id="D")],
}
