"""Every engine gives the same rows for every kernel; what breaks a limit is told; a measurement is not made twice."""

import argparse
import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import data
from benchmarks.data_cells import LACKS, Engine, Job, run_cell, run_night
from benchmarks.data_check import difference
from benchmarks.data_inputs import READS, Inputs
from benchmarks.data_process import Limits
from benchmarks.data_shop import KERNELS, STAGES, Workload, published
from benchmarks.data_tables import markdown
from pipelines.contracts import CONTRACTS
from pipelines.kernel import Relation
from pipelines.local_engine import LocalEngine, Output
from pipelines.sample_shop import SampleShop
from pipelines.sessionise import sessions_kernel
from pipelines.settings import Sessions, Storage
from pipelines.store import Store

SHOP = SampleShop(num_days=3, events_per_day=10_000, num_users=2_000, num_items=400, num_clusters=10)
NUM_DAYS = 2
ENGINES: tuple[Engine, ...] = ("local", "duckdb", "polars", "beam")


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    workload = Workload(tmp_path_factory.mktemp("data"), SHOP, buckets=3)
    workload.prepare(NUM_DAYS, say=lambda _: None)
    return workload


def job_of(workload: Workload, work: Path, kernel: str = "", engine: Engine = "local") -> Job:
    return Job(
        folder=workload.folder,
        work=work,
        shop=workload.shop,
        num_days=NUM_DAYS,
        kernel=kernel,
        engine=engine,
        check=bool(kernel),
        buckets=workload.buckets,
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_published_rows(workload: Workload, tmp_path: Path, kernel: str, engine: Engine) -> None:
    report = run_cell(job_of(workload, tmp_path, kernel, engine))
    assert report.wrong == ""
    assert report.num_bytes > 0
    assert report.cost.wall_s > 0  # the clock of the processor ticks too slowly for a small cell


def test_a_history_has_rows_in_every_table_that_is_compared(workload: Workload) -> None:
    store = workload.store(NUM_DAYS)
    assert all(pq.read_metadata(published(store, t)[0]).num_rows for _, tables in KERNELS.values() for t in tables)
    assert set(READS) == set(KERNELS)


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_peers_cut_sessions_by_all_rules(workload: Workload, tmp_path: Path, engine: str) -> None:
    rules = Sessions(gap_minutes=20 * 60, max_events=3)
    days = [date(2026, 3, 1) + timedelta(days=n) for n in range(5)]
    interactions = tmp_path / "interactions.parquet"
    pq.write_table(pa.Table.from_pylist(_without_a_pause(days), schema=CONTRACTS["interactions"].schema), interactions)
    local = LocalEngine(Storage(memory_limit="500MB"), Store(tmp_path)).run(
        sessions_kernel(rules, "UTC", days[0], days[-1]),
        {"interactions": Relation("interactions", (str(interactions),))},
        Output(_folder(tmp_path / "local"), dict.fromkeys(days, "")),
    )
    inputs = Inputs.of(workload, "sessions", NUM_DAYS, tmp_path / "peer")
    settings = inputs.settings.model_copy(update={"sessions": rules})
    import_module(f"benchmarks.data_peers_{engine}").run(
        "sessions", replace(inputs, settings=settings, paths={"sessions": [], "interactions": [str(interactions)]})
    )
    lacks = LACKS.get((cast(Engine, engine), "sessions"), ())
    expected = [path for _, _, path in local]
    assert sum(pq.read_metadata(path).num_rows for path in expected) == 2 * (2 + 1 + 1 + 1)
    assert difference("sessions", [inputs.file("sessions")], expected, lacks) == ""


def _without_a_pause(days: list[date]) -> list[dict[str, Any]]:
    """A user and a stranger who act twice a day, never 20 hours apart: so they reach a third day, and more."""
    return [
        {
            "event_date": day,
            "user_id": user,
            "item_id": f"i{hour}",
            "event_time": datetime.combine(day, time(hour), UTC),
            "event_type": "view",
            "weight": 1.0,
            "source_session": session,
            "source_file": "log",
            "source_row": 100 * number + hour,
        }
        for number, day in enumerate(days)
        for hour in (1, 20)
        for user, session in (("u1", None), (None, "s1"))
    ]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_night_goes_on_from_the_history_and_leaves_it_alone(workload: Workload, tmp_path: Path) -> None:
    version = workload.store(NUM_DAYS).version()
    report = run_night(job_of(workload, tmp_path))
    assert list(report.stages) == list(STAGES)
    assert all(cost.wall_s > 0 and cost.peak_mib > 0 for cost in report.stages.values())
    assert workload.store(NUM_DAYS).version() == version


def test_other_rows_are_told_by_their_columns(workload: Workload, tmp_path: Path) -> None:
    (path,) = published(workload.store(NUM_DAYS), "item_frequency")
    rows = pq.read_table(path)
    shares = rows["share"].to_numpy()

    def told(changed: pa.Table) -> str:
        pq.write_table(changed, tmp_path / "changed.parquet")
        return difference("item_frequency", [tmp_path / "changed.parquet"], [path], ())

    def with_shares(values: Any) -> pa.Table:
        return rows.set_column(rows.column_names.index("share"), "share", pa.array(values))

    assert told(rows.slice(0, 1)) == f"item_frequency: 1 rows for {rows.num_rows}"
    assert told(with_shares(shares * (1 + 1e-6))) == "item_frequency: other values in share"
    assert told(with_shares(shares * (1 + 1e-12))) == ""
    assert told(rows.take(list(range(rows.num_rows))[::-1])) == ""
    assert told(rows.drop_columns(["share"])) == "item_frequency: no share"
    assert difference("item_frequency", [], [path], ()) == "item_frequency: no files"


def test_measurements_are_kept_and_not_made_twice(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def measured(job: Job, limits: Limits) -> dict[str, Any]:
        made.append(f"{job.num_days} {job.kernel} {job.engine} {job.check}")
        is_wrong = job.engine == "polars"
        return {"status": "wrong" if is_wrong else "time limit", "message": "other rows", "wall_s": 3.0}

    monkeypatch.setattr(data, "_measured", measured)
    monkeypatch.setattr(data, "_require_room", lambda *_: None)
    monkeypatch.setattr(data, "ProcessPoolExecutor", NoPool)
    monkeypatch.setattr(data, "CHECKED_DAYS", NUM_DAYS)
    arguments = argparse.Namespace(
        millions=[NUM_DAYS, NUM_DAYS + 1], engines=["local", "polars"], kernels=["sessions", "night"],
        time_limit=1, max_gib=1,
    )  # fmt: skip
    path = tmp_path / "measured.json"
    data.measure(workload, data.Results.read(path), arguments)
    first = ["2 sessions local True", "2 sessions polars True", "2  local False"]
    assert made == [*first, "3 sessions local False", "3  local False"]
    made.clear()
    data.measure(workload, data.Results.read(path), arguments)
    assert made == ["2 sessions polars True"]
    text = markdown(json.loads(path.read_text()), arguments.millions, arguments.engines, "here")
    assert text.count("**wrong** other rows") == 2
    assert text.count("**time limit**") == 2
    assert "After 3 days: time limit." in text


class NoPool:
    """Does not prepare anything."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> "NoPool":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, *_: object) -> "NoPool":
        return self

    def result(self) -> None:
        pass
