"""How memory grows with the catalogue: M2TRec, which knows items by their metadata, beside sasrec.

    python -m benchmarks.catalogue_size --folder FOLDER --items 43000 1000000 10000000

A made-up catalogue: a category path of two levels, a brand, eight words of a title and a price, in files mapped into
memory. Each model takes a few training steps, is saved, and ranks histories in another process. Peaks are those of
resident memory; they include the pages of the catalogue's files that were read, which the system may take back.
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import command, machine
from benchmarks.memory import peak_mib
from benchmarks.models import PACKAGES, ROOT
from models import checkpoint
from models.catalogue import FIRST_VALUE, Catalogue, Values
from models.recommender import Recommender
from models.registry import build, configure
from models.sequences import FIRST_ITEM, Sequences

MODELS: Final = ("m2trec", "sasrec")
FIELDS: Final = {"category_1": (1, 200), "category_2": (1, 2_000), "brand": (1, 20_000), "title": (8, 30_000)}
SETTINGS: Final[dict[str, Any]] = {
    "dim": 64,
    "length": 20,
    "loss": "sampled_softmax",
    "num_negatives": 2048,
    "batch_size": 512,
    "num_epochs": 1,
    "max_epoch_batches": 5,
}
NUM_HISTORIES: Final = 8_192
K: Final = 20


def main() -> None:
    """Measure what the folder does not have yet, print the table."""
    arguments = _arguments()
    print(f"`{command('benchmarks.catalogue_size')}`: {machine(PACKAGES)}\n")
    head = "| items | model | weights | weights MiB | training peak MiB | ranking peak MiB | lists/s |"
    print(f"{head}\n|{'---|' * 7}")
    for num_real in arguments.items:
        folder = arguments.folder.resolve() / str(num_real)
        if not (folder / "title-offsets.npy").exists():
            write_catalogue(folder, num_real)
        for model in MODELS:
            done = _measured(folder, model, num_real)
            print(
                f"| {num_real:,} | {model} | {done['weights']:,.0f} | {done['weights'] * 4 / 2**20:,.0f} "
                f"| {done['fit_peak_mib']:,.0f} | {done['rank_peak_mib']:,.0f} | {done['lists_per_second']:,.0f} |",
                flush=True,
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure memory against the size of the catalogue.")
    parser.add_argument("--folder", type=Path, required=True, help="for made-up catalogues, checkpoints and results")
    parser.add_argument("--items", type=int, nargs="+", default=[43_000, 1_000_000, 10_000_000])
    return parser.parse_args()


def _measured(folder: Path, model: str, num_real: int) -> dict[str, float]:
    done = folder / f"{model}.json"
    if not done.exists():
        parts: dict[str, float] = {}
        for step in ("fit", "rank"):
            job = [sys.executable, "-m", "benchmarks.catalogue_size", step, str(folder), model, str(num_real)]
            parts |= json.loads(subprocess.run(job, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        done.write_text(json.dumps(parts))
    found: dict[str, float] = json.loads(done.read_text())
    return found


def write_catalogue(folder: Path, num_real: int) -> None:
    """Draw the values of every item; a few values are those of many items."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name, (each, num_values) in FIELDS.items():
        drawn = (num_values * generator.random(num_real * each) ** 2).astype(np.int32) + FIRST_VALUE
        offsets = np.concatenate([[0, 0], np.arange(num_real + 1) * each]).astype(np.int64)
        np.save(folder / f"{name}-numbers.npy", drawn)
        np.save(folder / f"{name}-offsets.npy", offsets)
    np.save(folder / "price.npy", np.concatenate([[np.nan] * FIRST_ITEM, generator.lognormal(3, 1, num_real)]))


def read_catalogue(folder: Path, num_real: int) -> Catalogue:
    """Map it into memory."""

    def mapped(name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="c")
        return array

    fields = {
        name: Values(mapped(f"{name}-numbers"), mapped(f"{name}-offsets"), num_values + FIRST_VALUE)
        for name, (_, num_values) in FIELDS.items()
    }
    return Catalogue(num_real + FIRST_ITEM, fields, {"price": mapped("price")})


def histories(num_real: int, num_histories: int, seed: int) -> Sequences:
    """Draw histories of five events."""
    items = np.random.default_rng(seed).integers(FIRST_ITEM, FIRST_ITEM + num_real, num_histories * 5)
    offsets = np.arange(0, num_histories * 5 + 1, 5)
    return Sequences(items.astype(np.int32), np.zeros(len(items), np.int64), offsets)


def fit(folder: Path, model: str, num_real: int) -> dict[str, float]:
    """Take the training steps and save the model."""
    unfitted = build(model, configure(model, "small", SETTINGS), read_catalogue(folder, num_real))
    unfitted.fit(histories(num_real, 4_096, 0), seed=0)
    checkpoint.save(folder / model, unfitted, "made up", date(2026, 1, 1))
    return {"weights": float(_num_weights(unfitted)), "fit_peak_mib": peak_mib()}


def _num_weights(model: Recommender) -> int:
    return sum(array.size for array in model.state().values() if array.dtype == np.float32)


def rank(folder: Path, model: str, num_real: int) -> dict[str, float]:
    """Rank the histories with the saved model."""
    fitted = checkpoint.load(folder / model, read_catalogue(folder, num_real), "made up")
    asked, allowed = histories(num_real, NUM_HISTORIES, 1), np.ones(num_real + FIRST_ITEM, np.bool_)
    started = time.perf_counter()
    fitted.topk(asked, K, allowed)
    return {"lists_per_second": NUM_HISTORIES / (time.perf_counter() - started), "rank_peak_mib": peak_mib()}


if __name__ == "__main__":
    if sys.argv[1] in ("fit", "rank"):
        step, place, name, items = sys.argv[1:]
        print(json.dumps({"fit": fit, "rank": rank}[step](Path(place), name, int(items))))
    else:
        main()
