"""Beam, imported without its remarks on Google's libraries, which no one asked for. All our modules take it from here.

From then on it is quiet, too, but for errors: its warnings speak of its own options and type hints.
"""

import logging
import shlex
import sys
from pathlib import Path
from typing import Final

logging.disable(logging.WARNING)
import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.runner import create_runner  # noqa: E402
from apache_beam.runners.worker import sdk_worker_main  # noqa: E402
from apache_beam.transforms.environments import SubprocessSDKEnvironment  # noqa: E402

logging.disable(logging.NOTSET)
logging.getLogger("apache_beam").setLevel(logging.ERROR)

__all__ = ["PipelineOptions", "beam", "create_runner", "quiet_workers", "run_worker"]
ROOT: Final = Path(__file__).parents[1]


def quiet_workers() -> SubprocessSDKEnvironment:
    """Worker processes on this machine, which find our code wherever they start."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {__name__} import run_worker; run_worker()"
    return SubprocessSDKEnvironment.from_command_string(shlex.join([sys.executable, "-c", program]))


def run_worker() -> None:
    """Be such a worker process until the pipeline ends."""
    sdk_worker_main.main([])
