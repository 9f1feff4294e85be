import shlex
import subprocess
import sys
from pathlib import Path

from pipelines.beam_quietly import quiet_workers

ROOT = Path(__file__).parents[2]


def test_beam_is_imported_in_silence() -> None:
    program = "from pipelines.beam_quietly import beam; beam.Pipeline"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_worker_process_finds_our_code_wherever_it_starts(tmp_path: Path) -> None:
    python, option, program = shlex.split(quiet_workers().command_string)
    assert program.endswith("; run_worker()")
    named = program.removesuffix("run_worker()") + "print(run_worker.__module__)"
    ended = subprocess.run([python, option, named], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout.strip() == "pipelines.beam_quietly"
