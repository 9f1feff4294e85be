"""Expectations about the tables, declared as data: `suite` lists what one table must fulfil."""

from pipelines.expectations.expectation import Expectation, Severity
from pipelines.expectations.model_tables import MOST_EARLIER_NIGHTS
from pipelines.expectations.suites import COMPANIONS, suite

__all__ = ["COMPANIONS", "MOST_EARLIER_NIGHTS", "Expectation", "Severity", "suite"]
