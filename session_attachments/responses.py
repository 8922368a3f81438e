"""What is answered: the JSON of a file and the problem of an error."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils import timezone

from . import storage
from .conf import conf
from .exceptions import AttachmentError, MethodNotAllowed, RangeNotSatisfiable
from .models import Attachment

#: The arguments of our own paths.
ARGUMENTS = ("bundle_id", "file_name", "factor", "public_id")

#: What a segment of a path may have as it is (RFC 3986, section 3.3), as in `reverse`.
SAFE = "!$&'()*+,;=:@~"


def listing(request: HttpRequest, rows: list[Attachment]) -> HttpResponse:
    """The JSON list of these files, all of one bundle."""
    folder = url(request, rows[0].bundle_id) if rows else ""
    return data([_shown(row, folder) for row in rows])


def item(request: HttpRequest, row: Attachment) -> dict[str, Any]:
    """What a client is told about a file.

    `size` is in bytes, `created` in the site's time zone; `uploaded_at` and `expires`
    are ISO 8601 with their offset.
    """
    return _shown(row, url(request, row.bundle_id))


def _shown(row: Attachment, folder: str) -> dict[str, Any]:
    """The item of a file in the bundle that has this path.

    The paths are put together as `urls` has them: asking Django for each is a fifth of
    the work of a list.
    """
    assert row.created is not None
    path = f"{folder}{quote(row.name, safe=SAFE)}/"
    uploaded_at = _iso(row.created)
    shown = {
        "mimetype": row.mimetype,
        "size": row.size,
        "name": row.name,
        "created": uploaded_at[: len("2011-12-29T04:12")].replace("T", " "),
        "uploaded_at": uploaded_at,
        "url": path,
        "delete_url": f"{path}delete/",
        "etag": row.etag,
        "expires": _iso(row.created + conf.lifetime),
    }
    if row.meta:
        shown["meta"] = row.meta
    return shown


def detail(request: HttpRequest, row: Attachment) -> dict[str, Any]:
    """The item, with the times that the row and its storage know of.

    Those that a storage does not know are None.
    """
    return item(request, row) | {
        "modified": _iso(row.modified),
        "storage": {
            name: None if time is None else _iso(time)
            for name, time in storage.times(row.storage, row.key).items()
        },
    }


def url(request: HttpRequest, bundle_id: str) -> str:
    """The path of a bundle, in the namespace that the request came in by."""
    match = request.resolver_match
    prefix = f"{match.namespace}:" if match and match.namespace else ""
    # The site may have arguments of its own before ours, such as a tenant's name.
    foreign = {
        name: value
        for name, value in (match.kwargs if match else {}).items()
        if name not in ARGUMENTS
    }
    return reverse(
        f"{prefix}bundle-attachments", kwargs={"bundle_id": bundle_id, **foreign}
    )


def data(content: Any, status: int = 200) -> JsonResponse:
    """JSON that nobody may keep."""
    response = JsonResponse(content, status=status, safe=False)
    return _private(response)


class Problem(JsonResponse):
    """Problem details (RFC 9457), and what is to be done when they are sent."""

    after: Callable[[], None]

    def close(self) -> None:
        super().close()
        self.after()


def problem(
    error: AttachmentError, after: Callable[[], None] = lambda: None
) -> HttpResponse:
    """The error as an answer; `after` is called when it was sent."""
    body = {
        "type": "about:blank",
        "title": error.status.phrase,
        "status": error.status.value,
        "code": error.code,
        "detail": error.detail,
    }
    if error.limit is not None:
        body["limit"] = error.limit
    response = Problem(
        body, status=error.status.value, content_type="application/problem+json"
    )
    response.after = after
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        response["Allow"] = ", ".join(error.allow)
    if isinstance(error, RangeNotSatisfiable):
        response["Content-Range"] = f"bytes */{error.size}"
    return _private(response)


def without_body(response: HttpResponseBase) -> HttpResponseBase:
    """The same answer to a HEAD request."""
    if isinstance(response, HttpResponse):
        response.setdefault("Content-Length", str(len(response.content)))
        response.content = b""
    return response


def _private(response: JsonResponse) -> JsonResponse:
    response["Cache-Control"] = "private, no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _iso(time: datetime.datetime) -> str:
    """ISO 8601 with the offset of the site's time zone, to the second."""
    if timezone.is_naive(time):
        time = timezone.make_aware(time, timezone.get_default_timezone())
    else:
        time = timezone.localtime(time, timezone.get_default_timezone())
    return time.isoformat(timespec="seconds")
