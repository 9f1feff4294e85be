"""The code location that Dagster loads: the deployment of the settings file that ``NIGHTLY_SETTINGS`` names."""

import os
from pathlib import Path
from typing import Final

from assets.deployment import build_definitions
from pipelines.settings_file import load_settings

DEFAULT_SETTINGS: Final = Path(__file__).parent.parent / "configs" / "sample_shop.toml"

defs = build_definitions(load_settings(Path(os.environ.get("NIGHTLY_SETTINGS", DEFAULT_SETTINGS))))
