"""The Great Expectations project of the checkpoints: suites, results and Data Docs as files under one folder.

The context itself is not a file: a data source is an in-memory DuckDB and does not outlive its checkpoint, and steps
that run side by side would rewrite one ``great_expectations.yml``. A table has one result and one page a night, and a
re-run of the night replaces them.

Importing this module imports Great Expectations, which takes seconds: do it inside functions only.
"""

import shutil
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse
from urllib.request import url2pathname

import great_expectations as gx
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)

NUM_KEPT_NIGHTS: Final = 30
PLUGINS: Final = Path(__file__).parent / "gx_plugins"
_RESULT_PAGE: Final = {"module_name": "assets.gx_pages", "class_name": "EscapedResultsPage"}


def open_project(docs_root: Path) -> EphemeralDataContext:
    """Open the project under a folder; nothing is created before something is stored."""
    stores = {
        "expectations_store": _store("ExpectationsStore", docs_root / "suites"),
        "validation_results_store": _store("ValidationResultsStore", docs_root / "results"),
        "validation_definition_store": _store("ValidationDefinitionStore", docs_root / "definitions"),
        "checkpoint_store": _store("CheckpointStore", docs_root / "checkpoints"),
    }
    config = {
        "config_version": 4,
        "stores": stores,
        "expectations_store_name": "expectations_store",
        "validation_results_store_name": "validation_results_store",
        "checkpoint_store_name": "checkpoint_store",
        "data_docs_sites": {"data_docs": _site(docs_root)},
        "plugins_directory": str(PLUGINS),
        "analytics_enabled": False,
        "progress_bars": {"globally": False},
    }
    return gx.get_context(mode="ephemeral", project_config=config)


def _store(kind: str, folder: Path) -> dict[str, Any]:
    return {"class_name": kind, "store_backend": _files(folder)}


def _site(docs_root: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "store_backend": _files(docs_root / "data_docs"),
        "show_how_to_buttons": False,
        "site_section_builders": {"profiling": "none", "validations": {"renderer": _RESULT_PAGE}},
    }


def _files(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "TupleFilesystemStoreBackend",
        "base_directory": str(folder.resolve()),
        "suppress_store_backend_id": True,
    }


def run_of(night: date) -> RunIdentifier:
    """The run of a night: the same for each attempt, so that the last one counts."""
    return RunIdentifier(run_name=night.isoformat(), run_time=datetime.combine(night, time(), UTC))


def render_pages(context: EphemeralDataContext, result: ValidationResultIdentifier) -> Path | None:
    """Write the pages of one result and of its suite, and no other; None if the result could not be rendered."""
    former = _page(context, result)
    if former:
        former.unlink()
    pages: list[Any] = [result, result.expectation_suite_identifier]
    context.build_data_docs(resource_identifiers=pages, build_index=False)
    return _page(context, result)


def _page(context: EphemeralDataContext, result: ValidationResultIdentifier) -> Path | None:
    url = context.get_docs_sites_urls(resource_identifier=result)[0]["site_url"]
    return Path(url2pathname(urlparse(url).path)) if url else None


def render_index(context: EphemeralDataContext, docs_root: Path) -> Path:
    """Write the page that links to all others."""
    no_page = ExpectationSuiteIdentifier(name="none")  # an empty list would mean: render all pages anew
    context.build_data_docs(resource_identifiers=[no_page])
    return docs_root.resolve() / "data_docs" / "index.html"


def forget_old_nights(docs_root: Path, table: str) -> None:
    """Keep the results and pages of the nights of a table that were written last."""
    nights = sorted((docs_root / "results" / table).iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    for night in nights[:-NUM_KEPT_NIGHTS]:
        shutil.rmtree(night, ignore_errors=True)
        shutil.rmtree(docs_root / "data_docs" / "validations" / table / night.name, ignore_errors=True)
