"""Real servers of the test project, as processes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

COMMANDS = {
    "wsgi": (
        "gunicorn",
        "tests.wsgi",
        "--workers=2",
        "--bind=fd://{fd}",
        "--no-control-socket",
    ),
    "asgi": ("uvicorn", "tests.asgi:application", "--fd={fd}", "--log-level=warning"),
}


@dataclass(frozen=True)
class Server:
    """A server that answers: its kind (wsgi or asgi), address and process."""

    kind: str
    host: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """The process and its workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]


@contextmanager
def run(kind: str, **replaced: Any) -> Iterator[Server]:
    """Serve the test database and folder until the block ends.

    `replaced` are settings, as far as JSON can hold them. What the server prints
    goes where the test's own output goes, so that pytest shows it on a failure.
    """
    environment = os.environ | {
        "TEST_ROOT": str(settings.TEST_ROOT),
        "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "TEST_SETTINGS": json.dumps(replaced),
    }
    # The server inherits a socket that already listens: no port to race for, and
    # a request sent at once waits in its queue.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *(part.format(fd=listener.fileno()) for part in COMMANDS[kind]),
            ],
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    with process:
        try:
            _answer(host, port)
            yield Server(kind, host, port, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _answer(host: str, port: int) -> None:
    """Wait for any answer; a server that died resets the connection."""
    connection = HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    finally:
        connection.close()
