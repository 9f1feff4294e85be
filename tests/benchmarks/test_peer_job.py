from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_job import PeerJob, lists_path, read_epochs


def test_epochs_and_lists_are_there_at_once(tmp_path: Path) -> None:
    files: dict[str, Any] = {name: tmp_path / name for name in ("train", "validation", "test")}
    job = PeerJob(folder=tmp_path, num_items=9, num_epochs=2, time_limit_s=1, **files)
    assert read_epochs(tmp_path) == []
    job.note_epoch(1, 2.5)
    job.save_lists("test", 1, np.array([[2, 3]], np.int32))
    assert [(line["epoch"], line["seconds"]) for line in read_epochs(tmp_path)] == [(1, 2.5)]
    assert read_epochs(tmp_path)[0]["peak_mib"] > 10
    assert np.load(lists_path(tmp_path, "test", 1)).tolist() == [[2, 3]]
