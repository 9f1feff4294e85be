"""The runner of a Beam pipeline: found by its name, with flags for its options; someone must answer at its address."""

import re
import socket
from typing import Any, Final

from models.suggestion import suggestion
from pipelines.beam_quietly import create_runner, quiet_workers
from pipelines.errors import InputError
from pipelines.settings import Beam

DASK: Final = "DaskRunner"
FN_API: Final = "FnApiRunner"
RUNNERS: Final = {
    FN_API: "apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    DASK: "apache_beam.runners.dask.dask_runner.DaskRunner",
    "PortableRunner": "apache_beam.runners.portability.portable_runner.PortableRunner",
    "FlinkRunner": "apache_beam.runners.portability.flink_runner.FlinkRunner",
    "SparkRunner": "apache_beam.runners.portability.spark_runner.SparkRunner",
    "DataflowRunner": "apache_beam.runners.dataflow.dataflow_runner.DataflowRunner",
}
ADDRESSES: Final = ("dask_client_address", "job_endpoint")
SECONDS_TO_CONNECT: Final = 10.0
SECONDS_TO_RUN: Final = 7 * 24 * 3600


def is_dask(settings: Beam) -> bool:
    """Whether the runner is Dask's, by its name or that of its class."""
    return settings.runner.rpartition(".")[2] == DASK


def _has_processes(settings: Beam) -> bool:
    return settings.runner == FN_API and settings.options.get("direct_running_mode") == "multi_processing"


def pipeline_flags(settings: Beam, num_values: int) -> list[str]:
    """Flags of a pipeline.

    Dask gets a partition for each value, for it would put up to 128 of them into one task. A job server gets a week:
    Beam means its limit for single requests, but breaks off a job that runs longer.
    """
    own = {"direct_running_mode"} if _has_processes(settings) else set()  # see ``open_runner``
    flags = [flag for name, value in settings.options.items() if name not in own for flag in _flags(name, value)]
    if is_dask(settings) and not {"dask_npartitions", "dask_partition_size"} & set(settings.options):
        flags.append(f"--dask_npartitions={max(num_values, 1)}")
    if "job_endpoint" in settings.options and "job_server_timeout" not in settings.options:
        flags.append(f"--job_server_timeout={SECONDS_TO_RUN}")
    return flags


def _flags(name: str, value: str | int | float | bool | list[str]) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]


def open_runner(settings: Beam) -> Any:
    """The runner of the settings. Raises ``InputError`` if there is none, or nobody answers at its address."""
    name = settings.runner
    if is_dask(settings):
        _require_dask()
    try:
        runner: Any = create_runner(RUNNERS.get(name, name))
        if _has_processes(settings):
            runner = type(runner)(default_environment=quiet_workers())
    except (AttributeError, ImportError, ValueError) as error:
        raise InputError(
            "there is no such Beam runner",
            where="runner in [beam]",
            value=name,
            allowed=f"{suggestion(name, RUNNERS)}, or the full name of a runner's class",
            fix="correct the name, or install the package of the runner",
        ) from error
    _require_address(settings)
    for option in ADDRESSES:
        if settings.options.get(option, "embed") != "embed":  # embed: a job server in this process
            _require_answer(option, str(settings.options[option]))
    return runner


def _require_address(settings: Beam) -> None:
    """Raise ``InputError`` if it is not said where the work goes; Dask would start a cluster for each pipeline."""
    wanted = {DASK: "dask_client_address", "PortableRunner": "job_endpoint"}.get(settings.runner.rpartition(".")[2])
    if wanted and not {wanted, "dask_scheduler_file"} & set(settings.options):
        raise InputError(
            f"{settings.runner} needs the address of a cluster",
            where="[beam.options]",
            value=f"no {wanted}",
            allowed=f'{wanted} = "host:port"',
            fix="name the scheduler or job server of your cluster; without a cluster, take FnApiRunner",
        )


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InputError(
            "DaskRunner needs the package distributed",
            where="runner in [beam]",
            value=error,
            allowed="a Python environment with the extra dask of pyproject.toml, here and on every worker",
            fix='pip install "dask==2026.8.0" "distributed==2026.8.0", or take another runner',
        ) from error


def _require_answer(option: str, address: str) -> None:
    """Raise ``InputError`` if nobody listens at an address; Beam and Dask would go on trying for long."""
    found = re.fullmatch(r"(?:[a-z]+://)?\[?(.+?)\]?:(\d{1,5})", address)
    try:
        if not found:
            raise OSError("it is no host:port")
        socket.create_connection((found[1], int(found[2])), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            "nobody answers at the address of the Beam runner",
            where=f"{option} in [beam.options]",
            value=f"{address}: {error}",
            allowed="the host and port of a running scheduler or job server",
            fix="start it, or correct the address",
        ) from error
