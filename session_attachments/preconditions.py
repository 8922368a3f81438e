"""What a request that changes something expects to find (RFC 9110, section 13)."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.http import parse_etags, parse_http_date_safe

from .downloads import http_modified
from .exceptions import PreconditionFailed
from .models import Attachment
from .store import Precondition

ANY = ["*"]


def of_change(request: HttpRequest) -> Precondition:
    """The condition under which this request may change a file.

    An `If-Match` that cannot be understood matches nothing: who sends one does not want
    to overwrite. `If-Unmodified-Since` counts where there is no `If-Match`, for a file
    that is there, and if it is a date.
    """
    match = _etags(request, "If-Match")
    none_match = _etags(request, "If-None-Match")
    # Only here is a weak tag as good as a strong one (RFC 9110, section 13.1.2).
    none_match = [etag.removeprefix("W/") for etag in none_match]
    has_match = "If-Match" in request.headers
    date = parse_http_date_safe(request.headers.get("If-Unmodified-Since", ""))

    def check(current: Attachment | None) -> None:
        if has_match:
            if not _is_among(current, match):
                raise PreconditionFailed
        elif date is not None and current is not None and http_modified(current) > date:
            raise PreconditionFailed
        if _is_among(current, none_match):
            raise PreconditionFailed

    return check


def check_bundle(request: HttpRequest) -> None:
    """Raise `PreconditionFailed` where this request may not change a bundle.

    A bundle is always there, but has neither an entity tag nor a date: any `If-Match`
    but `*` fails, and of `If-None-Match` only `*`.
    """
    if "If-Match" in request.headers and _etags(request, "If-Match") != ANY:
        raise PreconditionFailed
    if _etags(request, "If-None-Match") == ANY:
        raise PreconditionFailed


def _etags(request: HttpRequest, header: str) -> list[str]:
    return parse_etags(request.headers.get(header, ""))


def _is_among(current: Attachment | None, etags: list[str]) -> bool:
    return current is not None and (etags == ANY or current.etag in etags)
