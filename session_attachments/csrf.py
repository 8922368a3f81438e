"""The site's CSRF check, made before the body is read.

Django's middleware looks into the form of every POST, and so reads all of a multipart
body first. Run on a copy of the request that is presented as a PUT, it decides by the
header alone.
"""

from __future__ import annotations

import copy
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string

from .exceptions import CSRFRefused


def check_header(request: HttpRequest) -> None:
    """Raise `CSRFRefused` where the token in the header, or the origin, is wrong."""
    _check(request)


def has_header(request: HttpRequest) -> bool:
    """Whether the token is sent in the header, as scripts do."""
    return settings.CSRF_HEADER_NAME in request.META


def check_origin(request: HttpRequest) -> None:
    """Raise `CSRFRefused` where no token could be right: foreign origin, no cookie."""
    _check(request, request.META.get("CSRF_COOKIE", ""))


def check_token(request: HttpRequest, token: str) -> None:
    """Raise `CSRFRefused` where the token, as sent in a form's field, is wrong."""
    _check(request, token)


def is_enforced() -> bool:
    """Whether the site checks CSRF tokens at all: it has Django's middleware."""
    return _middleware_class(tuple(settings.MIDDLEWARE)) is not None


def _check(request: HttpRequest, token: str | None = None) -> None:
    middleware = _middleware_class(tuple(settings.MIDDLEWARE))
    if middleware is None:
        return
    probe = copy.copy(request)
    probe.method = "PUT"
    if token is not None:
        probe.META = {**request.META, settings.CSRF_HEADER_NAME: token}
    refusal = middleware(_respond).process_view(probe, _respond, (), {})
    if refusal is not None:
        raise CSRFRefused


@lru_cache
def _middleware_class(paths: tuple[str, ...]) -> type[CsrfViewMiddleware] | None:
    for middleware in map(import_string, paths):
        if isinstance(middleware, type) and issubclass(middleware, CsrfViewMiddleware):
            return middleware
    return None


def _respond(request: HttpRequest) -> HttpResponse:
    return HttpResponse()
