from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import local_engine
from pipelines.contracts import ITEM_USERS
from pipelines.engines import open_engine
from pipelines.kernel import Fold, Kernel, Relation, Step
from pipelines.local_engine import LocalEngine, Output
from pipelines.settings import Storage
from pipelines.store import Store
from tests.pipelines.kernel_run import HOSTILE, STORAGE, KernelRun, Row
from tests.pipelines.small_log import day, settings_of

TABLE = ITEM_USERS.name
DOUBLED = "select first_date, item_id, user_id || user_id as user_id from source"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("engine"))


def row(on: int, item: str, user: str = "u") -> Row:
    return {"first_date": day(on), "item_id": item, "user_id": user}


def step(name: str, sql: str, **more: Any) -> Step:
    return Step(name, (), ("source",), sql, **more)


def kernel(sql: str, **more: Any) -> Kernel:
    return Kernel(TABLE, (step("result", sql, **more),))


def reversed_items(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    for batch in batches:
        yield pa.Table.from_pylist([r | {"item_id": r["item_id"][::-1]} for r in batch.to_pylist()], batch.schema)


ROWS = [row(1, "b"), row(0, "a"), row(1, "a"), row(3, "z"), row(0, "c")]
BY_DAY = [row(0, "a", "uu"), row(0, "c", "uu"), row(1, "a", "uu"), row(1, "b", "uu")]


@pytest.mark.parametrize("fold", [None, lambda batches: map(pa.Table.from_batches, ([b] for b in batches))])
def test_a_range_of_days_gets_a_file_a_day_in_the_order_of_the_query(runs: KernelRun, fold: Fold | None) -> None:
    source = runs.relation(TABLE, ROWS)
    for order, expected in (("item_id", BY_DAY), ("item_id desc", [BY_DAY[n] for n in (1, 0, 3, 2)])):
        found = runs.run(kernel(f"{DOUBLED} order by {order}", fold=fold), [day(0), day(1), day(2)], source=source)
        assert found == expected


def test_a_single_day_is_one_file(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row(1, text, text) for text in HOSTILE])
    (path,) = runs.paths(kernel(f"{DOUBLED} order by item_id"), [day(1)], source=source)
    assert path.name == f"{day(1)}.parquet"
    assert pq.read_table(path).to_pylist() == [row(1, text, text * 2) for text in sorted(HOSTILE)]


@pytest.mark.parametrize("days", [[day(0)], [day(0), day(1)]])
@pytest.mark.parametrize("fold", [None, reversed_items])
def test_empty_relations_give_files_without_rows(runs: KernelRun, days: list[date], fold: Fold | None) -> None:
    nothing = runs.relation(TABLE, [])
    assert runs.run(kernel(DOUBLED, fold=fold), days, source=nothing) == []
    assert runs.run(kernel(DOUBLED, fold=fold), days, source=runs.relation(TABLE, ROWS, "from files where false")) == []


def test_a_step_reads_those_before_it_and_the_relations(runs: KernelRun) -> None:
    steps = (
        step("counted", "select item_id, count(*) as num from source group by item_id"),
        step("often", "select item_id, num from counted where num > 1"),
        step("result", "select first_date, item_id, num::varchar as user_id from source join often using (item_id)"),
    )
    source = runs.relation(TABLE, ROWS)
    assert runs.run(Kernel(TABLE, steps), [day(0)], source=runs.relation(TABLE, ROWS[3:])) == []
    found = runs.run(Kernel(TABLE, steps), [day(0), day(1)], source=source)
    assert found == [row(0, "a", "2"), row(1, "a", "2")]


def test_the_rows_of_a_relation_are_a_select_over_its_files(runs: KernelRun) -> None:
    select = "select first_date, upper(item_id) as item_id, 'x' as user_id from files where item_id > 'b'"
    found = runs.run(kernel(f"{DOUBLED} order by item_id"), [day(0), day(3)], source=runs.relation(TABLE, ROWS, select))
    assert found == [row(0, "C", "xx"), row(3, "Z", "xx")]


def test_the_fold_makes_the_result_of_the_last_step(runs: KernelRun) -> None:
    source = runs.relation(TABLE, [row(0, "ab"), row(1, "cd")])
    for days, items in (([day(0)], ["ba"]), ([day(1), day(0)], ["dc", "ba"])):
        found = runs.run(kernel(f"{DOUBLED} order by item_id", fold=reversed_items), days, source=source)
        assert [r["item_id"] for r in found] == items


def test_a_fold_that_is_dear_is_made_once_a_run_and_not_before(runs: KernelRun) -> None:
    calls = []

    def load() -> Fold:
        calls.append("made")
        return reversed_items

    loading, source = kernel(DOUBLED, load=load), runs.relation(TABLE, [row(0, "ab"), row(1, "cd")])
    assert calls == []
    assert [r["item_id"] for r in runs.run(loading, [day(0), day(1)], source=source)] == ["ba", "dc"]
    assert calls == ["made"]


def test_parts_are_named_by_day_and_slice(runs: KernelRun) -> None:
    folder = runs.fresh()
    source = {"source": runs.relation(TABLE, ROWS)}
    for days in ((day(0),), (day(0), day(1))):
        found = LocalEngine(STORAGE, Store(runs.folder)).run(
            kernel(DOUBLED), source, Output(folder, dict.fromkeys(days, "rules"))
        )
        assert found == [(on, "rules", folder / f"{on}_rules.parquet") for on in days]


def test_only_the_last_step_may_fold(runs: KernelRun) -> None:
    steps = (step("first", DOUBLED, fold=reversed_items), step("result", "from first"))
    with pytest.raises(AssertionError, match="first: only the last step"):
        runs.run(Kernel(TABLE, steps), [day(0)], source=runs.relation(TABLE, ROWS))


def test_a_result_without_a_column_of_the_contract_is_refused(runs: KernelRun) -> None:
    source = runs.relation(TABLE, ROWS)
    for days in ([day(0)], [day(0), day(1)]):
        with pytest.raises(duckdb.BinderException, match="user_id"):
            runs.run(kernel("select first_date, item_id from source"), days, source=source)


def test_it_works_within_the_limits_of_the_settings(runs: KernelRun, tmp_path: Path) -> None:
    sql = """select current_setting('threads') as item_id, current_setting('temp_directory') as user_id,
        date '2026-01-01' as first_date"""
    storage = Storage(memory_limit="100MB", threads=1)
    engine = LocalEngine(storage, Store(tmp_path))
    ((_, _, path),) = engine.run(kernel(sql), {}, Output(runs.fresh(), {day(0): ""}))
    assert pq.read_table(path).to_pylist() == [row(0, "1", str(tmp_path / "scratch"))]
    settings = settings_of(tmp_path, store={"memory_limit": "100MB", "threads": 1})
    found = open_engine(settings, engine.store)
    assert found == LocalEngine(settings.store, engine.store)
    assert found.max_events == local_engine.LocalEngine.max_events > 0


def test_a_function_is_called_with_each_day_in_order(runs: KernelRun) -> None:
    engine = LocalEngine(STORAGE, Store(runs.folder))
    days = [day(2), day(0), day(1)]
    assert engine.each(lambda on, run_id: (on, run_id), days, "r1") == [(on, "r1") for on in days]
    assert engine.each(lambda on, run_id: on, [], "r1") == []


def test_a_relation_can_be_of_many_files(runs: KernelRun) -> None:
    paths = [path for r in ROWS for path in runs.relation(TABLE, [r]).paths]
    found = runs.run(kernel(f"{DOUBLED} order by item_id"), [day(0), day(1)], source=Relation(TABLE, tuple(paths)))
    assert found == BY_DAY
