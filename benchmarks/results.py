"""Measurements by name in a JSON file, so that none is made twice."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Results:
    """The measurements by name, as they are in the file."""

    path: Path
    content: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What was measured before, if anything."""
        return cls(path, json.loads(path.read_text()) if path.exists() else {})

    def is_known(self, name: str) -> bool:
        """Whether it is measured, or known to break a limit."""
        return self.content.get(name, {}).get("status") in ("done", "time limit", "out of memory")

    def add(self, name: str, record: dict[str, Any]) -> None:
        """Keep a measurement."""
        self.content[name] = record
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.content, indent=1) + "\n")
        fresh.replace(self.path)
