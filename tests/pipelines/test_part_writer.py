from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines import part_writer
from pipelines.contracts import TRAINING_SEQUENCES
from pipelines.engine import ROW_GROUP_SIZE
from pipelines.part_writer import write_days
from tests.pipelines.kernel_run import HOSTILE, KernelRun, Row
from tests.pipelines.small_log import at, day

TABLE = TRAINING_SEQUENCES.name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> KernelRun:
    return KernelRun(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def _groups_of_five() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_writer, "ROW_GROUP_SIZE", 5)
        yield


def row(number: int, on: int, length: int = 2) -> Row:
    who = HOSTILE[number % len(HOSTILE)]
    numbers, times = list(range(length)), [at(n, on) for n in range(length)]
    return {
        "event_date": day(on), "subject_type": "user", "subject_id": who, "item_numbers": numbers, "event_times": times,
    }  # fmt: skip


def table_of(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TRAINING_SEQUENCES.schema)


def group_sizes(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]


def test_each_day_has_its_own_file_and_rows_of_other_days_are_dropped(runs: KernelRun) -> None:
    rows = [row(number, number % 4) for number in range(20)]
    folder = runs.fresh()
    paths = write_days(
        [table_of(rows[:7]), table_of(rows[7:])], TABLE, folder, dict.fromkeys([day(2), day(0), day(9)], "s")
    )
    assert paths == {day(n): folder / f"{day(n)}_s.parquet" for n in (2, 0, 9)}
    assert sorted(folder.iterdir()) == sorted(paths.values())
    for number in (2, 0, 9):
        found = pq.read_table(paths[day(number)])
        assert found.schema.equals(TRAINING_SEQUENCES.schema)
        assert found.to_pylist() == [r for r in rows if r["event_date"] == day(number)]
    assert pq.read_metadata(paths[day(9)]).num_rows == 0


@pytest.mark.parametrize("tables", [[], [table_of([])]])
def test_without_rows_every_day_gets_a_file_without_rows(runs: KernelRun, tables: list[pa.Table]) -> None:
    paths = write_days(tables, TABLE, runs.fresh(), {day(0): "", day(1): ""})
    assert [pq.read_table(path).equals(table_of([])) for path in paths.values()] == [True, True]


def test_columns_are_taken_by_name_and_cast_and_the_rest_is_left(runs: KernelRun) -> None:
    whole = table_of([row(0, 0), row(1, 0)])
    numbers = whole["item_numbers"].cast(pa.list_(pa.int64()))
    wider = whole.drop_columns("item_numbers").append_column("other", pa.array([1, 2]))
    (path,) = write_days([wider.append_column("item_numbers", numbers)], TABLE, runs.fresh(), {day(0): ""}).values()
    assert pq.read_table(path).equals(whole)
    with pytest.raises(KeyError, match="subject_id"):
        write_days([whole.drop_columns("subject_id")], TABLE, runs.fresh(), {day(0): ""})


@pytest.mark.parametrize("batch_rows", [1_000, ROW_GROUP_SIZE, 1_000_000])
def test_row_groups_are_full_whatever_comes_in(runs: KernelRun, batch_rows: int) -> None:
    num_rows = 2 * ROW_GROUP_SIZE + 77
    subjects = pa.array([str(n) for n in range(num_rows)])
    whole = pa.table(
        [
            pa.repeat(pa.scalar(day(0), pa.date32()), num_rows), pa.repeat("user", num_rows), subjects,
            pa.repeat(pa.scalar([2], pa.list_(pa.int32())), num_rows),
            pa.repeat(pa.scalar([at(1)], TRAINING_SEQUENCES.schema.field("event_times").type), num_rows),
        ],
        schema=TRAINING_SEQUENCES.schema,
    )  # fmt: skip
    tables = (whole.slice(start, batch_rows) for start in range(0, num_rows, batch_rows))
    (path,) = write_days(tables, TABLE, runs.fresh(), {day(0): ""}).values()
    assert group_sizes(path) == [ROW_GROUP_SIZE, ROW_GROUP_SIZE, 77]
    assert pq.read_table(path)["subject_id"].combine_chunks().equals(subjects)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


some_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40).map(
    lambda pairs: [row(number, on, length) for number, (on, length) in enumerate(pairs)]
)


@given(some_rows, st.lists(st.integers(0, 40), max_size=10), st.booleans())
@pytest.mark.usefixtures("_groups_of_five")
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_batches_give_the_same_bytes(runs: KernelRun, rows: list[Row], places: list[int], is_sliced: bool) -> None:
    days = [day(0), day(1), day(2)]

    def written(tables: Sequence[pa.Table]) -> dict[date, Path]:
        return write_days(tables, TABLE, runs.fresh(), dict.fromkeys(days, ""))

    once = written([table_of(rows)])
    bounds = list(pairwise([0, *sorted(min(p, len(rows)) for p in places), len(rows)]))
    whole = table_of(rows)
    often = written([whole.slice(a, b - a) if is_sliced else table_of(rows[a:b]) for a, b in bounds])
    expected: dict[date, list[Any]] = defaultdict(list)
    for r in rows:
        expected[r["event_date"]].append(r)
    for on in days:
        assert once[on].read_bytes() == often[on].read_bytes()
        assert pq.read_table(once[on]).to_pylist() == expected[on]
        full, rest = divmod(len(expected[on]), 5)
        assert group_sizes(once[on]) == [5] * full + [rest] * bool(rest)
