from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import beam_shards
from pipelines.beam_engine import BeamEngine
from pipelines.contracts import ITEM_USERS
from pipelines.engines import open_engine
from pipelines.errors import InputError
from pipelines.kernel import Kernel, Relation, Step
from pipelines.local_engine import LocalEngine, Output
from pipelines.store import RUNS, Store
from tests.pipelines.beam_runners import fail_on, fail_once, job_service, load_shout, shop, shout
from tests.pipelines.kernel_run import HOSTILE, STORAGE, KernelRun, Row
from tests.pipelines.small_log import day

TABLE = ITEM_USERS.name
TWICE = {"options": {"direct_runner_bundle_repeat": 1}}
DOUBLED = "select first_date, item_id, user_id || user_id as user_id from source order by item_id, user_id"
COUNTED = "select first_date, item_id, count(*) as num from source group by all"
JOINED = DOUBLED.replace("from source", "from source join counted using (first_date, item_id)")
ROWS: list[Row] = [
    {"first_date": day(n % 3), "item_id": item, "user_id": f"u{n}"}
    for n, item in enumerate([*HOSTILE, *HOSTILE, "b", *["hot"] * 40, "a", "c"])
]


@dataclass(frozen=True)
class Trial:
    """A folder in which kernels run on Beam."""

    runs: KernelRun
    beam: Mapping[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> BeamEngine:
        settings = shop(self.runs.folder, engine="beam", beam={"buckets": 4, **self.beam})
        engine = open_engine(settings, Store(self.runs.folder))
        assert isinstance(engine, BeamEngine)
        return engine

    def paths(self, kernel: Kernel, days: list[date], **relations: Relation) -> list[Path]:
        """The files of a result, and nothing but these was left behind."""
        folder = self.runs.fresh()
        found = self.engine.run(kernel, relations, Output(folder, dict.fromkeys(days, "rules")))
        assert [on for on, _, _ in found] == sorted(on for on, _, _ in found)
        assert set(days) == {on for on, _, _ in found}
        assert len({(on, slice_) for on, slice_, _ in found}) == len(found)
        assert {slice_.partition("-")[0] for _, slice_, _ in found} == {"rules"}
        assert {path for _, _, path in found} == {path for path in folder.rglob("*") if path.is_file()}
        self.nothing_in_scratch()
        return [path for _, _, path in found]

    def nothing_in_scratch(self) -> None:
        scratch = self.engine.store.scratch
        assert not scratch.exists() or list(scratch.iterdir()) == []

    def same_as_local(self, kernel: Kernel, days: list[date], **relations: Relation) -> list[Path]:
        """The files of a result that has the rows of the local engine's, to the last bit."""
        found = self.paths(kernel, days, **relations)
        local = LocalEngine(STORAGE, Store(self.runs.folder))
        expected = local.run(kernel, relations, Output(self.runs.fresh(), dict.fromkeys(days, "")))
        assert rows(found) == rows([path for _, _, path in expected])
        return found


def rows(paths: list[Path]) -> Counter[str]:
    return Counter(repr(row) for path in paths for row in pq.ParquetFile(path).read().to_pylist())


def step(sql: str, **more: Any) -> Step:
    return Step(**{"name": "result", "key": ("item_id",), "split": ("source",), "sql": sql, **more})


def kernel(sql: str = DOUBLED, **more: Any) -> Kernel:
    return Kernel(TABLE, (step(sql, **more),))


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    folder = tmp_path / "it's [one] of * those?"
    folder.mkdir()
    return Trial(KernelRun(folder))


@pytest.fixture
def source(trial: Trial) -> Relation:
    """Many files, one of them empty, and the columns in the order of the table."""
    files = [trial.runs.relation(TABLE, ROWS[begin:end]) for begin, end in pairwise([0, 7, 8, 30, len(ROWS)])]
    empty = trial.runs.relation(TABLE, ROWS[:1]).paths[0]
    pq.write_table(ITEM_USERS.schema.empty_table(), empty)
    return Relation(TABLE, (*(path for of in files for path in of.paths), empty))


@pytest.mark.parametrize("days", [[day(1)], [day(0), day(1), day(2)]])
@pytest.mark.parametrize("how", ["sql", "fold", "load"])
def test_a_result_has_the_rows_of_the_local_engine(trial: Trial, source: Relation, days: list[date], how: str) -> None:
    ways: dict[str, Row] = {
        "sql": {},
        "fold": {"fold": shout},
        "load": {"load": partial(load_shout, trial.runs.folder)},
    }
    one_day = Relation(TABLE, source.paths, "from files where first_date = date '2026-01-02'")
    found = trial.same_as_local(kernel(**ways[how]), days, source=one_day if len(days) == 1 else source)
    assert len(found) > len(days)


def test_the_rows_of_a_file_are_in_the_order_of_the_query(trial: Trial, source: Relation) -> None:
    for path in trial.paths(kernel("from source order by user_id desc"), [day(0), day(1), day(2)], source=source):
        users = pq.ParquetFile(path).read()["user_id"].to_pylist()
        assert users == sorted(users, reverse=True)


def test_a_worker_has_one_thread(trial: Trial, source: Relation) -> None:
    sql = "select first_date, current_setting('threads')::varchar as item_id, user_id from source"
    kernel = Kernel(TABLE, (Step("s", ("item_id",), ("source",), sql),))
    paths = trial.paths(kernel, [day(0), day(1), day(2)], source=source)
    assert {row["item_id"] for path in paths for row in pq.read_table(path).to_pylist()} == {"1"}
    assert trial.engine.settings.store.threads == 2
    assert trial.engine.storage.threads == 1


def test_steps_read_those_before_them_each_by_its_own_key(trial: Trial, source: Relation) -> None:
    steps = (
        step("select user_id, item_id, length(user_id) as size from source", name="sized", key=("user_id",)),
        step("select item_id, sum(size)::bigint as total from sized group by 1", name="summed", split=("sized",)),
        step(
            "select distinct first_date, s.item_id, total::varchar || (select count(*) from summed) as user_id "
            "from source as s join summed using (item_id)",
            split=("source",),
        ),
    )
    assert trial.same_as_local(Kernel(TABLE, steps), [day(0), day(1), day(2)], source=source)


def test_a_last_step_without_a_key_sees_all_rows_at_once(trial: Trial, source: Relation) -> None:
    number = "row_number() over (order by num, item_id, first_date)::varchar"
    ranked = f"select first_date, item_id, {number} as user_id from counted"
    steps = (step(COUNTED, name="counted"), step(ranked, key=(), split=("counted",)))
    found = trial.same_as_local(Kernel(TABLE, steps), [day(0), day(1), day(2)], source=source)
    assert len(found) == 3
    assert len(trial.same_as_local(Kernel(TABLE, (step(DOUBLED, key=()),)), [day(0)], source=source)) == 1


def test_without_rows_there_is_an_empty_file_a_day(trial: Trial, source: Relation) -> None:
    for nothing in (Relation(TABLE, ()), Relation(TABLE, source.paths, "from files where user_id = 'nobody'")):
        for days in ([day(0)], [day(0), day(1)]):
            assert len(trial.same_as_local(kernel(), days, source=nothing)) == len(days)
    steps = (step(COUNTED, name="counted"), step(JOINED))
    assert len(trial.same_as_local(Kernel(TABLE, steps), [day(0), day(1)], source=Relation(TABLE, ()))) == 2


def test_a_day_without_rows_has_one_empty_file_and_the_others_none(trial: Trial, source: Relation) -> None:
    found = trial.same_as_local(kernel(), [day(0), day(8), day(1), day(9)], source=source)
    counts = [(path.name[:10], pq.read_metadata(path).num_rows) for path in found]
    assert [name for name, num_rows in counts if not num_rows] == [str(day(8)), str(day(9))]


def test_a_bucket_has_no_file_for_a_day_on_which_only_others_have_rows(trial: Trial) -> None:
    days = [day(n) for n in range(6)]
    scattered = [row | {"first_date": days[n % 6], "item_id": f"i{n}"} for n, row in enumerate(ROWS[:12])]
    found = trial.same_as_local(kernel(), days, source=trial.runs.relation(TABLE, scattered))
    assert all(pq.read_metadata(path).num_rows for path in found)


@pytest.mark.parametrize("buckets", [1, 50])
def test_any_number_of_buckets_will_do(trial: Trial, source: Relation, buckets: int) -> None:
    """Fifty are more than there are keys."""
    trial = Trial(trial.runs, {"buckets": buckets})
    found = trial.same_as_local(kernel(fold=shout), [day(0), day(1), day(2)], source=source)
    assert (len(found) == 3) == (buckets == 1)


def test_a_large_file_is_cut_and_no_row_is_lost_or_doubled(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    large = trial.runs.relation(TABLE, ROWS * 9, "select * from files where item_id <> 'a'")
    small = trial.runs.relation(TABLE, ROWS[:5])
    both = Relation(TABLE, (*small.paths, *large.paths), large.rows)
    monkeypatch.setattr(beam_shards, "ROW_GROUP_SIZE", 50)
    assert len(beam_shards.plan_shards("source", both, 4, 0)) > 4
    steps = (
        step("select *, 1 as one from source", name="all"),
        step('select * exclude (one) from "all"', split=("all",)),
    )
    trial.same_as_local(Kernel(TABLE, steps), [day(0), day(1), day(2)], source=both)


def test_bundles_that_run_twice_change_nothing_and_leave_nothing(trial: Trial, source: Relation) -> None:
    twice, folder = Trial(trial.runs, TWICE), trial.runs.folder
    steps = (
        step(COUNTED, name="counted"),
        step(JOINED),
    )
    days = [day(0), day(1), day(2), day(7)]
    assert rows(twice.same_as_local(Kernel(TABLE, steps), days, source=source))
    assert rows(twice.same_as_local(kernel(load=partial(load_shout, folder)), days, source=source))


def test_a_bundle_that_fails_leaves_nothing_and_the_next_run_succeeds(trial: Trial, source: Relation) -> None:
    folder = trial.runs.fresh()
    failing, days = kernel(fold=partial(fail_once, folder, "error")), [day(0), day(1), day(2)]
    output = Output(trial.runs.fresh(), dict.fromkeys(days, ""))
    with pytest.raises(Exception, match="on purpose"):
        trial.engine.run(failing, {"source": source}, output)
    assert not output.folder.exists() or list(output.folder.iterdir()) == []
    trial.nothing_in_scratch()
    assert [path.name for path in folder.iterdir()] == ["error"]
    trial.same_as_local(failing, days, source=source)


def test_an_error_for_users_arrives_from_a_worker(trial: Trial, source: Relation) -> None:
    folder = trial.runs.fresh()
    with pytest.raises(InputError) as caught:
        trial.paths(kernel(fold=partial(fail_once, folder, "input")), [day(0), day(1), day(2)], source=source)
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("b is wrong", "here", "write a")
    trial.nothing_in_scratch()


def test_an_error_for_users_arrives_when_a_model_cannot_be_loaded(trial: Trial, source: Relation) -> None:
    with pytest.raises(InputError, match="no model"):
        trial.paths(kernel(load=refuse), [day(0)], source=source)


def refuse() -> Any:
    raise InputError("no model", where="w", value="v", allowed="a", fix="f")


def test_a_portable_runner_gives_the_same(trial: Trial, source: Relation) -> None:
    with job_service() as runner:
        portable, folder = Trial(trial.runs, runner), trial.runs.fresh()
        steps = (
            step(COUNTED, name="counted"),
            step(JOINED),
        )
        portable.same_as_local(Kernel(TABLE, steps), [day(0), day(1), day(2)], source=source)
        with pytest.raises(InputError, match="b is wrong"):
            portable.paths(kernel(fold=partial(fail_once, folder, "input")), [day(0), day(1), day(2)], source=source)
        assert [path.name for path in folder.iterdir()] == ["input"]


def test_a_function_is_called_with_each_day_and_a_run_folder_of_its_own(trial: Trial) -> None:
    days = [day(2), day(0), day(1)]
    found = trial.engine.each(told, days, "run")
    assert [on for on, _ in found] == days
    assert len({attempt for _, attempt in found}) == 3
    assert all(attempt.startswith("run/") for _, attempt in found)
    assert trial.engine.each(told, [], "run") == []
    trial.nothing_in_scratch()


def told(on: date, run_id: str) -> tuple[date, str]:
    return on, run_id


def write(store: Store, on: date, run_id: str) -> Path:
    path = store.run_folder(run_id, "t") / f"{on}"
    path.touch()
    return path


def test_what_an_attempt_wrote_that_does_not_count_is_removed(trial: Trial) -> None:
    twice = Trial(trial.runs, TWICE).engine
    found = twice.each(partial(write, twice.store), [day(0), day(1)], "run")
    assert [path.name for path in found] == [str(day(0)), str(day(1))]
    assert sorted(found) == sorted(path for path in (twice.store.work / RUNS).rglob("*") if path.is_file())


def test_the_error_of_the_earliest_day_is_raised_and_nothing_is_left(trial: Trial) -> None:
    store = trial.engine.store

    def write_and_fail(on: date, run_id: str) -> str:
        write(store, on, run_id)
        return fail_on(on, run_id)

    with pytest.raises(InputError) as caught:
        trial.engine.each(write_and_fail, [day(n) for n in range(4)], "run")
    assert (caught.value.what, caught.value.value, caught.value.fix) == ("day 1", "1", "f")
    assert [path for path in (store.work / RUNS).rglob("*") if path.is_file()] == []
    trial.nothing_in_scratch()


def test_nothing_is_cut_into_chunks_of_days(trial: Trial) -> None:
    assert trial.engine.max_events > 10**12
