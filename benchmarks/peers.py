"""SASRec of this project beside SASRec of RecTools 0.19: the same split, size, loss, batches and epochs, in one run.

    python -m benchmarks.peers --data DATA --folder FOLDER --tasks movielens_1m --epochs 15 --time-limit 2400

RecTools gets an environment of its own in the folder. It learns from the last 51 events of a user, so both sides are
given no more; further rows of ours learn from all events. Each side is a process of its own. What is measured is in the
folder, and is not measured again when the same command runs again; a side that failed is.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from benchmarks.data_process import Limits, run_fresh
from benchmarks.machine import command, machine
from benchmarks.peer_environment import is_complete, peer_python
from benchmarks.peer_job import LIST_LENGTH, PARTS, PeerJob, lists_path, read_epochs
from benchmarks.peer_split import LENGTH, hand_over, read_histories
from benchmarks.peer_tables import LEGEND, NAMES, markdown
from benchmarks.protocols import PROTOCOLS, Task, leave_one_out, load_task
from benchmarks.results import Results
from models.metrics import case_metrics

PACKAGES: Final = ("torch", "numpy", "numba")
TASKS: Final = [name for name, protocol in PROTOCOLS.items() if protocol is leave_one_out]
DEFAULT_SIDES: Final = ("rectools", "ours", "ours_all", "ours_all_bf16")
MEMORY_SHARE: Final = 0.8  # a side that holds more of the machine's memory is ended
LIST_SECONDS: Final = 1200  # beside its training, and again as much as that


def main() -> None:
    """Measure what the folder does not have yet, print the tables."""
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = Results.read(arguments.folder / "measured.json")
    for name in arguments.tasks:
        missing = [side for side in arguments.sides if not results.is_known(_key(name, side, arguments))]
        task = load_task(name, arguments.data) if missing else None
        for side in missing:
            assert task, "loaded where a side is missing"
            record = measure(task, side, arguments)
            results.add(_key(name, side, arguments), record)
            print(f"{name} {side}: {record['status']} {record['message']}", flush=True)
    print(report(results, arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure SASRec beside RecTools.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where environment, split and results lie, and stay")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["movielens_1m", "amazon_beauty"])
    parser.add_argument("--sides", nargs="+", choices=list(NAMES), default=list(DEFAULT_SIDES))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--time-limit", type=float, default=2400, metavar="SECONDS", help="of RecTools' training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", type=Path, help="of an environment that has RecTools; else one is made")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    return arguments


def _key(task: str, side: str, arguments: argparse.Namespace) -> str:
    return f"{task}/{side}/{arguments.epochs} epochs"


def measure(task: Task, side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a side in a process of its own, and judge the lists that it made after each epoch."""
    job = make_job(task, side, arguments)
    limits = Limits(2 * arguments.time_limit + LIST_SECONDS, MEMORY_SHARE * psutil.virtual_memory().total / 2**20)
    environment = {"OMP_NUM_THREADS": str(arguments.threads)}
    peer = side.startswith("rectools")
    more = {"python": str(_python(arguments))} if peer else {}
    module = "benchmarks.peer_rectools" if peer else "benchmarks.peer_ours"
    ended = run_fresh(module, job.model_dump(mode="json"), limits, environment, **more)
    train = read_histories(job.train)
    return {
        "status": ended.status,
        "message": ended.message,
        "num_epochs": job.num_epochs,
        "num_targets": int((train.lengths - 1).sum()),
        "num_users": len(task.test.histories),
        "peak_mib": ended.peak_mib,
        "epochs": judge(task, job.folder),
        **ended.report,
    }


def make_job(task: Task, side: str, arguments: argparse.Namespace) -> PeerJob:
    """Hand the split over, and empty the folder of the side."""
    split, folder = arguments.folder / task.name / "split", arguments.folder / task.name / side
    hand_over(task, split)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return PeerJob(
        folder=folder,
        train=split / ("train_all.parquet" if "_all" in side else "train_last.parquet"),
        validation=split / "validation.parquet",
        test=split / "test.parquet",
        num_items=task.num_items,
        num_epochs=arguments.epochs,
        time_limit_s=arguments.time_limit,
        length=LENGTH,
        precision="bfloat16" if side.endswith("bf16") else "float32",
        num_threads=arguments.threads,
    )


def _python(arguments: argparse.Namespace) -> Path:
    """The interpreter that RecTools runs in."""
    given: Path | None = arguments.peer_python
    if given is None:
        return peer_python(arguments.folder / "venv")
    if not is_complete(given):
        raise SystemExit(f"--peer-python {given} has not all that RecTools needs: leave the option out, and it is made")
    return given.absolute()  # not resolved: a link into the environment is what makes it one


def judge(task: Task, folder: Path) -> list[dict[str, float]]:
    """Return seconds, peak and metrics of every epoch that has lists of both parts."""
    epochs = []
    for line in read_epochs(folder):
        paths = {part: lists_path(folder, part, line["epoch"]) for part in PARTS}
        if all(path.exists() for path in paths.values()):
            epochs.append(
                line | {name: value for part, path in paths.items() for name, value in _judge(task, part, path)}
            )
    return epochs


def _judge(task: Task, part: str, path: Path) -> list[tuple[str, float]]:
    targets = (task.validation if part == "validation" else task.test).targets
    values = case_metrics(np.load(path), targets, [LIST_LENGTH])
    return [(f"{part}_{metric}", float(values[f"{metric}@{LIST_LENGTH}"].mean())) for metric in ("ndcg", "hit")]


def report(results: Results, arguments: argparse.Namespace) -> str:
    """Return all tables, with what they ran on."""
    tables = []
    versions: dict[str, str] = {}
    for name in arguments.tasks:
        keys = {side: _key(name, side, arguments) for side in arguments.sides}
        records = {side: results.content[key] for side, key in keys.items() if key in results.content}
        versions |= records.get("rectools", {}).get("versions", {})
        tables.append(markdown(name, records))
    peer = ", ".join(f"{package} {version}" for package, version in versions.items())
    about = f"`{command('benchmarks.peers')}`: {machine(PACKAGES)}; {arguments.threads} threads" + (
        f"; RecTools' environment: {peer}" if peer else ""
    )
    return "\n\n".join([about, LEGEND, *tables])


if __name__ == "__main__":
    main()
