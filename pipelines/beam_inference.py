"""A step with a model, by Beam's ``RunInference``: a module of its own, for it imports torch, which takes seconds."""

from collections.abc import Callable, Sequence
from typing import Any

# isort: split  (the first import of Beam is the quiet one)
from apache_beam.ml.inference.base import ModelHandler, RunInference

from pipelines.beam_quietly import beam


class Inference(ModelHandler[Any, Any, Any]):
    """Lets ``RunInference`` load something once in each worker process, and call a function with it and one value."""

    def __init__(self, load: Callable[[], Any], function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self._load, self._function = load, function

    def load_model(self) -> Any:
        """Load it."""
        return self._load()

    def run_inference(self, batch: Sequence[Any], model: Any, inference_args: dict[str, Any] | None = None) -> Any:
        """Call the function with the model and each value."""
        return [self._function(model, value) for value in batch]

    def should_skip_batching(self) -> bool:
        """Values come in batches of one: Beam would hold one back until the bundle ends, and there Dask loses it."""
        return True


def infer(values: beam.PCollection, load: Callable[[], Any], function: Callable[[Any, Any], Any]) -> beam.PCollection:
    """Map values by a function that gets first what ``load`` returns, itself a function or an object of a class."""
    return values | "alone" >> beam.Map(_alone) | "rank" >> RunInference(Inference(load, function))


def _alone(value: Any) -> list[Any]:
    return [value]
