"""Beam, imported without its remarks on Google's libraries, which no one asked for. All our modules take it from here.

From then on it is quiet, too, but for errors: its warnings speak of its own options and type hints.
"""

import logging

logging.disable(logging.WARNING)
import apache_beam as beam  # noqa: E402
from apache_beam.ml.inference.base import ModelHandler, RunInference  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from apache_beam.runners.runner import create_runner  # noqa: E402

logging.disable(logging.NOTSET)
logging.getLogger("apache_beam").setLevel(logging.ERROR)

__all__ = ["ModelHandler", "PipelineOptions", "RunInference", "beam", "create_runner"]
