"""What a side of the SASRec comparison is told, and how it reports: in its own process, and in either environment.

So nothing is imported here but what both environments have.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from benchmarks.memory import peak_mib

PARTS: Final = ("validation", "test")
LIST_LENGTH: Final = 10  # of the lists after every epoch
RECOMMENDED: Final = 20  # items a user, where the speed is measured
NUM_RUNS: Final = 3


class PeerJob(BaseModel):
    """One side on one data set: where its data lie, the network, its training, and where it reports.

    train, validation, test: Parquet files of `user`, `item` and `place`, histories with the oldest event first; users
    are numbered from 0 in each. time_limit_s: of RecTools' training alone; no epoch begins that would probably end
    later. precision: of the large products of training; weights are float32 in any case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    train: Path
    validation: Path
    test: Path
    num_items: int
    num_epochs: int
    time_limit_s: float
    dim: int = 64
    length: int = 50
    num_blocks: int = 2
    num_heads: int = 1
    dropout: float = 0.2
    batch_size: int = 128
    learning_rate: float = 0.001
    precision: Literal["float32", "bfloat16"] = "float32"
    num_threads: int = 2
    seed: int = 0
    report: Path = Path()

    def note_epoch(self, epoch: int, seconds: float) -> None:
        """Keep how long the training of an epoch took, without looks at any list, and the peak of memory so far."""
        line = {"epoch": epoch, "seconds": seconds, "peak_mib": peak_mib()}
        with _epochs(self.folder).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save_lists(self, part: str, epoch: int, lists: NDArray[np.int32]) -> None:
        """Keep the lists of all cases of a part, int32[C, LIST_LENGTH], 0 where no item stands."""
        np.save(lists_path(self.folder, part, epoch), lists)


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """Read what `note_epoch` has kept, also after a side was ended."""
    path = _epochs(folder)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lists_path(folder: Path, part: str, epoch: int) -> Path:
    """The file of the lists after an epoch."""
    return folder / f"{part}-{epoch:03}.npy"


def _epochs(folder: Path) -> Path:
    return folder / "epochs.jsonl"
