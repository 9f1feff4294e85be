"""The one error that is meant for the person who runs the pipeline."""

from collections.abc import Callable


class InputError(Exception):
    """Bad input or settings, told so that a person can act: what, where, which value, what is allowed, what to do.

    It is no ``ValueError``: pydantic would catch that inside a validator and bury the text in its own report.
    """

    def __init__(self, what: str, *, where: object, value: object, allowed: str, fix: str) -> None:
        self.what, self.where, self.value, self.allowed, self.fix = what, str(where), str(value), allowed, fix
        super().__init__(
            f"{what}\n  where:   {self.where}\n  value:   {_shorten(self.value)}\n"
            f"  allowed: {allowed}\n  fix:     {fix}"
        )

    def __reduce__(self) -> tuple[Callable[..., "InputError"], tuple[str, ...]]:
        """It can be pickled: a worker in another process may raise it."""
        return _restore, (self.what, self.where, self.value, self.allowed, self.fix)


def _restore(what: str, where: str, value: str, allowed: str, fix: str) -> InputError:
    return InputError(what, where=where, value=value, allowed=allowed, fix=fix)


def _shorten(text: str, limit: int = 300) -> str:
    """Cut a long value, so that a hostile one cannot flood the log."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
