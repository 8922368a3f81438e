"""A client that costs next to nothing, so that the server is what is measured."""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK = memoryview(bytes(range(256)) * 4096)
BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Client:
    """A visitor with a session, at one of the two sides: `prefix` is its path.

    Both sides have the same paths below it. A connection serves one request.
    """

    host: str
    port: int
    session_key: str
    prefix: str

    def list(self) -> int:
        """Returns how many bytes came, headers included; so does `get`."""
        return self._send("GET")

    def get(self, name: str) -> int:
        return self._send("GET", f"{name}/")

    def put(self, name: str, size: int) -> None:
        self._send("PUT", f"{name}/", _blocks(size), size)

    def post(self, name: str, size: int) -> None:
        """Send a form with one file."""
        head = (
            f"--{BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        self._send(
            "POST",
            "",
            (head, *_blocks(size), tail),
            len(head) + size + len(tail),
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n",
        )

    def clear(self) -> None:
        """Remove all files."""
        self._send("DELETE")

    def _send(
        self,
        method: str,
        path: str = "",
        body: Iterable[bytes | memoryview] = (),
        length: int = 0,
        headers: str = "",
    ) -> int:
        head = (
            f"{method} {self.prefix}{path} HTTP/1.1\r\n"
            f"Host: {self.host}\r\n"
            "Connection: close\r\n"
            f"Cookie: sessionid={self.session_key}\r\n"
            f"Content-Length: {length}\r\n"
            f"{headers}\r\n"
        )
        answer = memoryview(bytearray(len(BLOCK)))
        with socket.create_connection((self.host, self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head.encode())
            for part in body:
                connection.sendall(part)
            start = bytes(answer[: connection.recv_into(answer)])
            if not start.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"{method} {self.prefix}{path}: {start.decode()}")
            received = len(start)
            while count := connection.recv_into(answer):
                received += count
        return received


def _blocks(size: int) -> Iterator[memoryview]:
    while size:
        block = BLOCK[:size]
        size -= len(block)
        yield block
