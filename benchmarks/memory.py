"""How much memory a measuring process has used; with the standard library alone, for it runs in every environment."""

import resource
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    if _STATUS.exists():  # on Linux getrusage tells of the process that started this one, too, if it was larger
        return int(_STATUS.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
