import io
import logging
import math
import sys

import pytest

from models.stages import StepRecord
from pipelines.training_progress import progress_told


def record(epoch: int, seconds: float, loss: float = 1.5, metric: float = math.nan) -> StepRecord:
    return StepRecord("fit", epoch, epoch, loss, metric, seconds)


def test_a_log_has_a_line_every_three_seconds_with_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nightly.training")
    with progress_told("sasrec", "serving", 9) as tell:
        for one in (record(1, 1), record(2, 4), record(3, 6), record(4, 8, metric=0.25), record(5, 99, loss=math.nan)):
            tell(one)
    assert [line.getMessage() for line in caplog.records] == [
        "    sasrec: epoch 2, loss 1.5000, 4 s",
        "    sasrec: epoch 4, loss 1.5000, NDCG@10 0.2500, 8 s",
    ]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_told("sasrec", "evaluation", 4) as tell:
        tell(record(2, 1, metric=0.5))
    shown = terminal.getvalue()
    assert "sasrec, evaluation" in shown
    assert "epoch 2, loss 1.5000, NDCG@10 0.5000" in shown
    assert not caplog.records
