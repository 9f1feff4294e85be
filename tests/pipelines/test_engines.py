import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engines import open_engine
from pipelines.store import Store
from tests.pipelines.small_log import settings_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("engine", "name"), [("local", "LocalEngine"), ("beam", "BeamEngine")])
def test_the_settings_choose_the_engine(tmp_path: Path, engine: str, name: str) -> None:
    found = open_engine(settings_of(tmp_path, engine=engine, store={"memory_limit": "123MB"}), Store(tmp_path))
    assert type(found).__name__ == name
    assert found.storage.memory_limit == "123MB"


def test_who_stays_local_does_not_wait_for_beam() -> None:
    program = "import sys, assets.deployment; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
