"""What the checkpoint of ``interactions`` costs: processor time, wall time and memory over a table of many rows.

    python -m benchmarks.checkpoint --rows 10000000 --threads 2 --memory-limit 2GB --json measured.json

The table is written by the pipeline's own writer in the pipeline's own layout, and judged by the suite that a night
uses, through ``assets.checkpoints.run_checkpoint``. Every run is a process of its own that imports Great Expectations
before the clock starts, as a night imports it once. An expectation's seconds are those of its queries; what is left to
the total is Great Expectations: its plan, its files and the page.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from assets.checkpoints import run_checkpoint
from assets.measurement import Measurement
from benchmarks.machine import machine
from pipelines.contracts import INTERACTIONS
from pipelines.engine import connect, quote, scan, write_part
from pipelines.expectations import Expectation, suite
from pipelines.settings import Settings, Storage

PACKAGES: Final = ("duckdb", "great_expectations")
ZONE: Final = "Europe/Berlin"
DAYS: Final = [date(2026, 3, 27) + timedelta(days=n) for n in range(5)]  # 2026-03-29 has 23 hours


@dataclass(frozen=True)
class Cost:
    """What a run took; ``cpu_s`` counts both threads, ``queries_cpu_s`` is the part of each expectation's queries.

    ``peak_mib`` is the largest resident memory while it ran, ``before_mib`` the resident memory before: the imports.
    """

    cpu_s: float
    wall_s: float
    before_mib: float
    peak_mib: float
    queries_cpu_s: dict[str, float]


def main() -> None:
    """Build the table, run the checkpoint some times, print the medians as Markdown."""
    arguments = _arguments()
    storage = Storage(memory_limit=arguments.memory_limit, threads=arguments.threads)
    with TemporaryDirectory(prefix="checkpoint-", dir=arguments.folder) as folder:
        build_table(storage, Path(folder), arguments.rows)
        costs = [_in_a_fresh_process(storage, Path(folder)) for _ in range(arguments.runs)]
    print(_markdown(costs, arguments))
    if arguments.json:
        content = {"settings": vars(arguments), "machine": machine(PACKAGES), "runs": [asdict(cost) for cost in costs]}
        arguments.json.write_text(json.dumps(content, indent=1, default=str) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the checkpoint of interactions.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", default="2GB", help="of DuckDB")
    parser.add_argument("--runs", type=int, default=3, help="each in a process of its own; the medians are printed")
    parser.add_argument("--folder", type=Path, help="where the table may lie for the time, 200 MB for 10,000,000 rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file")
    return parser.parse_args()


def build_table(storage: Storage, folder: Path, rows: int) -> None:
    """Write ``rows`` interactions of five days, one Parquet file for each day of events and day of files.

    Each day has three log files: of 8 sessions, 3 are of the web shop, 3 of the app and 2 of the till. A session is 8
    events within minutes; one in 50 is in the files of the day after, one in 10 has no user. The app's log names no
    session but that of a stranger. One row of a file in 33 was rejected.
    """
    with connect(storage, folder / "scratch") as con:
        for number, day in enumerate(DAYS):
            first, last = (rows * n // len(DAYS) for n in (number, number + 1))
            con.execute(f"create or replace temp table events as {_events(day, first, last)}")
            dates = con.execute("select distinct event_date from events order by 1").fetchall()
            for (event_date,) in dates:
                select = (
                    f"from events where event_date = {quote(event_date)} order by event_time, source_file, source_row"
                )
                write_part(con, select, "interactions", folder, event_date, day.isoformat())


def _events(day: date, first: int, last: int) -> str:
    """SELECT of the events of one file day, which are numbered ``first`` to ``last`` over all days."""
    return f"""
        with numbered as (
            select
                range as event,
                range // 8 as session,
                {quote(day)}::timestamp at time zone {quote(ZONE)} as midnight,
                list_extract(['web', 'web', 'web', 'app', 'app', 'app', 'till', 'till'], 1 + session % 8) as source,
                hash(session, 1) % 10 = 0 as is_stranger,
                hash(session, 2) % (22 * 3600 * 1000) + (event % 8) * 20_000 + hash(event, 3) % 20_000 as milliseconds
            from range({first}, {last})
        ),
        arrived as (
            select *, row_number() over (partition by source order by milliseconds, event) as arrival from numbered
        )
        select
            if(hash(session, 4) % 50 = 0, 86_400_000, 0) as lateness,
            midnight + to_milliseconds(milliseconds::bigint - lateness) as event_time,
            cast(event_time at time zone {quote(ZONE)} as date) as event_date,
            300_000 * pow(hash(session, 5) / pow(2, 64), 2) as user_number,
            if(is_stranger, null, format('u{{:07d}}', user_number::int)) as user_id,
            format('i{{:06d}}', (50_000 * pow(hash(event, 6) / pow(2, 64), 3))::int) as item_id,
            case when hash(event, 7) % 10 > 0 then 'view' when hash(event, 8) % 3 > 0 then 'cart' else 'purchase' end
                as event_type,
            map {{'view': 1.0, 'cart': 3.0, 'purchase': 5.0}}[event_type]::double as weight,
            if(source = 'app' and not is_stranger, null, format('s{{:09d}}', session)) as source_session,
            format('logs/{{}}-{day}.jsonl.gz', source) as source_file,
            arrival + arrival // 32 as source_row
        from arrived
    """


def _in_a_fresh_process(storage: Storage, folder: Path) -> Cost:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, storage, folder).result()


def measure(storage: Storage, folder: Path) -> Cost:
    """Run the checkpoint over the Parquet files of a folder in this process.

    Raises ``RuntimeError`` if the table does not pass.
    """
    import assets.gx_run  # noqa: F401  (the import is no part of the cost)

    expectations = suite(INTERACTIONS, _settings(storage))
    views = {"batch": scan(INTERACTIONS, sorted(folder.glob("*.parquet")))}
    with Measurement() as before:
        pass
    with _timed_queries(expectations) as queries_cpu_s, Measurement() as measured:
        start = time.process_time()
        report = run_checkpoint(
            INTERACTIONS, expectations, views, DAYS[-1], folder / "docs", storage=storage, scratch=folder / "scratch"
        )
        cpu_s = time.process_time() - start
    if not report.passed:
        raise RuntimeError(report.message())
    # Linux counts resident pages per processor and adds them up now and then: two readings may differ by 1 MiB.
    peak_mib = max(before.peak_mib, measured.peak_mib)
    return Cost(cpu_s, measured.seconds, before.peak_mib, peak_mib, dict(queries_cpu_s))


def _settings(storage: Storage) -> Settings:
    columns = {"user": "user", "item": "item", "time": "time", "session": "session", "event_type": "type"}
    kinds = [{"name": "view"}, {"name": "cart", "weight": 3.0}, {"name": "purchase", "weight": 5.0}]
    events = {"format": "json", "path": "logs/*-{day}.jsonl.gz", "columns": columns, "event_types": kinds}
    return Settings.model_validate(
        {"events": events, "nights": {"first": DAYS[0], "time_zone": ZONE}, "store": storage.model_dump()}
    )


@contextmanager
def _timed_queries(expectations: Sequence[Expectation]) -> Iterator[dict[str, float]]:
    """Count the seconds of processor that each expectation's queries take, by listening to SQLAlchemy."""
    from sqlalchemy import Engine, event

    seconds = {expectation.name: 0.0 for expectation in expectations}
    queries = [
        (text.replace("{batch}", "batch"), expectation.name)
        for expectation in expectations
        for text in (expectation.proof, str(expectation.arguments.get("unexpected_rows_query", "")))
        if text
    ]
    started: list[float] = []

    def start(*_: Any) -> None:
        started.append(time.process_time())

    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        spent = time.process_time() - started.pop()
        for name in [name for text, name in queries if text in statement][:1]:
            seconds[name] += spent

    event.listen(Engine, "before_cursor_execute", start)
    event.listen(Engine, "after_cursor_execute", stop)
    try:
        yield seconds
    finally:
        event.remove(Engine, "before_cursor_execute", start)
        event.remove(Engine, "after_cursor_execute", stop)


def _markdown(costs: Sequence[Cost], arguments: argparse.Namespace) -> str:
    names = costs[0].queries_cpu_s
    queries = {name: median(cost.queries_cpu_s[name] for cost in costs) for name in names}
    total = median(cost.cpu_s for cost in costs)
    lines = [
        f"{arguments.rows:,} rows, {arguments.threads} threads, memory limit {arguments.memory_limit}, "
        f"medians of {len(costs)} runs; {machine(PACKAGES)}",
        "",
        "| expectation | CPU s |",
        "|---|---|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in queries.items()),
        f"| Great Expectations itself | {total - sum(queries.values()):.2f} |",
        f"| **total CPU s** | **{total:.2f}** ({', '.join(f'{cost.cpu_s:.2f}' for cost in costs)}) |",
        f"| wall s | {median(cost.wall_s for cost in costs):.2f} |",
        f"| peak resident MiB | {max(cost.peak_mib for cost in costs):.0f} "
        f"({median(cost.before_mib for cost in costs):.0f} before) |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
