"""How a file goes out: by a backend of a table, with the same safety around each."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.response import HttpResponseRedirectBase
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, http_date
from django.utils.module_loading import import_string

from .conf import conf
from .exceptions import PreconditionFailed
from .models import Attachment

#: Answers a GET or HEAD of a file. Raises `FileNotFoundError` where the bytes are gone,
#: and `NotImplementedError` where it cannot send from the file's storage.
Backend: TypeAlias = Callable[[HttpRequest, Attachment], HttpResponseBase]

BACKENDS = {
    "stream": "session_attachments.streaming.stream",
    "sendfile": "session_attachments.sendfile.sendfile",
    "redirect": "session_attachments.redirects.redirect",
}


def backend(name: str) -> Backend:
    """The backend of the table, or the callable at a dotted path."""
    function: Backend = import_string(BACKENDS.get(name, name))
    return function


def download(request: HttpRequest, row: Attachment) -> HttpResponseBase:
    """The answer to a GET or HEAD of this file, with its conditions and its range.

    RFC 9110, sections 13 and 14. A file in a storage that the site's backend cannot
    send from is streamed. Raises `FileNotFoundError` where the bytes are gone,
    `PreconditionFailed`, `RangeNotSatisfiable` and `StorageFailed`.
    """
    response = not_modified(request, row, row.etag)
    if response is None:
        try:
            response = backend(conf.downloads)(request, row)
        except NotImplementedError:
            response = backend("stream")(request, row)
    return protected(response, row)


def not_modified(
    request: HttpRequest, row: Attachment, etag: str
) -> HttpResponseBase | None:
    """The 304 for a client that has this version already, or None.

    Raises `PreconditionFailed` for one that wants another (RFC 9110, section 13).
    """
    response: HttpResponseBase | None = get_conditional_response(
        request, etag=etag, last_modified=http_modified(row)
    )
    if response is None or response.status_code == HTTPStatus.NOT_MODIFIED:
        return response
    raise PreconditionFailed


def protected(response: HttpResponseBase, row: Attachment) -> HttpResponseBase:
    """The response, so that no browser runs what a stranger has uploaded.

    The type is our own finding, not the uploader's claim; the file is saved, not shown;
    and where it is shown all the same, it can do nothing.
    """
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    if isinstance(response, HttpResponseRedirectBase):
        # A signed address is for this once.
        response["Cache-Control"] = "private, no-store"
        return response
    response["Content-Type"] = row.mimetype
    response["Content-Disposition"] = disposition(row)
    response["Cache-Control"] = "private, no-cache"
    if not isinstance(response, HttpResponse) or response.content:
        # Keeps GZipMiddleware from spoiling the range, the length and the ETag. Where
        # the web server puts the file in, lighttpd would send no ranges of it.
        response["Content-Encoding"] = "identity"
    response["ETag"] = row.etag
    response["Last-Modified"] = http_date(http_modified(row))
    return response


def disposition(row: Attachment) -> str:
    """The Content-Disposition (RFC 6266) that saves the file under its name."""
    return content_disposition_header(as_attachment=True, filename=row.name) or ""


def http_modified(row: Attachment) -> int:
    """When the file was last modified, in whole seconds of Unix time."""
    assert row.created is not None
    return int(row.created.timestamp())
