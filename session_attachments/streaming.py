"""Downloads that Django sends itself: streamed, whole or one range of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)

from . import storage
from .exceptions import RangeNotSatisfiable
from .models import Attachment, AttachmentFile

#: Bytes that are held in memory at once.
BLOCK_WSGI = 1024 * 1024
BLOCK_ASGI = 256 * 1024

# One range, RFC 9110, section 14.1.2; of several, the whole file may be sent. No file
# has more digits, and Python refuses to convert any number of them.
RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


class FileStream(StreamingHttpResponse):
    """Sends `length` bytes of an open file, from where it is, and closes it."""

    def __init__(
        self,
        file: AttachmentFile,
        length: int,
        *,
        is_async: bool,
        **kwargs: Any,
    ) -> None:
        self.file = file
        blocks = (_blocks_async if is_async else _blocks)(file, length)
        super().__init__(blocks, **kwargs)
        self["Content-Length"] = str(length)

    def close(self) -> None:
        super().close()
        self.file.close()


def stream(request: HttpRequest, row: Attachment) -> HttpResponseBase:
    """The file's bytes, or the range of them that is asked for (RFC 9110, section 14).

    In constant memory, under WSGI and ASGI. Raises `FileNotFoundError`,
    `RangeNotSatisfiable` and `StorageFailed`.
    """
    start, length = 0, row.size
    span = _range(request, row)
    if span is not None:
        start, length = span.start, len(span)
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
        response["Content-Length"] = str(length)
        response["Content-Encoding"] = "identity"
    else:
        response = FileStream(
            opened(row, start), length, is_async=isinstance(request, ASGIRequest)
        )
    response["Accept-Ranges"] = "bytes"
    if span is not None:
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{row.size}"
    return response


def opened(row: Attachment, start: int = 0) -> AttachmentFile:
    """The file, at this byte; some storages fetch it when they are first asked.

    Raises `FileNotFoundError` and `StorageFailed`.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(row.open())
        with storage.missing_or_failed():
            file.seek(start)
        stack.pop_all()
        return file


def _range(request: HttpRequest, row: Attachment) -> range | None:
    """The bytes that are asked for, or None for all of them.

    A Range that is not understood, or is for another version (`If-Range`), is ignored.
    """
    match = RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or match is None or match[1] == match[2] == "":
        return None
    # Not by a date: two versions may share its second (RFC 9110, section 13.1.5).
    if request.headers.get("If-Range") not in (None, row.etag):
        return None
    first, last = match[1], match[2]
    if first and last and int(last) < int(first):
        return None
    if first:
        span = range(int(first), min(int(last or row.size) + 1, row.size))
    else:
        span = range(max(row.size - int(last), 0), row.size)
    if not span:
        raise RangeNotSatisfiable(row.size)
    return span


def _blocks(file: AttachmentFile, length: int) -> Iterator[bytes]:
    while length and (block := file.read(min(BLOCK_WSGI, length))):
        length -= len(block)
        yield block


async def _blocks_async(file: AttachmentFile, length: int) -> AsyncIterator[bytes]:
    while length:
        block = await asyncio.to_thread(file.read, min(BLOCK_ASGI, length))
        if not block:
            return
        length -= len(block)
        yield block
