"""Real Beam runners for tests, functions for their workers, and a shop whose nights run on any engine.

Workers in other processes import this module: what they call stands here.
"""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from pipelines.contracts import CONTRACTS
from pipelines.errors import InputError
from pipelines.kernel import Fold
from pipelines.night import Night
from pipelines.scoring import build_recommendations, build_related_items
from pipelines.settings import Settings
from pipelines.store import Store, Write
from pipelines.training import train_model
from tests.pipelines.small_log import STAGES, at, day, event, put_log, rows_of, settings_of

ROOT: Final = Path(__file__).parents[2]
HOSTILE: Final = ("it's", 'say "x"', "'; drop table items; --", "two\nlines", "🙂", "ö" * 2_000, "\\", "null")
LAST: Final = 3
"""Number of the last day of the shop."""
TWO_PROCESSES: Final = {
    "runner": "FnApiRunner",
    "options": {"direct_num_workers": 2, "direct_running_mode": "multi_processing"},
}
_run_numbers = count()


@contextmanager
def python_path() -> Iterator[None]:
    """Processes that are started within find this repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@contextmanager
def dask_cluster() -> Iterator[dict[str, Any]]:
    """A Dask scheduler with two worker processes: what to write into [beam]."""
    import distributed

    with (
        python_path(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
    ):
        yield {"runner": "DaskRunner", "options": {"dask_client_address": cluster.scheduler_address}}


@contextmanager
def job_service() -> Iterator[dict[str, Any]]:
    """A job server whose workers are threads of this process: what to write into [beam]."""
    from apache_beam.runners.portability.local_job_service import LocalJobServicer

    service = LocalJobServicer()
    port = service.start_grpc_server()
    try:
        options = {"job_endpoint": f"localhost:{port}", "environment_type": "LOOPBACK"}
        yield {"runner": "PortableRunner", "options": options}
    finally:
        service.stop()


def shop(folder: Path, **sections: Any) -> Settings:
    """Settings of the shop in a folder."""
    return settings_of(
        folder,
        **{
            "sessions": {"gap_minutes": 60},
            "statistics": {"num_neighbours": 3, "min_token_items": 1},
            "training": {"models": {"markov": "tiny"}},
            "recommendations": {"serve": "markov", "k": 4, "related_k": 3},
            "store": {"memory_limit": "500MB"},
            **sections,
        },
    )


def write_logs(folder: Path) -> None:
    """Write four days, in which one item takes half of all events and one user thousands."""
    for number in range(LAST + 1):
        rows = [event("whale", item_of(n), at(n / 60, number)) for n in range(600)]
        rows += [event(f"u{n % 23}", item_of(n + number), at(8 + n / 40, number)) for n in range(200)]
        rows += [event(None, item_of(n), at(3 + n / 7, number), f"s{n % 5}-{number}") for n in range(40)]
        rows += [event(name, other, at(20, number)) for name in HOSTILE for other in HOSTILE[number:]]
        rows += [event("owl", "late", at(23.9, number)), event("owl", "early", at(23.99, number))]
        rows += [event("owl", f"night {number}", at(0.1, number)), event("", "", at(1, number))]
        put_log(folder, number, rows)


def item_of(number: int) -> str:
    """Every second event is on one and the same item."""
    return "hot" if number % 2 else f"i{number % 37}"


def run_nights(settings: Settings, nights: Sequence[tuple[int, int]]) -> Store:
    """Run the whole chain over ranges of days, from logs to lists, and publish each stage."""
    store = settings.open_store()
    for first, last in nights:
        night = Night(settings, store, day(first), day(last), f"run-{next(_run_numbers)}")
        for build in (*STAGES, *_trainings(settings), build_recommendations, build_related_items):
            store.publish(build(night))
    return store


def _trainings(settings: Settings) -> list[Any]:
    return [partial(_train, name) for name in settings.training.models]


def _train(name: str, night: Night) -> list[Write]:
    return train_model(night, name)


def copy_of(store: Store, folder: Path, **beam: Any) -> Settings:
    """Settings of a copy of a shop and its store, which goes on with Beam."""
    source = Path(store.root).parent
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return shop(folder, engine="beam", beam=beam)


def tables(store: Store) -> dict[str, Counter[str]]:
    """The rows of every table, in no order, to the last bit; without what a clock said."""
    found = {}
    for table in CONTRACTS:
        store.fetch_all(store.parts(table))
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(store, table)]
        found[table] = Counter(map(repr, rows))
    return found


def shout(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """A fold: items in capitals."""
    for batch in batches:
        rows = [row | {"item_id": row["item_id"].upper()} for row in batch.to_pylist()]
        yield pa.Table.from_pylist(rows, batch.schema)


def load_shout(folder: Path) -> Fold:
    """Load that fold, and note in which process."""
    _note(folder)
    return shout


def load_powers(folder: Path) -> Callable[[int], int]:
    """Load a model that raises 2 to a power, and note in which process."""
    _note(folder)
    return partial(pow, 2)


def apply_to_key(model: Callable[[int], int], keyed: tuple[int, Iterable[int]]) -> tuple[int, int, int]:
    """What a model says to a key, the number of values of the key, and the process."""
    return model(keyed[0]), len(list(keyed[1])), os.getpid()


def _note(folder: Path) -> None:
    with (folder / "loads").open("a") as file:
        file.write(f"{os.getpid()}\n")


def fail_once(folder: Path, how: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same fold, but the first time that it sees item "b" it fails when all is written."""
    bad = False
    for table in shout(batches):
        bad = bad or "B" in table["item_id"].to_pylist()
        yield table
    if bad and _is_first(folder / how):
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "input":
            raise InputError("b is wrong", where="here", value="b", allowed="a", fix="write a")
        raise ValueError("on purpose")


def _is_first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def fail_on(on: date, run_id: str) -> str:
    """A function of a day that refuses two of them."""
    number = (on - day(0)).days
    if number in (1, 2):
        raise InputError(f"day {number}", where="a", value=number, allowed="0", fix="f")
    return f"{on} {run_id}"
