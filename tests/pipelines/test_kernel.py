from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.contracts import CONTRACTS
from pipelines.engine import connect
from pipelines.kernel import Kernel, Relation, Step, name_relations, run_fold, store_step
from pipelines.neighbours import item_neighbours_kernel
from pipelines.night import days_between
from pipelines.sequences import training_sequences_kernel
from pipelines.sessionise import sessions_kernel
from pipelines.settings import Sessions, Statistics
from pipelines.statistics import interval_uniformity_kernel, item_frequency_kernel, item_users_kernel
from pipelines.vocabulary import TOKENS, vocabulary_kernel
from tests.pipelines.kernel_run import STORAGE, KernelRun, Row, in_buckets, sessions_of, statistics_of
from tests.pipelines.random_interactions import WINTER, interactions_of, some_steps
from tests.pipelines.random_interactions import Step as Action
from tests.pipelines.small_log import DAY, day

STATISTICS = Statistics(min_token_items=1, num_neighbours=3, max_neighbour_items=2)
RULES = Sessions(gap_minutes=60, max_events=3, max_events_a_day=4)  # with a guard that looks at all visits of a user
TABLES = [
    "sessions", "item_users", "item_frequency", "interval_uniformity", "item_neighbours", "metadata_vocabulary",
    "training_sequences",
]  # fmt: skip
ACTIONS: list[Action] = [
    ((user, session), pause, item, "view")
    for user, session in (("u1", None), ("u1", "t"), ("u2", "s"), (None, "s"))
    for pause, item in zip(["none", "hour", "hours", "day", "gap", "day", "day", "short"], "abacabda", strict=True)
]


@dataclass(frozen=True)
class Case:
    """A kernel with what it reads, and the days that it writes."""

    kernel: Kernel
    relations: dict[str, Relation]
    days: list[date]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def con(runs: KernelRun) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(STORAGE, runs.folder / "scratch") as con:
        yield con


def case_of(table: str, runs: KernelRun, interactions: list[Row]) -> Case:
    """The kernel of a table over some days: the second half of them, where it goes on from a former night."""
    days = days_between(DAY, max((e["event_date"] for e in interactions), default=day(1)))
    half = len(days) // 2
    early, late = days[:half], days[half:]
    if table == "sessions":
        kernel = sessions_kernel(RULES, "UTC", days[0], days[-1])
        return Case(kernel, {"interactions": runs.relation("interactions", interactions)}, days)
    history = sessions_of(runs, interactions)
    former = statistics_of(history, STATISTICS, [(early[0], early[-1])])
    events = history.events(late[0], late[-1])
    if table == "item_users":
        return Case(
            item_users_kernel("UTC"),
            {"events": events, "former_item_users": runs.relation(table, former[table])},
            late,
        )
    if table == "interval_uniformity":
        kernel = interval_uniformity_kernel(STATISTICS, "UTC", late[-1])
        return Case(kernel, {"events": events, f"former_{table}": runs.relation(table, former[table])}, late[-1:])
    now = statistics_of(history, STATISTICS, [(early[0], early[-1]), (late[0], late[-1])])
    if table == "item_frequency":
        relations = {
            "events": events,
            "session_items": history.session_items(late[0], late[-1]),
            "new_item_users": runs.relation("item_users", now["item_users"][len(former["item_users"]) :]),
            "former_item_frequency": runs.relation(table, former[table]),
        }
        return Case(item_frequency_kernel(STATISTICS, late[-1]), relations, late[-1:])
    if table == "item_neighbours":
        relations = {
            "events": history.events(days[0], days[-1]),
            "item_frequency": runs.relation("item_frequency", now["item_frequency"]),
        }
        return Case(item_neighbours_kernel(STATISTICS, late[-1]), relations, late[-1:])
    numbered = [token("item", text, number) for number, text in enumerate("abd", 2)]
    known = runs.relation("metadata_vocabulary", [*numbered, token("title", "word", 2)])
    if table == "training_sequences":
        return Case(training_sequences_kernel("UTC"), {"events": events, "metadata_vocabulary": known}, late)
    items = [item(name, n) for n, name in enumerate(sorted({e["item_id"] for e in interactions}))]
    relations = {"tokens": runs.relation("items", items, TOKENS), "known_tokens": known}
    return Case(vocabulary_kernel(STATISTICS, late[-1]), relations, late[-1:])


def token(field: str, text: str, number: int) -> Row:
    return {"first_night": DAY, "field": field, "token": text, "number": number, "count": 1}


def item(item_id: str, number: int) -> Row:
    attributes = [("size", [f"{number % 2}"]), ("colour", ["red", "blue"])]
    return {
        "as_of_date": DAY, "item_id": item_id, "title": f"a word {number % 3}", "description": None,
        "category": ["all", f"{number % 2}"], "brand": "b", "price": 1.0, "attributes": attributes,
        "first_seen": DAY, "is_listed": True,
    }  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_the_result_of_a_kernel_has_the_columns_of_its_contract_and_a_key(runs: KernelRun, table: str) -> None:
    case = case_of(table, runs, interactions_of(ACTIONS, WINTER, "UTC"))
    assert case.kernel.table == table
    contract = CONTRACTS[table]
    written = [pq.read_table(path) for path in runs.paths(case.kernel, case.days, **case.relations)]
    for part in written:
        assert part.schema.names == contract.column_names
        assert part.schema.types == contract.schema.types
    rows = [row for part in written for row in part.to_pylist()]
    assert rows
    assert not [row for row in rows if any(row[name] is None for name in contract.required)]
    assert len({tuple(row[name] for name in contract.key) for row in rows}) == len(rows)


@pytest.mark.parametrize("table", TABLES)
def test_without_rows_to_read_there_is_no_row_and_every_column(runs: KernelRun, table: str) -> None:
    case = case_of(table, runs, [])
    empty = {name: Relation(relation.table, (), relation.rows) for name, relation in case.relations.items()}
    for path in runs.paths(case.kernel, case.days, **empty):
        found = pq.read_table(path)
        assert (found.num_rows, found.schema.names) == (0, CONTRACTS[table].column_names)


@pytest.mark.parametrize("table", TABLES)
def test_a_kernel_reads_the_relations_that_it_names(runs: KernelRun, table: str) -> None:
    case = case_of(table, runs, [])
    names = set(case.relations)
    for step in case.kernel.steps:
        assert set(step.split) <= names
        assert bool(step.key) or step.split in ((), ("counted",), ("spaced",))
        names.add(step.name)


@pytest.mark.parametrize("table", TABLES)
@given(some_steps.filter(bool), st.integers(2, 5))
@hypothesis_settings(max_examples=2, deadline=None)
def test_any_buckets_of_the_keys_give_the_result_of_the_whole(
    runs: KernelRun, con: duckdb.DuckDBPyConnection, table: str, actions: list[Action], num_buckets: int
) -> None:
    case = case_of(table, runs, interactions_of([*ACTIONS, *actions], WINTER, "UTC"))
    found = in_buckets(con, case.kernel, case.relations, num_buckets).cast(CONTRACTS[table].schema)
    whole = runs.run(case.kernel, case.days, **case.relations)
    assert sorted(found.to_pylist(), key=str) == sorted(whole, key=str)


def test_a_relation_without_files_has_the_columns_that_its_select_makes(con: duckdb.DuckDBPyConnection) -> None:
    relation = Relation("item_users", (), "select item_id || '!' as name, first_date from files")
    found = con.sql(relation.select())
    assert (found.columns, found.types, found.fetchall()) == (["name", "first_date"], ["VARCHAR", "DATE"], [])


def test_names_of_relations_are_names_whatever_stands_in_them(runs: KernelRun, con: duckdb.DuckDBPyConnection) -> None:
    rows: list[Row] = [{"first_date": DAY, "item_id": "i", "user_id": "u"}]
    name_relations(con, {'a "b"; --': runs.relation("item_users", rows)})
    assert con.sql('from "a ""b""; --"').fetchall() == [(DAY, "i", "u")]


def test_a_step_is_stored_under_its_name_and_again(con: duckdb.DuckDBPyConnection) -> None:
    for number in (1, 2):
        store_step(con, Step("odd name", (), (), f"select {number} as n"))
        assert con.sql('from "odd name"').fetchall() == [(number,)]


def test_a_fold_reads_ordered_rows_in_batches(con: duckdb.DuckDBPyConnection) -> None:
    sizes = []

    def fold(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        for batch in batches:
            sizes.append(batch.num_rows)
            yield pa.Table.from_batches([batch])

    step = Step("s", (), (), "select range as n from range(600_000) order by n desc", fold)
    assert step.folds
    assert not Step("s", (), (), "").folds
    assert Step("s", (), (), "", load=lambda: fold).folds
    assert pa.concat_tables(run_fold(con, step, fold))["n"].to_pylist() == list(range(599_999, -1, -1))
    assert max(sizes) <= 250_000
