"""What a checkpoint found, and how it is told to a person."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipelines.expectations import Severity

JsonValue = str | int | float | bool | None


@dataclass(frozen=True)
class Verdict:
    """What was found about one expectation; ``samples`` are up to three rows that break it."""

    name: str
    meaning: str
    severity: Severity
    passed: bool
    observed: str
    samples: tuple[Mapping[str, JsonValue], ...]

    def text(self) -> str:
        """What was expected and what was found, with rows that show it."""
        samples = [f"      {json.dumps(row, ensure_ascii=False)}" for row in self.samples]
        lines = [
            f"  {self.name} ({self.severity})",
            f"    expected: {self.meaning}",
            f"    observed: {self.observed}",
            *(["    for example:", *samples] if samples else []),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class CheckpointReport:
    """All verdicts about one table of one night; ``page`` is its page in the Data Docs, if one could be written."""

    table: str
    night: date
    verdicts: tuple[Verdict, ...]
    page: Path | None

    @property
    def passed(self) -> bool:
        """Whether the night may go on: a failing warning does not stop it."""
        return not self.failures

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """Failing expectations of severity error."""
        return tuple(v for v in self.verdicts if not v.passed and v.severity == "error")

    @property
    def warnings(self) -> tuple[Verdict, ...]:
        """Failing expectations of severity warning."""
        return tuple(v for v in self.verdicts if not v.passed and v.severity == "warning")

    def message(self) -> str:
        """All that failed, errors first, for the person who has to act."""
        failed = [*self.failures, *self.warnings]
        lines = [
            f"{self.table}, night {self.night}: {len(failed)} of {len(self.verdicts)} expectations failed",
            *(verdict.text() for verdict in failed),
            f"  Data Docs: {self.page or 'no page could be written'}",
        ]
        return "\n".join(lines)
