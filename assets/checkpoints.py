"""Checkpoints: the gate after every stage, run by Great Expectations over DuckDB, told to Dagster as asset checks.

Great Expectations takes seconds to import, so only a step that runs a checkpoint pays for it.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from assets.checkpoint_report import CheckpointReport, Verdict
from pipelines.contracts import Contract
from pipelines.errors import InputError
from pipelines.expectations import Expectation
from pipelines.settings import Storage

__all__ = ["CheckpointReport", "Verdict", "build_docs", "run_checkpoint"]


def run_checkpoint(
    contract: Contract,
    expectations: Sequence[Expectation],
    views: Mapping[str, str],
    night: date,
    docs_root: Path,
    *,
    storage: Storage,
    scratch: Path,
    name: str = "",
) -> CheckpointReport:
    """Judge the table ``views["batch"]`` and write its page in the Data Docs under ``docs_root``.

    ``views`` maps names to SELECT statements: the table itself and what its expectations compare it with
    (``pipelines.expectations.COMPANIONS``). DuckDB keeps to the memory and threads of ``storage`` and spills to
    ``scratch``. An expectation that cannot be evaluated counts as failed.

    ``name`` (empty: the table's) tells apart the assets that write parts of one table: each has its own page a night,
    which a re-run replaces.

    Raises ``InputError`` if no view is called batch, ``sqlalchemy.exc.DBAPIError`` if a view cannot be made.
    """
    if "batch" not in views:
        raise InputError(
            "the checkpoint has no table to judge",
            where=f"checkpoint of {contract.name}, night {night}",
            value=sorted(views),
            allowed="a view called batch, besides the views it is compared with",
            fix='pass views={"batch": "select ...", ...}',
        )
    with _quiet_great_expectations():
        from assets import gx_run

        return gx_run.run(name or contract.name, expectations, views, night, docs_root, storage, scratch)


def build_docs(docs_root: Path) -> Path:
    """Write the index of the Data Docs and return its path; once a night is enough, the pages are there already."""
    with _quiet_great_expectations():
        from assets import gx_project

        return gx_project.render_index(gx_project.open_project(docs_root), docs_root)


@contextmanager
def _quiet_great_expectations() -> Iterator[None]:
    """Keep Great Expectations from the network and from the terminal: what failed is told by the report."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
