"""Whether the cost of a list grows with what is stored: Sparsey's episodes, dense and as links, and exact session-kNN.

    python -m benchmarks.constant_time

Made-up sequences of five items, drawn evenly, so that nothing but memory can find the fifth from the other four. Each
memory stores more and more of them and is asked for the fifth of 2,000 that it holds, on one thread. The dense memory
counts what it does; links and session-kNN, which looks at every sequence with an item of the history, are the controls
whose time must grow, or the measurement would be blind.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.machine import command, machine
from benchmarks.models import PACKAGES
from models.catalogue import Catalogue
from models.dense_episodes import DenseEpisodes
from models.episodes import Episodes, draw_links
from models.links import Links
from models.sequences import FIRST_ITEM, Sequences
from models.session_knn import SessionKnn, SessionKnnConfig

NUM_ITEMS: Final = 20_000
LENGTH: Final = 5
NUM_MODULES: Final = 8
NUM_WINNERS: Final = 64
POWER: Final = 2.0
CUTOFF: Final = 20
NUM_LISTS: Final = 2_000
BATCH: Final = 100
WEIGHTS: Final = np.ones(1, np.float32)

MEMORIES: Final = ("dense", "links", "session_knn")

Ask = Callable[[Sequences], csr_array]


class Asked(NamedTuple):
    """What one memory did: median milliseconds of a list, the share of fifth items among the first 20, its MiB."""

    milliseconds: float
    found: float
    mebibytes: float


def main() -> None:
    """Print a table for each size of a module, and by what power of the number of sequences time grows."""
    arguments = _arguments()
    torch.set_num_threads(1)
    print(f"`{command('benchmarks.constant_time')}`: {machine(PACKAGES)}; one thread")
    for num_units in arguments.units:
        print(f"\n#### {NUM_MODULES} modules of {num_units:,} units\n")
        head = "| sequences | bits set for each | rows read a list | words read a list | fill "
        columns = [f"| {name} ms | found@20 | MiB " for name in MEMORIES]
        print(f"{head}{''.join(columns)}|\n|{'---|' * 14}")
        rows = [measure(number, num_units) for number in arguments.sequences]
        for index, name in enumerate(MEMORIES):
            times = np.log([row[index].milliseconds for row in rows])
            slope = np.polyfit(np.log(arguments.sequences), times, 1)[0]
            print(f"\nTime of {name} grows with the {slope:.3f}th power of the number of sequences.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the time of a list against what is stored.")
    parser.add_argument("--units", type=int, nargs="+", default=[1024, 8192], help="of a module")
    parser.add_argument("--sequences", type=int, nargs="+", default=[1_000, 10_000, 100_000, 300_000, 1_000_000])
    return parser.parse_args()


def measure(number: int, num_units: int) -> tuple[Asked, Asked, Asked]:
    """Store so many sequences in each memory, ask it, and print the row."""
    pieces = made_up(number)
    drawn = draw_links(pieces, NUM_MODULES, num_units, np.random.default_rng(1))
    dense = DenseEpisodes(NUM_ITEMS, NUM_MODULES, NUM_MODULES * num_units, WEIGHTS)
    dense.store(*drawn)
    links = Episodes.of([Links.of(*drawn, (NUM_ITEMS, NUM_MODULES * num_units))], NUM_MODULES, WEIGHTS)
    sizes = [some.columns.nbytes + some.offsets.nbytes for some in (links.units, links.items)]
    exact = SessionKnn(SessionKnnConfig(max_sequences=10**9), Catalogue(NUM_ITEMS))
    exact.fit(pieces, seed=0)
    held = sum(array.nbytes for array in exact.state().values())
    before = dense.operations
    asked = (
        _asked(lambda some: dense.found(some, POWER, NUM_WINNERS, CUTOFF), pieces, dense.nbytes),
        _asked(lambda some: links.found(some, POWER, NUM_WINNERS, CUTOFF), pieces, sum(sizes)),
        _asked(exact.found, pieces, held),
    )
    done = np.subtract(dense.operations, before) / (NUM_LISTS + BATCH)
    cells = [f"{number:,}", f"{before.bits_set / number:g}", *(f"{part:,g}" for part in done[1:]), f"{dense.fill:.4f}"]
    for one in asked:
        cells += [f"{one.milliseconds:.2f}", f"{one.found:.3f}", f"{one.mebibytes:,.0f}"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return asked


def made_up(number: int) -> Sequences:
    """Draw sequences of different items."""
    drawn = np.random.default_rng(0).integers(FIRST_ITEM, NUM_ITEMS, (number + number // 100, LENGTH))
    ordered = np.sort(drawn, axis=1)
    items = drawn[(ordered[:, 1:] != ordered[:, :-1]).all(axis=1)][:number]
    return Sequences(items.ravel().astype(np.int32), np.zeros(items.size, np.int64), np.arange(number + 1) * LENGTH)


def _asked(ask: Ask, pieces: Sequences, num_bytes: int) -> Asked:
    chosen = np.linspace(0, len(pieces) - 1, NUM_LISTS).astype(np.int64)
    histories = pieces.cut(pieces.offsets[chosen], np.full(NUM_LISTS, LENGTH - 1))
    targets = pieces.items[pieces.offsets[chosen] + LENGTH - 1]
    ask(histories.take(np.arange(BATCH)))  # compiles
    seconds, num_hits = [], 0
    for start, stop in pairwise(range(0, NUM_LISTS + 1, BATCH)):
        batch = histories.take(np.arange(start, stop))
        began = time.perf_counter()
        answer = ask(batch)
        seconds.append((time.perf_counter() - began) / BATCH)
        num_hits += int(hits(answer, targets[start:stop], CUTOFF).sum())
    return Asked(1000 * float(np.median(seconds)), num_hits / NUM_LISTS, num_bytes / 2**20)


def hits(answer: csr_array, targets: NDArray[np.integer], cutoff: int) -> NDArray[np.bool_]:
    """Tell whether fewer items than the cutoff have as high a share as the target, which has one."""
    shares = answer.toarray()
    own = shares[np.arange(len(targets)), targets]
    found: NDArray[np.bool_] = (own > 0) & ((shares >= own[:, None]).sum(axis=1) <= cutoff)
    return found


if __name__ == "__main__":
    main()
