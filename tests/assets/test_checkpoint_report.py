from datetime import date
from pathlib import Path

from assets.checkpoint_report import CheckpointReport, Verdict

GOOD = Verdict("weight_is_at_least_zero", "weight is at least 0", "error", True, "no such row", ())
BAD = Verdict("somebody_acts", "every event has a user_id", "error", False, "1 unexpected row", ({"item_id": "é"},))
ODD = Verdict("titles_are_short", "titles have 80 letters at most", "warning", False, "2 unexpected rows", ())
NIGHT = date(2026, 1, 3)


def test_a_failing_error_fails_the_report_and_a_failing_warning_does_not() -> None:
    assert CheckpointReport("items", NIGHT, (GOOD, ODD), None).passed
    report = CheckpointReport("items", NIGHT, (GOOD, ODD, BAD), None)
    assert not report.passed
    assert (report.failures, report.warnings) == ((BAD,), (ODD,))


def test_message_tells_a_person_what_failed_and_where_to_look() -> None:
    report = CheckpointReport("interactions", NIGHT, (GOOD, ODD, BAD), Path("/docs/page.html"))
    assert (
        report.message()
        == """\
interactions, night 2026-01-03: 2 of 3 expectations failed
  somebody_acts (error)
    expected: every event has a user_id
    observed: 1 unexpected row
    for example:
      {"item_id": "é"}
  titles_are_short (warning)
    expected: titles have 80 letters at most
    observed: 2 unexpected rows
  Data Docs: /docs/page.html"""
    )


def test_message_without_a_page_says_so() -> None:
    assert CheckpointReport("items", NIGHT, (BAD,), None).message().endswith("Data Docs: no page could be written")
