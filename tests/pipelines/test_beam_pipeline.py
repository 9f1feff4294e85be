import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.beam_inference import infer
from pipelines.beam_pipeline import run_chain, telling
from pipelines.beam_quietly import beam
from pipelines.errors import InputError
from pipelines.settings import Beam
from tests.pipelines.beam_runners import ROOT, TWO_PROCESSES, apply_to_key, load_powers

FN_API = Beam()


def refuse(value: int) -> int:
    if value == 3:
        raise InputError("three", where="there", value=value, allowed="less", fix="count again")
    return value


def break_down(value: int) -> int:
    raise ZeroDivisionError(f"at {value}")


def square(value: int) -> int:
    return value**2


def mapped(function: Callable[[int], Any]) -> Callable[[beam.PCollection], beam.PCollection]:
    return lambda values: values | "function" >> beam.Map(function)


def inferred(folder: Path) -> Callable[[beam.PCollection], beam.PCollection]:
    """A chain that gathers pairs by key and needs a model for each group."""
    return lambda pairs: infer(pairs | "by key" >> beam.GroupByKey(), partial(load_powers, folder), apply_to_key)


def test_all_that_comes_out_of_the_chain_comes_back(tmp_path: Path) -> None:
    values = [3, 1, 2, 2]
    assert sorted(run_chain(FN_API, values, mapped(square), tmp_path)) == [1, 4, 4, 9]
    many = run_chain(FN_API, values, lambda v: v | "many" >> beam.FlatMap(lambda n: list(range(n))), tmp_path)
    assert sorted(many) == [0, 0, 0, 0, 1, 1, 1, 2]


def test_results_are_values_of_any_kind(tmp_path: Path) -> None:
    error = InputError("w", where="x", value="y\n'", allowed="a", fix="f")
    values: list[Any] = [{"a": [1.5, None]}, error, Path("x"), "🙂", ()]
    found = run_chain(FN_API, values, mapped(repr), tmp_path)
    assert sorted(found) == sorted(map(repr, values))
    assert sorted(map(repr, run_chain(FN_API, values, lambda v: v, tmp_path))) == sorted(map(repr, values))


def test_without_values_there_is_no_pipeline(tmp_path: Path) -> None:
    assert run_chain(Beam(runner="NoRunner"), [], mapped(square), tmp_path) == []


def test_a_bundle_that_runs_twice_gives_its_results_once(tmp_path: Path) -> None:
    twice = Beam(options={"direct_runner_bundle_repeat": 1})
    assert sorted(run_chain(twice, [1, 2, 3], mapped(square), tmp_path)) == [1, 4, 9]


def test_workers_that_see_another_disk_are_not_taken_for_an_empty_result_nor_for_the_last_one(tmp_path: Path) -> None:
    run_chain(FN_API, [1], mapped(square), tmp_path)
    with pytest.raises(InputError, match="the Beam workers wrote nothing where this process looks") as caught:
        run_chain(FN_API, [1], lambda v: v | "none" >> beam.Filter(bool) | "no" >> beam.FlatMap(lambda _: []), tmp_path)
    assert caught.value.where == str(tmp_path)


def test_an_error_for_users_arrives_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run_chain(FN_API, [1, 2, 3], mapped(telling(tmp_path, refuse)), tmp_path)
    error = caught.value
    assert (error.what, error.where, error.value, error.allowed, error.fix) == (
        "three", "there", "3", "less", "count again"
    )  # fmt: skip
    assert isinstance(error.__cause__, RuntimeError)


def test_any_other_error_is_left_as_beam_tells_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="at 7"):
        run_chain(FN_API, [7], mapped(telling(tmp_path, break_down)), tmp_path)
    (tmp_path / "error-cut.pickle").write_bytes(b"")
    with pytest.raises(ZeroDivisionError, match="at 7"):
        run_chain(FN_API, [7], mapped(break_down), tmp_path)


def test_an_unknown_runner_is_told_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such Beam runner"):
        run_chain(Beam(runner="NoRunner"), [1], mapped(square), tmp_path)


def test_a_model_is_loaded_once_for_all_values(tmp_path: Path) -> None:
    pairs = [(n % 9, n) for n in range(18)]
    found = run_chain(FN_API, pairs, inferred(tmp_path), tmp_path)
    assert sorted((total, num) for total, num, _ in found) == [(2**n, 2) for n in range(9)]
    assert (tmp_path / "loads").read_text() == f"{os.getpid()}\n"


def test_a_model_is_loaded_once_in_each_worker_process_and_these_are_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # they find our code nevertheless
    found = run_chain(Beam.model_validate(TWO_PROCESSES), [(n, n) for n in range(9)], inferred(tmp_path), tmp_path)
    assert sorted(total for total, _, _ in found) == [2**n for n in range(9)]
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads)) <= 2
    assert {str(pid) for _, _, pid in found} <= set(loads)
    assert str(os.getpid()) not in loads
    assert capfd.readouterr() == ("", "")


def test_beam_says_nothing_unless_something_is_wrong(tmp_path: Path) -> None:
    program = f"""
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.WARNING)
from pipelines.beam_pipeline import run_chain
from pipelines.beam_quietly import beam
from pipelines.settings import Beam
double = lambda values: values | "double" >> beam.Map(lambda value: 2 * value)
print(run_chain(Beam(options={{"no_such_option": 1}}), [1], double, Path({str(tmp_path)!r})))
logging.warning("we may speak")
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("[2]\n", "WARNING:root:we may speak\n")


def test_only_beam_is_quiet_and_only_below_errors() -> None:
    assert not logging.getLogger("apache_beam.runners").isEnabledFor(logging.WARNING)
    assert logging.getLogger("apache_beam.runners").isEnabledFor(logging.ERROR)
    assert logging.getLogger("nightly").isEnabledFor(logging.WARNING)
