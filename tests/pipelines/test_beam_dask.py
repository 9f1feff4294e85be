"""Beam on a Dask scheduler with two worker processes, which may fail or be killed."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import pytest

from pipelines.beam_inference import infer
from pipelines.beam_pipeline import run_chain
from pipelines.beam_quietly import beam
from pipelines.errors import InputError
from pipelines.log_stages import build_interactions
from pipelines.night import Night
from pipelines.settings import Beam
from tests.pipelines.beam_runners import (
    LAST,
    apply_to_key,
    copy_of,
    dask_cluster,
    fail_on,
    fail_once,
    load_powers,
    run_nights,
    shop,
    tables,
    write_logs,
)
from tests.pipelines.kernel_run import KernelRun
from tests.pipelines.small_log import day, put
from tests.pipelines.test_beam_engine import ROWS, TABLE, Trial, kernel

DAYS = [day(0), day(1), day(2)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, Any]]:
    with dask_cluster() as runner:
        yield runner


@pytest.fixture
def trial(tmp_path: Path, cluster: dict[str, Any]) -> Trial:
    return Trial(KernelRun(tmp_path), cluster)


@pytest.mark.parametrize("how", ["error", "kill"])
def test_a_bundle_that_fails_half_way_and_a_worker_that_is_killed_change_nothing(trial: Trial, how: str) -> None:
    folder = trial.runs.fresh()
    source = trial.runs.relation(TABLE, ROWS)
    with dask.annotate(retries=2):
        trial.same_as_local(kernel(fold=partial(fail_once, folder, how)), DAYS, source=source)
    assert [path.name for path in folder.iterdir()] == [how]


def test_an_error_for_users_arrives_from_a_worker(trial: Trial, tmp_path: Path) -> None:
    folder = trial.runs.fresh()
    source = trial.runs.relation(TABLE, ROWS)
    with pytest.raises(InputError, match="b is wrong"):
        trial.paths(kernel(fold=partial(fail_once, folder, "input")), DAYS, source=source)
    with pytest.raises(InputError, match="day 1"):
        trial.engine.each(fail_on, [*DAYS, day(3)], "run")
    settings = shop(tmp_path / "shop", engine="beam", beam=trial.beam)
    path = put(settings.folder, f"logs/{day(0)}.csv", b"\xff\xfe" * 9)
    with pytest.raises(InputError) as caught:
        build_interactions(Night(settings, settings.open_store(), day(0), day(0), "run"))
    assert caught.value.where == str(path)
    assert all(vars(caught.value).values())


def test_a_model_is_loaded_once_in_each_worker_process(tmp_path: Path, cluster: dict[str, Any]) -> None:
    pairs = [(n, n) for n in range(8)]
    found = run_chain(
        Beam.model_validate(cluster),
        pairs,
        lambda values: infer(values | beam.GroupByKey(), partial(load_powers, tmp_path), apply_to_key),
        tmp_path,
    )
    assert sorted(total for total, _, _ in found) == [2**n for n in range(8)]
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads)) <= 2
    assert {str(pid) for _, _, pid in found} <= set(loads)
    assert str(os.getpid()) not in loads


def test_a_night_gives_the_rows_of_the_local_engine(tmp_path: Path, cluster: dict[str, Any]) -> None:
    settings = shop(tmp_path / "local")
    write_logs(settings.folder)
    store = run_nights(settings, [(0, LAST - 1)])
    on_dask = copy_of(store, tmp_path / "dask", **cluster, buckets=3)
    assert tables(run_nights(on_dask, [(LAST, LAST)])) == tables(run_nights(settings, [(LAST, LAST)]))
