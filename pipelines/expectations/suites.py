"""The suite of every table: what follows from its contract, then what is its own."""

from collections.abc import Callable
from typing import Final

from pipelines.contracts import Contract
from pipelines.expectations.behaviour_tables import (
    interval_uniformity,
    item_frequency,
    item_neighbours,
    item_users,
    sessions,
)
from pipelines.expectations.contract_expectations import contract_expectations
from pipelines.expectations.expectation import Expectation
from pipelines.expectations.item_tables import items, metadata_vocabulary
from pipelines.expectations.list_tables import recommendations, related_items
from pipelines.expectations.log_tables import interactions, quarantine, source_files
from pipelines.expectations.model_tables import metrics, training_runs, training_sequences
from pipelines.settings import Settings

OWN_EXPECTATIONS: Final[dict[str, Callable[[Settings], tuple[Expectation, ...]]]] = {
    "source_files": source_files,
    "interactions": interactions,
    "quarantine": quarantine,
    "items": items,
    "sessions": sessions,
    "item_frequency": item_frequency,
    "item_users": item_users,
    "interval_uniformity": interval_uniformity,
    "item_neighbours": item_neighbours,
    "metadata_vocabulary": metadata_vocabulary,
    "training_sequences": training_sequences,
    "training_runs": training_runs,
    "metrics": metrics,
    "recommendations": recommendations,
    "related_items": related_items,
}

COMPANIONS: Final[dict[str, tuple[str, ...]]] = {
    "quarantine": ("staged_source_files",),
    "items": ("interactions", "previous_items"),
    "item_frequency": ("items",),
    "metadata_vocabulary": ("other_metadata_vocabulary", "former_metadata_vocabulary"),
    "training_sequences": ("metadata_vocabulary", "other_metadata_vocabulary"),
    "metrics": ("earlier_metrics",),
    "recommendations": ("expected_subjects", "items"),
    "related_items": ("items",),
}
"""Views that the suite of a table reads besides the table itself; a table that is not named reads none."""


def suite(contract: Contract, settings: Settings) -> tuple[Expectation, ...]:
    """List what a table must fulfil under these settings; every one of it holds for a table without rows, too."""
    own = OWN_EXPECTATIONS.get(contract.name)
    return contract_expectations(contract) + (own(settings) if own else ())
