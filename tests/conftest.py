import atexit
import os


def silence() -> None:
    """Say nothing more: after this, DuckDB's bindings would print a page of warnings and bury the summary."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


atexit.register(silence)
