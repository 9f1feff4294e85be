"""Small nights whose models are trained, and their metrics by model, slice and name."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from pipelines.evaluation import build_metrics
from pipelines.night import Night
from tests.pipelines.small_store import Row, Visit, make_night, read, shop_settings, train

WHOLE = {"users", "known_users", "new_users", "anonymous_sessions"}


def trained(root: Path, visits: tuple[Visit, ...], last: int, *models: str, **options: Any) -> Night:
    """Publish what precedes the metrics of the night of day `last`: see `make_night` for the options."""
    return train(make_night(root, visits, last, shop_settings(*models), **options))


def measured(night: Night) -> dict[str, dict[str, dict[str, Row]]]:
    """Rows by model, slice and metric."""
    found: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    (write,) = build_metrics(night)
    for row in read(night, write):
        assert row["metric"] not in found[row["model"]][row["slice"]]
        found[row["model"]][row["slice"]][row["metric"]] = row
    return found
