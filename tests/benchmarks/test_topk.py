import argparse
from pathlib import Path
from typing import Any

import pytest

from benchmarks import topk
from benchmarks.data_process import Ended
from benchmarks.results import Results


def test_every_measurement_is_made_once_and_an_index_only_where_faiss_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[dict[str, Any]] = []

    def run(_: str, job: dict[str, Any], *__: Any) -> Ended:
        jobs.append(job)
        return Ended("done", {"seconds": [1.0], "extra_mib": 2.0}, 1.0, 2.0)

    monkeypatch.setattr(topk, "run_fresh", run)
    monkeypatch.setattr(topk, "find_spec", lambda _: None)
    arguments = argparse.Namespace(groups=["users", "blocks", "indexes"], scale=0.1, threads=2, time_limit=9.0)
    for _ in range(2):
        topk.measure(Results.read(tmp_path / "measured.json"), arguments)
    assert [job["num_users"] for job in jobs] == [100, 200, 500, 1000, 2000] + [1000] * 5
    assert {job["num_items"] for job in jobs} == {10_000}
    assert [job["num_threads"] for job in jobs] == [2] * 9 + [1]
    content = Results.read(tmp_path / "measured.json").content
    assert {record["status"] for key, record in content.items() if key.startswith("indexes")} == {"missing"}
