from pathlib import Path

from benchmarks.results import Results


def test_what_was_measured_or_broke_a_limit_is_known_and_a_failure_is_not(tmp_path: Path) -> None:
    results = Results.read(tmp_path / "measured.json")
    for status in ("done", "time limit", "out of memory", "failed"):
        results.add(f"a/{status}", {"status": status})
    again = Results.read(tmp_path / "measured.json")
    assert [name for name in again.content if again.is_known(name)] == ["a/done", "a/time limit", "a/out of memory"]
    assert not again.is_known("a/never begun")
