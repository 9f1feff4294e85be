from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.beam_inference import Inference, infer
from pipelines.beam_pipeline import run_chain
from pipelines.settings import Beam


def load(folder: Path) -> Callable[[int], int]:
    """Note the load, and return what doubles a number."""
    (folder / str(len(list(folder.iterdir())))).touch()
    return lambda number: 2 * number


def apply(double: Callable[[int], int], number: int) -> tuple[int, int]:
    return number, double(number)


def test_a_model_is_loaded_once_for_all_values(tmp_path: Path) -> None:
    loads, scratch = tmp_path / "loads", tmp_path / "scratch"
    loads.mkdir()
    scratch.mkdir()
    found = run_chain(Beam(), list(range(50)), lambda values: infer(values, partial(load, loads), apply), scratch)
    assert sorted(found) == [(number, 2 * number) for number in range(50)]
    assert len(list(loads.iterdir())) == 1


def test_a_value_is_never_held_back_for_a_batch() -> None:
    handler = Inference(lambda: None, apply)
    assert handler.should_skip_batching()
    assert handler.run_inference([1, 2], lambda number: -number) == [(1, -1), (2, -2)]
