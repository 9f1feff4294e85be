from pathlib import Path

import dagster as dg
import pytest

from assets.sole_run import FROM_COMMAND_LINE, close_orphans, sole_run
from pipelines.errors import InputError


@dg.op
def nothing() -> None:
    pass


@dg.job
def idle() -> None:
    nothing()


def test_a_second_run_on_a_store_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    with sole_run(tmp_path):
        with pytest.raises(InputError, match="another run is at work on this store"), sole_run(tmp_path):
            pass
        with sole_run(tmp_path / "another store"):
            pass
    with sole_run(tmp_path):
        pass


def test_only_killed_runs_of_the_command_line_are_closed() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        started, done, others = (
            instance.create_run_for_job(idle, status=status, tags=tags).run_id
            for status, tags in (
                (dg.DagsterRunStatus.STARTED, FROM_COMMAND_LINE),
                (dg.DagsterRunStatus.SUCCESS, FROM_COMMAND_LINE),
                (dg.DagsterRunStatus.STARTED, {}),
            )
        )
        close_orphans(instance)
        statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert statuses == {
        started: dg.DagsterRunStatus.FAILURE,
        done: dg.DagsterRunStatus.SUCCESS,
        others: dg.DagsterRunStatus.STARTED,
    }


def test_a_store_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the store cannot be written"), sole_run(tmp_path / "file"):
        pass
