"""Where the daily files of a real shop lie, for the tests that need many nights."""

import os
import tarfile
from pathlib import Path

import pytest


def online_retail_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the 305 daily files; the test is skipped where there are none."""
    repository = Path(__file__).parents[2]
    folder = Path(os.environ.get("NIGHTLY_DATA", repository / "data")) / "online_retail"
    if (folder / "by-day").is_dir():
        return folder / "by-day"
    if not (folder / "raw_by_day.tar.xz").is_file():
        pytest.skip(f"no raw_by_day.tar.xz and no by-day in {folder}: set NIGHTLY_DATA to the folder above")
    unpacked = tmp_path_factory.mktemp("online_retail")
    with tarfile.open(folder / "raw_by_day.tar.xz") as archive:
        archive.extractall(unpacked, filter="data")
    return unpacked / "by-day"
