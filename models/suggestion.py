"""The part of an error message that tells a reader of a mistyped name which one was probably meant."""

import difflib
from collections.abc import Iterable


def suggestion(value: str, valid: Iterable[str]) -> str:
    """Name the valid value nearest to a wrong one, and all the allowed ones.

    >>> suggestion("markof", ["popular", "markov"])
    "did you mean 'markov'? allowed: popular, markov"
    >>> suggestion("zzz", ["popular", "markov"])
    'allowed: popular, markov'
    """
    allowed = list(valid)
    near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed: {', '.join(allowed)}"
