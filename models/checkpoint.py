"""A fitted model as two files: `weights.safetensors` and `model.json`. Nothing in them is executed on loading.

A checkpoint says which vocabulary numbers its items and up to which day it has seen events. `load` refuses one made for
another vocabulary (its numbers would mean other items) and one that has seen later days than the caller may know.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.catalogue import Catalogue
from models.recommender import Recommender
from models.registry import build, model_class

WEIGHTS_FILE = "weights.safetensors"
HEADER_FILE = "model.json"


class Header(BaseModel):
    """What `model.json` says of the weights beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str
    config: dict[str, Any]
    num_items: int
    vocabulary_hash: str
    as_of: date
    weights_sha256: str

    @property
    def checkpoint_hash(self) -> str:
        """Sha256 of the header, and through it of the weights: equal for equal checkpoints, unlike for any other."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def save(folder: Path, model: Recommender, vocabulary_hash: str, as_of: date) -> str:
    """Write a checkpoint and return its hash.

    as_of: the last day whose events the model has seen. The folder appears whole or not at all; one that exists already
    is replaced, with an instant in between where there is none.
    """
    tensors = {name: np.require(array, requirements="C") for name, array in model.state().items()}
    weights = save_tensors(tensors)
    header = Header(
        name=model.name,
        config=model.config.model_dump(mode="json"),
        num_items=model.num_items,
        vocabulary_hash=vocabulary_hash,
        as_of=as_of,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    with _published(Path(folder)) as fresh:
        (fresh / WEIGHTS_FILE).write_bytes(weights)
        (fresh / HEADER_FILE).write_text(header.model_dump_json(indent=2) + "\n")
    return header.checkpoint_hash


def read_header(folder: Path) -> Header:
    """Read what a checkpoint is, without its weights. Raises FileNotFoundError or ValueError where it is none."""
    return Header.model_validate_json((Path(folder) / HEADER_FILE).read_text())


def load(folder: Path, catalogue: Catalogue, vocabulary_hash: str, latest_as_of: date | None = None) -> Recommender:
    """Rebuild the model of a checkpoint, ready for `topk` on this catalogue.

    Raises ValueError when it was made for another vocabulary or more items, has seen a day after `latest_as_of` (None:
    any day will do), or its weights are not the ones that were saved.
    """
    header = read_header(folder)
    if header.vocabulary_hash != vocabulary_hash:
        raise ValueError(
            f"{folder} was made for vocabulary {header.vocabulary_hash}, not {vocabulary_hash}: "
            "its item numbers mean other items; fit the model anew"
        )
    if latest_as_of is not None and header.as_of > latest_as_of:
        raise ValueError(
            f"{folder} has seen events up to {header.as_of}, but only days up to {latest_as_of} may be known here: "
            "choose an older checkpoint or fit the model anew"
        )
    if header.num_items > catalogue.num_items:
        raise ValueError(
            f"{folder} was made for {header.num_items} items, and the catalogue has {catalogue.num_items}: item "
            "numbers are never taken back, so these mean other items; fit the model anew"
        )
    model = build(header.name, model_class(header.name).Config(**header.config), catalogue)
    model.restore(read_state(folder))
    return model


def read_state(folder: Path) -> dict[str, NDArray[Any]]:
    """Read what the model of a checkpoint has learnt. Raises ValueError where the weights are not those once saved."""
    header, weights = read_header(folder), (Path(folder) / WEIGHTS_FILE).read_bytes()
    found = hashlib.sha256(weights).hexdigest()
    if found != header.weights_sha256:
        raise ValueError(f"{folder}/{WEIGHTS_FILE} is damaged: sha256 {found}, saved as {header.weights_sha256}")
    return dict(load_tensors(weights))


@contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, and put it in its place when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    fresh, old = folder.with_name(f".{folder.name}.{mark}.new"), folder.with_name(f".{folder.name}.{mark}.old")
    fresh.mkdir()
    try:
        yield fresh
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
