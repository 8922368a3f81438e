"""HTTP as bytes: bodies, requests by hand, and what is left of them on the disk."""

import base64
import io
import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from django.conf import settings

from session_attachments.models import Attachment

CORPORA = Path(__file__).parent / "corpora"
BOUNDARY = "XX"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
CLOSE = f"--{BOUNDARY}--\r\n".encode()


def part(
    disposition: str | bytes, content: bytes = b"", *headers: str | bytes
) -> bytes:
    """One part of a form; `disposition` is what follows `form-data; `."""
    lines = [f"--{BOUNDARY}", b"Content-Disposition: form-data; " + _b(disposition)]
    return b"\r\n".join(map(_b, [*lines, *headers, "", content, ""]))


def file_part(name: str | bytes, content: bytes = b"", field: str = "file") -> bytes:
    return part(f'name="{field}"; filename="'.encode() + _b(name) + b'"', content)


def form(*files: tuple[str | bytes, bytes], **fields: str) -> dict[str, Any]:
    """What a test client's `post` takes to send these files, then these fields."""
    parts = [file_part(name, content) for name, content in files]
    parts += [part(f'name="{name}"', _b(value)) for name, value in fields.items()]
    return {"data": b"".join(parts) + CLOSE, "content_type": FORM}


def _b(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class Stream:
    """A request's input, as a test client's extra `**stream.extra`.

    Counts what was read of it. The chunks may come from a generator, which can do
    something of its own while the body is on its way.
    """

    def __init__(
        self, chunks: Iterable[bytes | Callable[[], Any]], length: object
    ) -> None:
        self.chunks, self.length = self._data(chunks), length
        self.left, self.taken = b"", 0

    def _data(self, chunks: Iterable[bytes | Callable[[], Any]]) -> Iterator[bytes]:
        for chunk in chunks:
            if callable(chunk):
                chunk()
            else:
                yield chunk

    @property
    def extra(self) -> dict[str, Any]:
        return {"wsgi.input": self, "CONTENT_LENGTH": str(self.length)}

    def read(self, size: int = -1) -> bytes:
        data = self.left or next(self.chunks, b"")
        end = len(data) if size < 0 else size
        data, self.left = data[:end], data[end:]
        self.taken += len(data)
        return data

    readline = read


def content(response: Any) -> bytes:
    """The body of a test client's response, whether it is streamed or not."""
    with closing(response):
        return response.getvalue()


def name_in(disposition: str) -> str:
    """The file name of an attachment's Content-Disposition (RFC 6266, 4.1)."""
    if match := re.fullmatch(r'attachment; filename="((?:[^"\\]|\\.)*)"', disposition):
        return re.sub(r"\\(.)", r"\1", match[1])
    # The characters that RFC 8187, section 3.2.1, allows.
    coded = r"attachment; filename\*=utf-8''((?:[\w!#$&+.^`|~-]|%[0-9A-F]{2})+)"
    match = re.fullmatch(coded, disposition, re.ASCII)
    assert match, disposition
    return unquote(match[1], errors="strict")


def problem(response: Any, status: int, code: str, **more: Any) -> dict[str, Any]:
    """See that the answer is this problem (RFC 9457), and return it."""
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert response["Content-Type"] == "application/problem+json"
    assert response["Cache-Control"] == "private, no-store"
    assert response["X-Content-Type-Options"] == "nosniff"
    keys = ["type", "title", "status", "code", "detail"]
    assert list(body) == keys + ["limit"] * ("limit" in body)
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["detail"]
    assert ("limit" in body) == ("limit" in more)
    assert {key: body[key] for key in more} == more
    return body


def on_disk() -> list[str]:
    """Every file, by its path, in a folder that the package may write to."""
    return sorted(
        str(path.relative_to(settings.TEST_ROOT))
        for folder in ("attachments", "media", "uploads")
        for path in settings.FOLDERS[folder].rglob("*")
        if not path.is_dir()
    )


def nothing_left() -> bool:
    """No file and no row, not even one that is still to be removed."""
    assert on_disk() == []
    assert list(Attachment.objects.values()) == []
    return True


def nasty_names() -> Iterator[tuple[bytes, Any, Any]]:
    """File names, with what POST and PUT make of each: a name, or a code."""
    for entry in json.loads((CORPORA / "names.json").read_text())["names"]:
        raw = base64.b64decode(entry["base64"])
        both = entry.get("both")
        yield raw, entry.get("post", both), entry.get("put", both)


def malformed_forms() -> Iterator[dict[str, Any]]:
    """Forms with their headers, and the names and sizes, or the code, in answer."""
    for entry in json.loads((CORPORA / "forms.json").read_text())["forms"]:
        chunks = [
            chunk
            if isinstance(chunk, str)
            else "".join(chunk[0].replace("{n}", str(n)) for n in range(chunk[1]))
            for chunk in entry["body"]
        ]
        yield entry | {"body": "".join(chunks).encode()}


class Answer:
    """What a real server has answered."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status_code, self.headers = response.status, response.headers
        self.content = response.read()

    def __getitem__(self, header: str) -> str:
        return self.headers[header]

    def json(self) -> Any:
        return json.loads(self.content)


class Wire:
    """One visitor of a real server: a connection, and the cookies he was given."""

    def __init__(self, server: Any) -> None:
        self.kind, self.address = server.kind, (server.host, server.port)
        self.cookies: dict[str, str] = {}
        self.socket: socket.socket | None = None

    def connect(self) -> None:
        self.close()
        self.socket = socket.create_connection(self.address, timeout=60)
        self.reader = _Reader(socket.SocketIO(self.socket, "r"))

    def close(self) -> None:
        if self.socket is not None:
            self.reader.raw.close()
            self.socket.close()

    def head(self, method: str, target: str | bytes, **headers: object) -> bytes:
        """A request up to its body; header names are written with underscores."""
        lines = [
            b" ".join([method.encode(), _b(target), b"HTTP/1.1"]),
            b"Host: testserver",
            *(
                f"{name.replace('_', '-')}: {value}".encode()
                for name, value in headers.items()
            ),
        ]
        if self.cookies:
            pairs = "; ".join(map("=".join, self.cookies.items()))
            lines.append(f"Cookie: {pairs}".encode())
        return b"\r\n".join([*lines, b"", b""])

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, method: str) -> Answer:
        """Read one answer, and leave what follows it for the next one."""
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        response.begin()
        answer = Answer(response)
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def makefile(self, mode: str) -> "_Reader":
        return self.reader

    def request(
        self, method: str, target: str | bytes, body: bytes = b"", **headers: object
    ) -> Answer:
        """Send a request over a connection of its own, and read the answer."""
        self.connect()
        if body or method in ("POST", "PUT"):
            headers = {"Content_Length": len(body)} | headers
        self.send(self.head(method, target, **headers) + body)
        return self.answer(method)


class _Reader(io.BufferedReader):
    """Stays open when one of several answers was read."""

    def close(self) -> None:
        pass


@contextmanager
def visit(server: Any) -> Iterator[Wire]:
    """A new visitor of a real server."""
    with closing(Wire(server)) as wire:
        yield wire
