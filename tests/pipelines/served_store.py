"""A small published store with known answers, for the tests of the views and the stored queries."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipelines.contracts import CONTRACTS, TIME
from pipelines.engine import describe_part, write_rows
from pipelines.store import Store, Write
from tests.pipelines.small_log import DAY, Row, at, day

DEFAULTS: Final[dict[pa.DataType, Any]] = {
    pa.string(): "",
    pa.date32(): DAY,
    TIME: at(0),
    pa.bool_(): True,
    **dict.fromkeys([pa.int32(), pa.int64(), pa.float32(), pa.float64()], 0),
}


def row_of(table: str, **fields: Any) -> Row:
    """A row of a table; columns that are not given hold something of their type, or null where they may."""
    defaults = {
        column.name: None if column.nullable else DEFAULTS.get(column.type, []) for column in CONTRACTS[table].columns
    }
    return {**defaults, **fields}


def publish(store: Store, table: str, rows: Iterable[Row], run_id: str = "r") -> None:
    """Publish rows of a table, one part a partition."""
    partition_column = CONTRACTS[table].partition
    by_partition: dict[date, list[Row]] = {}
    for row in rows:
        whole = row_of(table, **row)
        by_partition.setdefault(whole[partition_column], []).append(whole)
    folder = store.run_folder(run_id, table)
    parts = [describe_part(store, write_rows(of, table, folder, night), night) for night, of in by_partition.items()]
    store.publish([Write(table, tuple(parts), frozenset(night.isoformat() for night in by_partition))])


HOSTILE: Final = "o'brien\"; drop table items; --"
OLD, NIGHT = day(0), day(1)
TABLES: Final[dict[str, list[Row]]] = {
    "interactions": [
        {"user_id": user, "item_id": item, "event_time": time, "event_date": time.date(), "source_row": number}
        for number, user, item, time in [
            (0, "u1", "a", at(1)), (1, "u1", "b", at(2, 1)), (2, HOSTILE, "a", at(3, 1)), (3, None, "c", at(4, 1)),
            (4, "u1", "a", at(2, 1)),
        ]
    ],
    "items": [
        {"as_of_date": OLD, "item_id": "a", "title": "Old A"},
        {"as_of_date": NIGHT, "item_id": "a", "title": "A", "category": ["x", "y"], "price": 1.5},
        {"as_of_date": NIGHT, "item_id": "b", "title": HOSTILE},
    ],
    "metrics": [
        {"as_of_date": night, "model": model, "slice": part, "metric": metric, "value": value, "num_cases": num}
        for night, model, part, metric, value, num in [
            (OLD, "markov", "users", "ndcg@10", 0.9, 900),
            (NIGHT, "popular", "users", "ndcg@10", 0.25, 100),
            (NIGHT, "popular", "users", "hit@10", 0.5, 100),
            (NIGHT, "popular", "users", "ndcg@20", 0.99, 100),
            (NIGHT, "markov", "users", "ndcg@10", 0.33336, 100),
            (NIGHT, "popular", "new_users", "ndcg@10", 0.01, 99),
            (OLD, "popular", "users", "familiarity", 0.75, 101),
            (NIGHT, "popular", "users", "familiarity", 0.5, 101),
            (NIGHT, "popular", "anonymous_sessions", "familiarity", 0.875, 99),
        ]
    ],
    "training_runs": [{"as_of_date": NIGHT, "model": model} for model in ("markov", "popular")],
    "recommendations": [
        {
            "as_of_date": night, "model": model, "subject_type": kind, "subject_id": subject, "rank": rank,
            "item_id": item, "score": 1 / rank, "source": source, "reason": "because",
        }
        for night, model, kind, subject, rank, item, source in [
            (OLD, "markov", "user", "u1", 1, "c", "model"),
            (NIGHT, "markov", "user", "u1", 2, "b", "fallback"),
            (NIGHT, "markov", "user", "u1", 1, "a", "model"),
            (NIGHT, "popular", "user", "u1", 1, "b", "model"),
            (NIGHT, "markov", "user", HOSTILE, 1, "b", "model"),
            (NIGHT, "markov", "user", HOSTILE, 2, "a", "model"),
            (NIGHT, "markov", "session", "u1", 1, "b", "model"),
        ]
    ],
    "related_items": [
        {
            "as_of_date": night, "model": model, "item_id": item, "rank": rank, "related_item_id": other,
            "score": 0.5, "source": "model",
        }
        for night, model, item, rank, other in [
            (OLD, "markov", "a", 1, "c"), (NIGHT, "markov", "a", 2, "c"), (NIGHT, "markov", "a", 1, "b"),
            (NIGHT, "popular", "a", 1, "c"), (NIGHT, "markov", HOSTILE, 1, "a"),
        ]
    ],
    "source_files": [
        {"file_date": day(-9), "source_file": "f0", "num_rows": 10, "num_quarantined": 1, "num_interactions": 9},
        {"file_date": OLD, "source_file": "f1", "num_rows": 2, "num_quarantined": 1, "num_interactions": 1},
        {"file_date": NIGHT, "source_file": "f2", "num_rows": 6, "num_quarantined": 2, "num_interactions": 4},
        {"file_date": NIGHT, "source_file": "f3", "num_rows": 2, "num_quarantined": 1, "num_interactions": 1},
    ],
    "quarantine": [
        {"file_date": date_, "source_file": name, "source_row": row, "reason": reason, "raw_row": f"{name}:{row}"}
        for date_, name, row, reason in [
            (day(-9), "f0", 1, "too_late"), (OLD, "f1", 2, "too_late"), (NIGHT, "f3", 2, "bad"),
            (NIGHT, "f2", 6, "bad"), (NIGHT, "f2", 3, "too_late"),
        ]
    ],
    "sessions": [
        {"session_date": OLD, "session_id": "1", "user_id": "u1", "num_events": 1},
        {"session_date": NIGHT, "session_id": "2", "user_id": "u1", "num_events": 4},
        {"session_date": NIGHT, "session_id": "3", "num_events": 1},
    ],
}  # fmt: skip


def served_store(root: Path) -> Store:
    """The store with all of ``TABLES``."""
    store = Store(root)
    for table, rows in TABLES.items():
        publish(store, table, rows)
    return store
