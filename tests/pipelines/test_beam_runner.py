import socket
import sys
import time
from typing import Any

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions
from apache_beam.runners.dask.dask_runner import DaskOptions, DaskRunner

from pipelines import beam_runner
from pipelines.beam_runner import RUNNERS, open_runner, pipeline_flags
from pipelines.errors import InputError
from pipelines.settings import Beam


def flags(runner: str = "FnApiRunner", num_values: int = 3, **options: Any) -> list[str]:
    return pipeline_flags(Beam(runner=runner, options=options), num_values)


def refused(runner: str, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        open_runner(Beam(runner=runner, options=options))
    assert all(vars(caught.value).values())
    return caught.value


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"save_main_session": True}, ["--save_main_session"]),
        ({"save_main_session": False}, []),
        ({"direct_num_workers": 2}, ["--direct_num_workers=2"]),
        ({"rate": 0.5, "direct_running_mode": "in_memory"}, ["--rate=0.5", "--direct_running_mode=in_memory"]),
        ({"experiments": ["a", "b=c d"]}, ["--experiments=a", "--experiments=b=c d"]),
        ({"experiments": []}, []),
    ],
)
def test_options_become_flags(options: dict[str, Any], expected: list[str]) -> None:
    assert flags(**options) == expected


def test_beam_reads_the_flags_as_they_were_meant() -> None:
    options = PipelineOptions(flags(experiments=["a", "b"], environment_type="LOOPBACK"))
    assert options.view_as(DebugOptions).experiments == ["a", "b"]
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"


def test_worker_processes_are_ours_and_beam_starts_no_others() -> None:
    options: dict[str, Any] = {"direct_num_workers": 2, "direct_running_mode": "multi_processing"}
    assert flags(**options) == ["--direct_num_workers=2"]
    assert flags("PortableRunner", **options) == ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]


def test_dask_gets_a_partition_for_each_value_unless_the_options_say_otherwise() -> None:
    assert flags("DaskRunner", 5) == flags(RUNNERS["DaskRunner"], 5) == ["--dask_npartitions=5"]
    assert flags("DaskRunner", 0) == ["--dask_npartitions=1"]
    assert flags("DaskRunner", 5, dask_npartitions=2) == ["--dask_npartitions=2"]
    assert flags("DaskRunner", 5, dask_partition_size=2) == ["--dask_partition_size=2"]
    assert PipelineOptions(flags("DaskRunner", 5)).view_as(DaskOptions).npartitions == 5


def test_a_job_server_may_work_for_longer_than_beam_waits_for_one_answer() -> None:
    endpoint = "--job_endpoint=localhost:1"
    assert flags("PortableRunner", job_endpoint="localhost:1") == [endpoint, "--job_server_timeout=604800"]
    given = flags("PortableRunner", job_endpoint="localhost:1", job_server_timeout=9)
    assert given == [endpoint, "--job_server_timeout=9"]


def test_the_runners_that_are_named_exist_and_others_go_by_the_name_of_their_class() -> None:
    somewhere = {"job_endpoint": "embed", "dask_scheduler_file": "scheduler.json"}
    for name, path in RUNNERS.items():
        for named in (name, path):
            runner = open_runner(Beam.model_validate({"runner": named, "options": somewhere}))
            assert type(runner).__name__ == name == path.rpartition(".")[2]


@pytest.mark.parametrize("name", ["DaskRuner", "a.b", "apache_beam.runners.runner.NoRunner", "x"])
def test_an_unknown_runner_is_refused(name: str) -> None:
    error = refused(name)
    assert (error.what, error.where, error.value) == ("there is no such Beam runner", "runner in [beam]", name)
    assert "FnApiRunner, DaskRunner, PortableRunner" in error.allowed
    assert ("did you mean 'DaskRunner'?" in error.allowed) == (name == "DaskRuner")


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask", "dask.bag", "dask.distributed", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith("apache_beam.runners.dask.")]:
        monkeypatch.delitem(sys.modules, name)
    error = refused("DaskRunner")
    assert error.what == "DaskRunner needs the package distributed"
    assert 'pip install "dask==2026.8.0" "distributed==2026.8.0"' in error.fix


@pytest.mark.parametrize(
    ("runner", "option"), [("DaskRunner", "dask_client_address"), ("PortableRunner", "job_endpoint")]
)
def test_a_cluster_must_be_named(runner: str, option: str) -> None:
    for name in (runner, RUNNERS[runner]):
        error = refused(name)
        assert (error.what, error.value) == (f"{name} needs the address of a cluster", f"no {option}")
        assert option in error.allowed


@pytest.mark.parametrize("scheme", ["", "tcp://"])
@pytest.mark.parametrize(
    ("runner", "option"), [("DaskRunner", "dask_client_address"), ("PortableRunner", "job_endpoint")]
)
def test_an_address_at_which_nobody_answers_is_refused_at_once(runner: str, option: str, scheme: str) -> None:
    address, before = f"{scheme}127.0.0.1:{closed_port()}", time.monotonic()
    error = refused(runner, **{option: address})
    assert time.monotonic() - before < 2
    assert (error.what, error.where) == (
        "nobody answers at the address of the Beam runner", f"{option} in [beam.options]"
    )  # fmt: skip
    assert address in error.value
    assert "refused" in error.value


@pytest.mark.parametrize("address", ["localhost", "localhost:x", "localhost:99999", ":", "tcp://"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert refused("DaskRunner", dask_client_address=address).value.startswith(f"{address}: ")


def test_one_waits_for_an_answer_no_longer_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_runner, "SECONDS_TO_CONNECT", 0.2)
    with socket.socket() as full:  # it listens, and its queue has no room left
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port, waiting = full.getsockname()[1], [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        before = time.monotonic()
        assert "timed out" in refused("PortableRunner", job_endpoint=f"127.0.0.1:{port}").value
        assert time.monotonic() - before < 2
        for client in waiting:
            client.close()


@pytest.mark.parametrize("scheme", ["", "tcp://"])
def test_an_address_at_which_someone_listens_is_good(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        assert isinstance(open_runner(Beam(runner="DaskRunner", options={"dask_client_address": address})), DaskRunner)
