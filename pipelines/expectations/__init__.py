"""Expectations about the tables, declared as data: `suite` lists what one table must fulfil."""

from pipelines.expectations.expectation import Expectation, Severity
from pipelines.expectations.suites import COMPANIONS, suite

__all__ = ["COMPANIONS", "Expectation", "Severity", "suite"]
