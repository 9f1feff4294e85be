"""A small valid set of all tables, and a judge that tells which expectations a table breaks."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
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
OF_OTHER_NIGHTS = ("previous_", "other_", "former_", "earlier_")
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
            "nights": {"first": "2026-01-01", "time_zone": "Europe/Berlin"},
            "sessions": {"gap_minutes": 30},
            "statistics": {"num_neighbours": 2},
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
    found = con.execute(expectation.arguments["unexpected_rows_query"].replace("{batch}", "batch")).fetchall()
    if found and expectation.proof:
        assert _prove(con, expectation.proof) is not True, f"the proof of {expectation.name} hides {found}"
    return not found


def _prove(con: duckdb.DuckDBPyConnection, proof: str) -> object:
    try:
        return con.execute(proof.replace("{batch}", "batch")).fetchall()[0][0]
    except (duckdb.ConversionException, duckdb.OutOfRangeException):
        return None


def _arrow(view: str, tables: Tables) -> pa.Table:
    of_other_nights = view.startswith(OF_OTHER_NIGHTS)
    table = view.partition("_")[2] if of_other_nights or view.startswith("staged_") else view
    schema = EXPECTED_SUBJECTS if table == "expected_subjects" else CONTRACTS[table].schema
    return pa.Table.from_pylist(tables[view if of_other_nights else table], schema=schema)


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
        "gap_square_sum_us2": Decimal(0),
    }


def _neighbour(item: str, rank: int, neighbour: str, score: float) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT,
        "item_id": item,
        "rank": rank,
        "neighbour_id": neighbour,
        "similarity": 0.5,
        "mean_gap_s": 0.0,
        "num_subjects": 1,
        "score": score,
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
        "first_point": at(1, 8),
        "last_point": at(3, 8),
        **dict.fromkeys(("gap_square_sum_s2", "log_gap_sum", "log_gap_square_sum"), Decimal(0)),
    }


def _token(field: str, token: str, number: int) -> dict[str, Any]:
    return {"first_night": NIGHT, "field": field, "token": token, "number": number, "count": 1}


def _sequence(subject: str, day: int, numbers: list[int], times: list[datetime]) -> dict[str, Any]:
    return {
        "event_date": date(2026, 1, day),
        "subject_type": "user",
        "subject_id": subject,
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


def _metric(
    metric: str, value: float, low: float | None = None, high: float | None = None, days_ago: int = 0
) -> dict[str, Any]:
    return {
        "as_of_date": NIGHT - timedelta(days=days_ago),
        "model": "popular",
        "protocol": "next_night",
        "slice": "users",
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
        "num_cases": 100,
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
    "item_users": [
        {"first_date": date(2026, 1, day), "item_id": item, "user_id": user}
        for day, item, user in [(1, "A", "u1"), (1, "B", "u1"), (3, "A", "u2")]
    ],
    "item_neighbours": [
        _neighbour("A", 1, "B", 0.9),
        _neighbour("A", 2, "C", 0.8),
        _neighbour("B", 1, "A", 0.8),
        _neighbour("B", 2, "C", 0.8),
    ],
    "interval_uniformity": [
        _uniformity("u1", 2, 0.0, 1),
        _uniformity("u2", 3, 0.5, 2),
        _uniformity("u3", 3, 0.7, 3),
        _uniformity("u4", 3, 0.8, 4),
        _uniformity("u5", 1, None, None),
    ],
    "metadata_vocabulary": [
        _token("item", "C", 4),
        _token("item", "D", 5),
        _token("brand", "Acme", 2),
    ],
    "other_metadata_vocabulary": [_token("item", "B", 2), _token("item", "A", 3)],
    "former_metadata_vocabulary": [_token("item", "C", 4)],
    "training_sequences": [
        _sequence("u1", 1, [4, 5], [at(1, 8), at(1, 8)]),
        _sequence("u2", 1, [4], [at(1, 9)]),
        _sequence("u1", 3, [5], [at(2, 23)]),
        _sequence("u2", 3, [4, 4], [at(3, 8), at(3, 22, 59)]),
    ],
    "training_runs": [_step("popular", 0, None), _step("sasrec", 10, 2.5)],
    "metrics": [
        _metric("ndcg@10", 0.2, 0.1, 0.3),
        _metric("novelty@10", 11.5),
        _metric("coverage@10", 1.0),
        _metric("familiarity", 0.8, 0.75, 0.85),
    ],
    "earlier_metrics": [_metric("familiarity", 0.7 + 0.1 * ago, 0.7, 1.0, ago) for ago in (1, 2, 3)],
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
