"""Downloads that the web server sends, by django-sendfile2."""

from __future__ import annotations

from copy import copy
from os.path import join, realpath
from pathlib import Path
from urllib.parse import quote, urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.http import http_date
from django_sendfile import sendfile as hand_over

from . import storage
from .downloads import disposition, http_modified
from .models import Attachment

#: Where Django sends the file itself. `stream` does that with ranges and without
#: having all of it in memory.
BY_DJANGO = {
    "django_sendfile.backends.development",
    "django_sendfile.backends.simple",
}


def sendfile(request: HttpRequest, row: Attachment) -> HttpResponseBase:
    """What SENDFILE_BACKEND answers, for the web server to put the file in.

    Raises `FileNotFoundError` where the bytes are gone or a symbolic link is in their
    place, `StorageFailed` where the folder cannot be read, and `NotImplementedError`
    where Django has to send them: from anything but a plain folder inside
    SENDFILE_ROOT, and under a condition that is not the server's to decide.
    """
    backend, root = settings.SENDFILE_BACKEND, settings.SENDFILE_ROOT  # type: ignore[misc]
    site_storage = storage.named(row.storage)
    if (
        backend in BY_DJANGO
        or not storage.is_inside(site_storage, root)
        or _would_be_decided_again(request)
    ):
        raise NotImplementedError
    path = Path(site_storage.path(row.key))
    # Not every server looks, and those that do see the path a moment later. Unlike
    # `Path.resolve`, this takes a link to itself.
    if realpath(path) != join(realpath(site_storage.path("")), row.key):
        raise FileNotFoundError(row.key)
    with storage.missing_or_failed():
        try:
            # The backend for mod_wsgi changes the request.
            response = hand_over(copy(request), path, mimetype=row.mimetype)
        except Http404 as error:
            raise FileNotFoundError(row.key) from error
    if not response.streaming:
        # It has the file's length, and none of the file.
        response["Content-Length"] = str(len(response.content))
    if "Location" in response:
        # mod_wsgi forgets all headers but the type. The server's configuration makes
        # them again from what it finds here.
        query = {
            "disposition": disposition(row),
            "etag": row.etag,
            "modified": http_date(http_modified(row)),
        }
        response["Location"] += f"?{urlencode(query, quote_via=quote)}"
    found: HttpResponseBase = response
    return found


def _would_be_decided_again(request: HttpRequest) -> bool:
    """Whether the server would test a condition by a time or a tag of its own.

    It holds, or nobody would ask for the file. `If-None-Match` holds there too, and
    then `If-Modified-Since` does not count (RFC 9110, section 13.2.2).
    """
    headers = request.headers
    return (
        "If-Match" in headers
        or "If-Unmodified-Since" in headers
        or ("If-Modified-Since" in headers and "If-None-Match" not in headers)
    )
