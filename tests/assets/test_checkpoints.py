import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from assets import gx_pages, gx_project
from assets.checkpoints import CheckpointReport, build_docs, run_checkpoint
from pipelines.contracts import QUARANTINE
from pipelines.errors import InputError
from pipelines.expectations import Expectation, Severity
from pipelines.expectations.expectation import no_rows
from pipelines.settings import Storage

Run = Callable[..., CheckpointReport]
NIGHT = date(2026, 1, 3)
STORAGE = Storage(root="store", memory_limit="1GB", threads=1)
HOSTILE = "<script>alert('$x {{y}}')</script>"
THREE_ROWS = "select n, 'row ' || n as text from range(3) as r(n)"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(
        *expectations: Expectation, batch: str = THREE_ROWS, night: date = NIGHT, name: str = ""
    ) -> CheckpointReport:
        views = {"batch": batch, "limits": "select 1 as most"}
        folders = {"docs_root": tmp_path / "docs", "scratch": tmp_path / "spill"}
        return run_checkpoint(QUARANTINE, expectations, views, night, storage=STORAGE, name=name, **folders)

    return run


def _expect(query: str, meaning: str = "there is none", severity: Severity = "error") -> Expectation:
    expectation = no_rows("there_is_none", query, meaning)
    return Expectation(expectation.name, expectation.kind, expectation.arguments, meaning, severity)


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_failing_expectation_tells_how_many_rows_and_shows_three(run: Run) -> None:
    report = run(_expect("select n, text from {batch} where n >= 0 order by n desc"))
    (verdict,) = report.failures
    assert verdict.observed == "3 unexpected rows"
    assert verdict.samples == ({"n": 2, "text": "row 2"}, {"n": 1, "text": "row 1"}, {"n": 0, "text": "row 0"})
    assert not report.passed
    assert f"Data Docs: {report.page}" in report.message()


def test_a_proof_that_holds_spares_the_query(run: Run) -> None:
    query = "select error('it was asked for the rows') from {batch}"
    assert run(no_rows("none", query, "none", proof="select {'n': max(n)}.n = 2 from {batch}")).passed


@pytest.mark.parametrize("proof", ["select false", "select null::boolean", "select 1"])
def test_without_a_proof_the_rows_decide(run: Run, proof: str) -> None:
    (verdict,) = run(no_rows("few", "select n from {batch} where n > 0", "few", proof=proof)).failures
    assert verdict.observed == "2 unexpected rows"
    assert verdict.samples == ({"n": 1}, {"n": 2})
    assert run(no_rows("none", "select n from {batch} where n > 9", "none", proof=proof)).passed


@pytest.mark.parametrize("proof", ["select no_such_column from {batch}", "select error('{batch}') from {batch}"])
def test_a_proof_that_fails_is_told_and_the_rows_decide(run: Run, proof: str, caplog: pytest.LogCaptureFixture) -> None:
    (verdict,) = run(no_rows("few", "select n from {batch} where n > 1", "few", proof=proof)).failures
    assert verdict.samples == ({"n": 2},)
    assert "takes the long way" in caplog.text
    assert run(no_rows("none", "select n from {batch} where n > 9", "none", proof=proof)).passed


def test_companions_are_views_on_the_same_connection(run: Run) -> None:
    assert run(_expect("select 1 from limits where most > (select count(*) from {batch})")).passed


def test_wrong_columns_are_told_with_the_ones_found(run: Run) -> None:
    columns = Expectation("columns", "ExpectTableColumnsToMatchOrderedList", {"column_list": ["n"]}, "the column is n")
    (verdict,) = run(columns).failures
    assert verdict.observed == "n, text"


def test_a_failing_warning_does_not_fail_the_report(run: Run) -> None:
    report = run(_expect("select * from {batch}", severity="warning"))
    assert report.passed
    assert report.warnings[0].observed == "3 unexpected rows"


@pytest.mark.parametrize("severity", ["error", "warning"])
def test_an_expectation_that_cannot_be_evaluated_has_failed(run: Run, severity: Severity) -> None:
    broken = _expect("select no_such_column from {batch}", severity=severity)
    report = run(broken, no_rows("n_is_small", "select n from {batch} where n > 9", "n is at most 9"))
    assert [verdict.passed for verdict in report.verdicts] == [False, True]
    assert report.verdicts[0].observed.startswith("could not be evaluated: ")
    assert "no_such_column" in report.verdicts[0].observed
    assert report.passed is (severity == "warning")


def test_broken_rows_cannot_smuggle_markup_into_the_pages(run: Run, tmp_path: Path) -> None:
    text = HOSTILE.replace("'", "''")
    batch = f"select '{text}' as text, ['{text}'] as texts, 1 as \"{HOSTILE}\""
    in_set = {"column": "text", "value_set": ["a"]}
    report = run(
        _expect("select * from {batch}", meaning=f"never {HOSTILE}"),
        no_rows("texts_are_numbers", "select cast(text as int) as n from {batch}", "texts are numbers"),
        Expectation("columns", "ExpectTableColumnsToMatchOrderedList", {"column_list": ["n"]}, "the column is n"),
        Expectation("set", "ExpectColumnValuesToBeInSet", in_set, "text is a"),
        batch=batch,
    )
    build_docs(tmp_path / "docs")
    pages = {path: path.read_text() for path in (tmp_path / "docs").rglob("*.html")}
    assert len(pages) == 3
    assert report.page
    assert pages[report.page].count("&lt;script&gt;alert") >= 5
    assert not [path for path, html in pages.items() if "<script>alert" in html]


def test_a_rerun_replaces_what_it_wrote_before(run: Run, tmp_path: Path) -> None:
    first = run(_expect("select * from {batch}"))
    files = _files(tmp_path / "docs")
    second = run(_expect("select * from {batch} where n > 9"))
    assert _files(tmp_path / "docs") == files
    assert first.page == second.page
    assert second.passed
    assert second.page
    assert "row 2" not in second.page.read_text()


def test_assets_that_write_parts_of_one_table_have_their_own_pages(run: Run) -> None:
    one, other = run(_expect("select * from {batch}"), name="trained_a"), run(_expect("select 1 from {batch} limit 0"))
    assert one.message().startswith("trained_a, night 2026-01-03: 1 of 1 expectations failed")
    assert one.page
    assert "row 2" in one.page.read_text()
    assert other.page != one.page


def test_a_page_of_a_former_attempt_is_not_passed_off_as_new(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(_expect("select * from {batch}")).page
    monkeypatch.setattr(gx_pages.EscapedResultsPage, "render", lambda *_: 1 / 0)
    report = run(_expect("select * from {batch}"))
    assert report.page is None
    assert "no page could be written" in report.message()


def test_a_night_keeps_its_own_page_until_it_is_old(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gx_project, "NUM_KEPT_NIGHTS", 2)
    pages = [run(_expect("select 1 from {batch} limit 0"), night=NIGHT + timedelta(days=n)).page for n in range(3)]
    assert [page is not None and page.is_file() for page in pages] == [False, True, True]
    index = build_docs(tmp_path / "docs").read_text()
    assert [(NIGHT + timedelta(days=n)).isoformat() + "/" in index for n in range(3)] == [False, True, True]


def test_duckdb_keeps_to_the_settings(run: Run, tmp_path: Path) -> None:
    names = ("memory_limit", "threads", "temp_directory", "TimeZone")
    query = ", ".join(f"current_setting('{name}') as {name}" for name in names)
    assert dict(run(_expect(f"select {query} from {{batch}} limit 1")).failures[0].samples[0]) == {
        "memory_limit": "953.6 MiB",
        "threads": 1,
        "temp_directory": str(tmp_path / "spill"),
        "TimeZone": "UTC",
    }


def test_nothing_is_written_to_the_terminal(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run(_expect("select no_such_column from {batch}"), no_rows("no_rows_at_all", "select * from {batch}", "none"))
    assert capfd.readouterr() == ("", "")


def test_without_a_batch_there_is_nothing_to_judge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table to judge") as error:
        run_checkpoint(QUARANTINE, (), {"items": "x"}, NIGHT, tmp_path, storage=STORAGE, scratch=tmp_path)
    assert "quarantine, night 2026-01-03" in error.value.where


def test_great_expectations_is_imported_by_a_run_only() -> None:
    code = "import sys, assets.checkpoints; print({'great_expectations', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
