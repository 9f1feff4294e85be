"""A fresh process under watch: how long it took, how much memory it and its children held, and how it ended."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).parents[1]
EVERY_S: Final = 0.03
LAST_LINES: Final = 5


@dataclass(frozen=True)
class Limits:
    """What a process may take: seconds on the wall, and MiB of resident memory of it and its children together."""

    seconds: float
    mib: float


@dataclass(frozen=True)
class Ended:
    """How a process ended: ``done`` with what it reported, ``time limit``, ``out of memory`` or ``failed``.

    ``peak_mib`` is the most that it and its children held at one time, seen every 30 ms.
    """

    status: str
    report: dict[str, Any]
    wall_s: float
    peak_mib: float
    message: str = ""


def run_fresh(
    module: str,
    job: Mapping[str, Any],
    limits: Limits,
    environment: Mapping[str, str],
    python: str = sys.executable,
) -> Ended:
    """Run ``python -m module JOB``, which writes its report, as JSON, to the file that ``job["report"]`` names."""
    with tempfile.TemporaryDirectory() as folder:
        report, errors = Path(folder) / "report.json", Path(folder) / "errors.txt"
        started = time.monotonic()
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [python, "-m", module, json.dumps({**job, "report": str(report)})],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            status, peak_mib = _watch(process, limits, started)
        wall_s = time.monotonic() - started
        text = errors.read_text(errors="replace").strip()
        if report.exists() and not status:
            return Ended("done", json.loads(report.read_text()), wall_s, peak_mib)
    message = " | ".join(text.splitlines()[-LAST_LINES:]) or f"exit status {process.returncode}"
    is_memory = "Out of Memory" in text or "MemoryError" in text
    return Ended(status or ("out of memory" if is_memory else "failed"), {}, wall_s, peak_mib, message)


def _watch(process: subprocess.Popen[bytes], limits: Limits, started: float) -> tuple[str, float]:
    """Wait for the end of a process, or end it beyond the limits; return the limit that it broke, and its peak."""
    peak, status = 0.0, ""
    try:
        while process.poll() is None and not status:
            held = _held_mib(process.pid)
            peak = max(peak, held)
            if held > limits.mib:
                status = "out of memory"
            elif time.monotonic() - started > limits.seconds:
                status = "time limit"
            else:
                time.sleep(EVERY_S)
    finally:
        with suppress(ProcessLookupError):  # a session of its own: this ends what it started, too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return status, peak


def _held_mib(pid: int) -> float:
    total = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for one in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total / 2**20


def tree_cpu_s() -> float:
    """Seconds of processor, user and system, of this process, of its children, and of those that have ended."""
    total = 0.0
    root = psutil.Process()
    for one in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total
