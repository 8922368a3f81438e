"""What lets a form's field find its visitor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from . import access


@sync_and_async_middleware
def visitor_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Let forms find the request and its session. Comes after SessionMiddleware."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            with access.visit(_with_session(request)):
                response: HttpResponseBase = await get_response(request)
                return response

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with access.visit(_with_session(request)):
            response: HttpResponseBase = get_response(request)
            return response

    return middleware


def _with_session(request: HttpRequest) -> HttpRequest:
    if not hasattr(request, "session"):
        raise ImproperlyConfigured(
            "visitor_middleware comes after SessionMiddleware in MIDDLEWARE."
        )
    return request
