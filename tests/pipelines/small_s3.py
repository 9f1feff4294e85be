"""An S3 server in this process, with one bucket; AWS's own environment variables lead every client to it."""

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import make_server

BUCKET = "s3://shop"


class _OneAtATime:
    """Moto looks for a file of the name and then writes it: two conditional writes at once would both succeed."""

    def __init__(self) -> None:
        self._answer = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            return self._answer(environ, start_response)


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Run the server; yield the variables, which are set in this process as well."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, _OneAtATime(), threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)  # looks so often for its end
    thread.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, variables):
            S3FileSystem.clear_instance_cache()  # it would know the server of another test file
            S3FileSystem().makedirs(BUCKET, exist_ok=True)  # what moto holds outlasts its server
            yield variables
    finally:
        S3FileSystem.clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()
