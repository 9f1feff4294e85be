from typing import Any

from benchmarks.topk_cells import TopkJob
from benchmarks.topk_tables import gflops, markdown

JOB = TopkJob(num_users=1000, num_items=10_000, dim=50)  # 10^9 operations


def record(*seconds: float, digest: str = "a", **more: Any) -> dict[str, Any]:
    job = JOB.model_dump() | {key: value for key, value in more.items() if key in JOB.model_dump()}
    rest = {key: value for key, value in more.items() if key not in job}
    return {
        "status": "done",
        "message": "",
        "job": job,
        "seconds": list(seconds),
        "extra_mib": 8.0,
        "digest": digest,
    } | rest


def test_operations_a_second_are_those_of_the_median() -> None:
    assert gflops(record(0.25, 0.5, 9.0)) == 2.0


def test_tables_tell_cost_growth_lists_and_indexes() -> None:
    records = {
        "engines/top_products": record(0.5),
        "users/1,000": record(0.5),
        "users/2,000": record(2.0, num_users=2000),
        "blocks/64 users": record(0.6),
        "blocks/1 thread": record(0.9, digest="b"),
        "indexes/faiss, graph": record(0.2, build_s=3.0, recall=0.75),
        "indexes/faiss, cells": {"status": "missing", "message": "faiss is not installed"},
    }
    table = markdown(records, JOB)
    assert "### 1,000 users, 10,000 items, 50 features, the best 20" in table
    assert "| top_products | 0.500 (0.500 to 0.500) | 2.0 | 8 |" in table
    assert "| 1,000 | 0.500 | 50.000 | 8 |\n| 2,000 | 2.000 | 100.000 | 8 |" in table
    assert "| 64 users | 0.600 (0.600 to 0.600) | the same |" in table
    assert "| 1 thread | 0.900 (0.900 to 0.900) | **different** |" in table
    assert "| top_products | 0.0 | 0.50 | 0.50 | 1.000 | 8 |" in table
    assert "| faiss, graph | 3.00 | 0.20 | 3.20 | 0.750 | 8 |" in table
    assert "| faiss, cells | **missing** faiss is not installed | | | | |" in table
    assert "More items" not in table
