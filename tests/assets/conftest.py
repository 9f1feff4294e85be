import os
from pathlib import Path

import pytest

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small shop whose nights have run; copy it before changing anything."""
    from tests.assets.small_shop import run_shop

    folder = tmp_path_factory.mktemp("small_shop")
    run_shop(folder)
    return folder
