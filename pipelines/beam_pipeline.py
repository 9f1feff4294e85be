"""One Beam pipeline: a chain from a list of small values to a list of small values, on any runner."""

import pickle
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipelines.beam_quietly import PipelineOptions, beam
from pipelines.beam_runner import is_dask, open_runner, pipeline_flags
from pipelines.errors import InputError
from pipelines.settings import Beam

Chain = Callable[[beam.PCollection], beam.PCollection]


def run_chain(settings: Beam, values: Sequence[Any], chain: Chain, scratch: Path) -> list[Any]:
    """Run a pipeline over values and return what comes out of its chain, in no certain order; it is something.

    ``scratch`` is a folder that all workers see: the last step writes the results there, for no runner but Dask's hands
    values back. Values and results can be pickled, and are small. Raises ``InputError`` for a runner that does not
    exist or cannot be reached, and the one that a function told (see ``telling``).
    """
    if not values:
        return []
    answer = scratch / f"results-{uuid4().hex}.pickle"
    options = PipelineOptions(pipeline_flags(settings, len(values)))
    pipeline = beam.Pipeline(open_runner(settings), options=options)
    results = chain(pipeline | "plan" >> beam.Create(list(values), reshuffle=not is_dask(settings)))
    gathered = results | "to one" >> beam.Map(_with_no_key) | "gather" >> beam.GroupByKey()
    gathered | "answer" >> beam.Map(partial(_write_answer, str(answer)))
    try:
        _run(pipeline)
    except Exception as error:
        raise _told(scratch) or error from error
    if not answer.exists():
        raise _unseen(settings, scratch)
    return pickle.loads(answer.read_bytes())


def _run(pipeline: beam.Pipeline) -> None:
    running: Any = pipeline.run()
    try:
        running.wait_until_finish()
    finally:
        if hasattr(running, "client"):  # Dask's
            running.client.close()


def _unseen(settings: Beam, scratch: Path) -> InputError:
    return InputError(
        "the Beam workers wrote nothing where this process looks",
        where=scratch,
        value=f"runner {settings.runner}",
        allowed="workers that see the work folder of the store under the same path",
        fix="put store.root (for a URL, store.work) on a disk that all workers share",
    )


def telling(folder: Path, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose ``InputError`` reaches ``run_chain``: most runners pass on no more than a traceback."""
    return partial(_tell, folder, function)


def _tell(folder: Path, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except InputError as error:
        with suppress(OSError):  # the disk may be full
            (folder / f"error-{uuid4().hex}.pickle").write_bytes(pickle.dumps(error))
        raise


def _told(folder: Path) -> InputError | None:
    """What a function of a failed pipeline told, if any did."""
    for path in folder.glob("error-*.pickle"):
        with suppress(EOFError, pickle.UnpicklingError):
            return pickle.loads(path.read_bytes())
    return None


def _with_no_key(value: Any) -> tuple[int, Any]:
    return 0, value


def _write_answer(path: str, keyed: tuple[int, Iterable[Any]]) -> None:
    """Write all results at once; a bundle that runs again puts the same in their place."""
    target = Path(path)
    written = target.with_name(f".{target.name}.{uuid4().hex}")
    written.write_bytes(pickle.dumps(list(keyed[1])))
    written.replace(target)
