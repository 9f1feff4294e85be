"""A process that ends well reports; one that breaks a limit, or fails, is told apart."""

import json
import sys
import time
from pathlib import Path

from benchmarks.data_process import Limits, run_fresh, tree_cpu_s

WIDE = Limits(seconds=60, mib=10_000)


def test_a_report_comes_back_with_peak_and_wall() -> None:
    ended = run_fresh(__name__, {"do": "report"}, WIDE, {"WORD": "heard"})
    assert (ended.status, ended.report) == ("done", {"word": "heard", "held": 60 * 2**20})
    assert ended.wall_s > 0
    assert ended.peak_mib > 60


def test_a_child_counts_for_the_peak() -> None:
    assert run_fresh(__name__, {"do": "child"}, WIDE, {}).peak_mib > 200


def test_limits_end_a_process_and_what_it_started(tmp_path: Path) -> None:
    ended = run_fresh(__name__, {"do": "sleep", "touch": str(tmp_path / "late")}, Limits(1, 10_000), {})
    assert (ended.status, ended.report) == ("time limit", {})
    assert 1 <= ended.wall_s < 5
    assert run_fresh(__name__, {"do": "child"}, Limits(60, 150), {}).status == "out of memory"
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()


def test_a_failure_is_told_with_its_last_lines() -> None:
    ended = run_fresh(__name__, {"do": "fail"}, WIDE, {})
    assert ended.status == "failed"
    assert "ValueError: no such thing" in ended.message
    assert run_fresh(__name__, {"do": "spill"}, WIDE, {}).status == "out of memory"
    killed = run_fresh(__name__, {"do": "die"}, WIDE, {})
    assert (killed.status, killed.message) == ("failed", "exit status -9")


def test_children_that_ended_count_for_the_processor() -> None:
    before = tree_cpu_s()
    run_fresh(__name__, {"do": "spin"}, WIDE, {})
    assert tree_cpu_s() - before > 0.4


def _act(job: dict[str, str]) -> None:
    import os
    import signal
    import subprocess

    if job["do"] == "report":
        held = b"x" * (60 * 2**20)
        time.sleep(0.2)
        Path(job["report"]).write_text(json.dumps({"word": os.environ["WORD"], "held": len(held)}))
    if job["do"] == "child":
        subprocess.run([sys.executable, "-c", "held = b'x' * (200 * 2**20); import time; time.sleep(1)"], check=True)
        Path(job["report"]).write_text("{}")
    if job["do"] == "sleep":
        subprocess.run(
            [sys.executable, "-c", f"import time; time.sleep(2); open({job['touch']!r}, 'w')"],
            check=True,
        )
    if job["do"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job["do"] == "fail":
        raise ValueError("no such thing")
    if job["do"] == "spill":
        raise MemoryError
    if job["do"] == "spin":
        started = time.process_time()
        while time.process_time() - started < 0.5:
            pass


if __name__ == "__main__":
    _act(json.loads(sys.argv[1]))
