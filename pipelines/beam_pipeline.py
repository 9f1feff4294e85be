"""One Beam pipeline: a chain from a list of small values to a list of small values, on any runner."""

import pickle
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.settings import Beam

DASK: Final = "DaskRunner"
FULL_NAMES: Final = {DASK: "apache_beam.runners.dask.dask_runner.DaskRunner"}
Chain = Callable[[beam.PCollection], beam.PCollection]


def run_chain(settings: Beam, values: Sequence[Any], chain: Chain, scratch: Path) -> list[Any]:
    """Run a pipeline over values and return what comes out of its chain, in no certain order.

    ``scratch`` is a folder that all workers see: the last step writes the results there, for no runner but Dask's hands
    values back. Values and results can be pickled, and are small.
    """
    answer = scratch / "results.pickle"
    answer.unlink(missing_ok=True)
    options = PipelineOptions(pipeline_flags(settings, len(values)))
    pipeline = beam.Pipeline(FULL_NAMES.get(settings.runner, settings.runner), options=options)
    results = chain(pipeline | "plan" >> beam.Create(list(values), reshuffle=settings.runner != DASK))
    gathered = results | "to one" >> beam.Map(_with_no_key) | "gather" >> beam.GroupByKey()
    gathered | "answer" >> beam.Map(partial(_write_answer, str(answer)))
    running: Any = pipeline.run()
    running.wait_until_finish()
    if settings.runner == DASK:
        running.client.close()
    return pickle.loads(answer.read_bytes()) if answer.exists() else []


def pipeline_flags(settings: Beam, num_values: int) -> list[str]:
    """Flags of a pipeline. Dask gets a partition for each value, for it would put up to 128 of them into one task."""
    flags = [flag for name, value in settings.options.items() for flag in _flags(name, value)]
    if settings.runner == DASK and not {"dask_npartitions", "dask_partition_size"} & set(settings.options):
        flags.append(f"--dask_npartitions={max(num_values, 1)}")
    return flags


def _flags(name: str, value: str | int | float | bool | list[str]) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]


def _with_no_key(value: Any) -> tuple[int, Any]:
    return 0, value


def _write_answer(path: str, keyed: tuple[int, Iterable[Any]]) -> None:
    """Write all results at once; a bundle that runs again puts the same in their place."""
    target = Path(path)
    written = target.with_name(f".{target.name}.{id(keyed)}")
    written.write_bytes(pickle.dumps(list(keyed[1])))
    written.replace(target)


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

    def batch_elements_kwargs(self) -> dict[str, int]:
        """One value at a time: each is a bucket, and large."""
        return {"min_batch_size": 1, "max_batch_size": 1}


def infer(values: beam.PCollection, load: Callable[[], Any], function: Callable[[Any, Any], Any]) -> beam.PCollection:
    """Map values by a function that gets a loaded model first."""
    return values | "rank" >> RunInference(Inference(load, function))
