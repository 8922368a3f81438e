"""What arrives in a request's body: raw bytes, or the files of a multipart form.

Django's own parts of a multipart parser are used, but not its `MultiPartParser`, which
silently drops what it cannot read: a file that is cut short, a name that is not UTF-8.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.wsgi import LimitedStream, WSGIRequest
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import (
    FILE,
    RAW,
    InputStreamExhausted,
    LazyStream,
    MultiPartParserError,
    Parser,
)

from .exceptions import (
    BadName,
    BundleFull,
    IncompleteBody,
    LengthRequired,
    Malformed,
    NoFile,
)

#: Bytes that are read at once, at most: as many as gunicorn takes from its socket.
CHUNK = 1024 * 1024

#: Bytes that are read at once from the slowest clients, and at first.
LEAST = 16 * 1024

#: What comes within `PROMPT` seconds is followed by `STEP` times as much, or as little.
STEP, PROMPT = 4, 0.25

#: Bytes of a refused body that are read when it was refused.
LINGER = 4 * 1024 * 1024

#: Bytes that a form without files may have.
MAX_FORM = 64 * 1024

# What Django's parsers raise.
MALFORMED = (
    BadRequest,
    InputStreamExhausted,
    MultiPartParserError,
    SuspiciousOperation,
    # Of the standard library's, for `filename*=` beside `filename*0=` (RFC 2231).
    TypeError,
)

TOKEN_FIELD = "csrfmiddlewaretoken"  # noqa: S105
MAX_TOKEN = 1024

# RFC 9110, section 8.6. Python refuses to convert any number of digits.
LENGTH = re.compile(r"[0-9]{1,18}")

# RFC 2046, section 5.1.1, as lenient on the length as Django.
BOUNDARY = re.compile(r"[ -~]{0,200}[!-~]")


def declared_length(request: HttpRequest) -> int:
    """The length that the request announces for its body, in bytes.

    Raises `LengthRequired` where there is none, `Malformed` where it is no length.
    """
    length = request.META.get("CONTENT_LENGTH")
    if "HTTP_TRANSFER_ENCODING" in request.META or not length:
        raise LengthRequired
    if not LENGTH.fullmatch(length):
        raise Malformed
    return int(length)


def form_token(request: HttpRequest) -> str:
    """The CSRF token in a form without files; raises `Malformed` for a large one."""
    if request.META.get("CONTENT_LENGTH") and declared_length(request) > MAX_FORM:
        raise Malformed
    with _parsing():
        return str(request.POST.get(TOKEN_FIELD, ""))


def linger(request: HttpRequest) -> None:
    """Read on for a while, after an answer that came before the end of the body.

    A server that closes the connection while the client is still sending resets it, and
    the answer may be lost with it: of curl's uploads to gunicorn, one in thirty. A
    client that has had the time to read the answer stops by itself. Under ASGI the
    whole body has arrived before.
    """
    remaining = LINGER
    if isinstance(request, WSGIRequest):
        with contextlib.suppress(OSError):
            while remaining and (data := request.read(min(CHUNK, remaining))):
                remaining -= len(data)


class Body:
    """The request's body, counted: it has the announced length, or it is refused."""

    def __init__(self, request: HttpRequest, length: int) -> None:
        self.request, self.length, self.received = request, length, 0

    def read(self, size: int) -> bytes:
        """The next bytes, none at the end.

        Raises `IncompleteBody` where there are fewer or more than announced.
        """
        try:
            data = self.request.read(size)
        except UnreadablePostError as error:
            raise IncompleteBody from error
        self.received += len(data)
        if self.received > self.length or (not data and self.received < self.length):
            raise IncompleteBody
        return data

    def __iter__(self) -> Iterator[bytes]:
        """The rest, in pieces that take about a second to arrive, or less.

        A server keeps what arrives until it is all that was asked for, and nobody can
        tell meanwhile whether the client still sends.
        """
        size, began = LEAST, time.monotonic()
        while data := self.read(size):
            is_prompt = time.monotonic() - began < PROMPT
            yield data
            size = min(size * STEP, CHUNK) if is_prompt else max(size // STEP, LEAST)
            began = time.monotonic()


class Form:
    """The files of a multipart form, in the order of the body.

    `token` is the form's CSRF token, once all files were taken.
    """

    def __init__(self, request: HttpRequest, length: int) -> None:
        self.token = ""
        self.request, self.length = request, length
        boundary = (request.content_params or {}).get("boundary", "")
        if request.content_type != "multipart/form-data":
            raise Malformed
        if not BOUNDARY.fullmatch(boundary):
            raise Malformed
        self.boundary = boundary.encode("ascii")

    def files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Name and content of each file; each content is to be used up in turn.

        Raises `NoFile`, `BadName`, `Malformed`, `IncompleteBody`, and `BundleFull` for
        more files than Django's DATA_UPLOAD_MAX_NUMBER_FILES.
        """
        parts = self._parsed() if self._is_used_up() else self._parts()
        count, limit = 0, settings.DATA_UPLOAD_MAX_NUMBER_FILES
        for name, content in parts:
            count += 1
            if limit is not None and count > limit:
                raise BundleFull(limit)
            yield name, content
        if not count:
            raise NoFile

    def _is_used_up(self) -> bool:
        """Whether something else has read the form, and nobody can any more.

        Raises `IncompleteBody` where that has found less than was announced.
        """
        if not hasattr(self.request, "_files"):
            return False
        stream = self.request._stream
        if not isinstance(stream, LimitedStream):  # ASGI's, or that of `request.body`
            stream.seek(0)
            return False
        if stream._pos < self.length:  # type: ignore[attr-defined]
            raise IncompleteBody
        return True

    def _parsed(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """What Django's parser has left.

        It drops files whose names cannot be one, and nothing tells how many.
        """
        self.token = str(self.request.POST.get(TOKEN_FIELD, ""))
        for _, files in self.request.FILES.lists():
            for file in files:
                yield file.name or "", file.chunks()

    def _parts(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        if not self.length:
            return
        body = Body(self.request, self.length)
        stream = LazyStream(iter(body))  # type: ignore[arg-type]
        fields, limit = 0, settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
        with _parsing():
            parts = Parser(stream, self.boundary)
            for index, (kind, headers, content) in enumerate(parts):
                # What precedes the first boundary is a part to this parser, and so is
                # what follows the last one, which begins with two hyphens.
                if index == 0:
                    _exhaust(content)
                    continue
                if kind == RAW:
                    if content.read(2) == b"--":
                        _exhaust(body)
                        return
                    _refuse(content)
                disposition = _disposition(headers)
                if kind == FILE:
                    yield disposition["filename"].decode(), _chunks(content)
                    continue
                fields += 1
                if limit is not None and fields > limit:
                    raise Malformed
                self._take_field(disposition, content)
            raise IncompleteBody

    def _take_field(self, disposition: dict[str, bytes], content: LazyStream) -> None:
        if disposition["name"] == TOKEN_FIELD.encode():
            self.token = content.read(MAX_TOKEN).decode(errors="replace")
        elif "filename" in disposition and content.read(1):
            # A file input that was left empty sends no content.
            raise BadName
        _exhaust(content)


def _disposition(headers: dict[str, Any]) -> dict[str, bytes]:
    """The part's Content-Disposition parameters (RFC 7578, section 4.2)."""
    encoding = headers.get("content-transfer-encoding", ("binary",))[0]
    if encoding.strip().lower() not in ("binary", "8bit", "7bit"):
        # Deprecated by RFC 7578, section 4.7, and sent by nobody.
        raise Malformed
    parameters: dict[str, bytes] = headers["content-disposition"][1]
    if "name" not in parameters:
        raise Malformed
    return parameters


def _refuse(content: LazyStream) -> None:
    """Say what is wrong with a part whose headers the parser did not understand."""
    header, _, _ = content.read(1024).partition(b"\r\n\r\n")
    try:
        header.decode()
    except UnicodeDecodeError:
        raise BadName from None
    raise Malformed


def _exhaust(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass


def _chunks(content: LazyStream) -> Iterator[bytes]:
    with _parsing():
        yield from content


@contextlib.contextmanager
def _parsing() -> Iterator[None]:
    try:
        yield
    except UnreadablePostError as error:
        raise IncompleteBody from error
    except MALFORMED as error:
        raise Malformed from error
