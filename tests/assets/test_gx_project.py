import os
from datetime import date
from pathlib import Path

import pytest

from assets import gx_project


def _night(docs_root: Path, name: str, written_at: int) -> None:
    for folder in (docs_root / "results" / "items", docs_root / "data_docs" / "validations" / "items"):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (written_at, written_at))


def test_the_nights_written_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gx_project, "NUM_KEPT_NIGHTS", 2)
    for name, written_at in (("2026-01-02", 1), ("2026-01-03", 2), ("2025-01-01", 3)):
        _night(tmp_path, name, written_at)
    gx_project.forget_old_nights(tmp_path, "items")
    for folder in (tmp_path / "results" / "items", tmp_path / "data_docs" / "validations" / "items"):
        assert sorted(path.name for path in folder.iterdir()) == ["2025-01-01", "2026-01-03"]


def test_every_attempt_at_a_night_is_the_same_run() -> None:
    first, second = gx_project.run_of(date(2026, 1, 3)), gx_project.run_of(date(2026, 1, 3))
    assert first.to_tuple() == second.to_tuple() == ("2026-01-03", "20260103T000000.000000Z")


def test_opening_a_project_writes_nothing(tmp_path: Path) -> None:
    gx_project.open_project(tmp_path / "docs")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
