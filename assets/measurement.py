"""Time and peak memory of one stage, though all stages of a night share a process."""

import resource
import time
from pathlib import Path
from typing import Self

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Measurement:
    """Context manager: ``seconds`` on the wall and ``peak_mib``, the largest resident memory inside the block.

    Linux can reset a process's high-water mark; elsewhere the peak is that of the whole process so far.
    """

    seconds: float = 0.0
    peak_mib: float = 0.0

    def __enter__(self) -> Self:
        """Reset the high-water mark and start the clock."""
        if _CLEAR.exists():
            _CLEAR.write_text("5")
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the clock and read the mark."""
        self.seconds = time.perf_counter() - self._start
        self.peak_mib = _peak_mib()


def _peak_mib() -> float:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
