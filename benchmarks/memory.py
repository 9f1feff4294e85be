"""How much memory a measuring process has used; with the standard library alone, for it runs in every environment."""

import resource


def peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
