"""How well sessions are found that the source knows: clicks of a news site with their true sessions left out.

    python -m benchmarks.true_sessions --data data

The kernel of the pipeline cuts the clicks of ``globo_news`` by user and pause alone. A true session counts as found if
one of the sessions has exactly its clicks. The gap is the setting that the run names, and nothing else is tuned.
"""

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

from pipelines.engine import connect, quote
from pipelines.kernel import Relation
from pipelines.local_engine import LocalEngine, Output
from pipelines.night import days_between
from pipelines.sessionise import sessions_kernel
from pipelines.settings import Sessions, Storage
from pipelines.store import Store

FIRST, LAST = date(2017, 10, 1), date(2017, 10, 27)
GAPS_MINUTES: Final = (10, 15, 20, 30, 45, 60)
HEADER: Final = "| gap, minutes | sessions | true sessions found |\n|---|---|---|"


def main() -> None:
    """Print a Markdown table: for each gap, the share of true sessions that were found exactly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--gaps", type=float, nargs="+", default=GAPS_MINUTES, help="gaps to try, in minutes")
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        clicks = _write_clicks(chosen.data / "globo_news" / "events.parquet", Path(folder))
        print(HEADER)
        for gap in chosen.gaps:
            sessions = _sessionise(clicks, gap, Path(folder))
            num, found = _compare(chosen.data / "globo_news" / "events.parquet", sessions)
            print(f"| {gap:g} | {num:,} | {found:.2%} |")


def _write_clicks(events: Path, folder: Path) -> Path:
    """The clicks as ``interactions``, without their sessions."""
    path = folder / "interactions.parquet"
    with connect(Storage(), folder) as con:
        con.execute(f"""
            copy (
                select "timestamp"::date as event_date, user_id::varchar as user_id, item_id::varchar as item_id,
                    "timestamp" as event_time, 'click' as event_type, 1.0::double as weight,
                    null::varchar as source_session, 'events' as source_file,
                    row_number() over (order by "timestamp", user_id, item_id) as source_row
                from {quote(events)} order by event_time, source_row
            ) to {quote(path)} (format parquet)
        """)
    return path


def _sessionise(clicks: Path, gap_minutes: float, folder: Path) -> Sequence[str]:
    kernel = sessions_kernel(Sessions(gap_minutes=gap_minutes), "UTC", FIRST, LAST)
    output = Output(folder, dict.fromkeys(days_between(FIRST, LAST), f"{gap_minutes:g}"))
    engine = LocalEngine(Storage(), Store(folder / "store"))
    return [
        str(path)
        for _, _, path in engine.run(kernel, {"interactions": Relation("interactions", (str(clicks),))}, output)
    ]


def _compare(events: Path, sessions: Sequence[str]) -> tuple[int, float]:
    """Number of sessions, and share of the true ones that were found."""
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        row = con.execute(f"""
            with truth as (
                select user_id::varchar as user_id, list_sort(list(("timestamp", item_id::varchar))) as clicks
                from {quote(events)} group by user_id, session_id
            ), found as (
                select user_id, list_sort(list_zip(event_times, item_ids)) as clicks
                from read_parquet({list(sessions)}, hive_partitioning = false)
            ), judged as (
                select truth.*, found.user_id is not null as is_found
                from truth left join (select distinct * from found) as found using (user_id, clicks)
            )
            select (select count(*) from found), avg(is_found::int) from judged
        """).fetchone()
    assert row is not None
    return row[0], row[1]


if __name__ == "__main__":
    main()
