"""The page of a validation result in the Data Docs, safe to open whatever the data hold.

Great Expectations writes observed values, unexpected values and tracebacks into its pages as they are. A row of a log
could thus bring markup into the browser of whoever looks after the night, so everything found in the data is escaped
before the page is made. Great Expectations imports this module by name.
"""

from html import escape
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render import RenderedDocumentContent
from great_expectations.render.renderer import ValidationResultsPageRenderer


class EscapedResultsPage(ValidationResultsPageRenderer):
    """The usual page, made of an escaped result."""

    def render(
        self, validation_results: ExpectationSuiteValidationResult, suite_parameters: Any = None
    ) -> RenderedDocumentContent:
        """Render a result that was read for this page alone: it is changed in place."""
        for result in validation_results.results:
            result.result = escaped(result.result)
            for part in [result.exception_info, *result.exception_info.values()]:
                if isinstance(part, dict) and part.get("exception_traceback"):
                    part["exception_traceback"] = escape(part["exception_traceback"])
        return super().render(validation_results, suite_parameters)


def escaped(value: Any) -> Any:
    """The same value with every text in it, keys too, written for HTML."""
    match value:
        case str():
            return escape(value)
        case dict():
            return {escaped(key): escaped(part) for key, part in value.items()}
        case list() | tuple():
            return [escaped(part) for part in value]
    return value
