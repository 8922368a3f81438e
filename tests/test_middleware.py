"""How a form's field finds its visitor."""

import asyncio

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory

from session_attachments import access
from session_attachments.middleware import visitor_middleware


def request_of(session):
    request = RequestFactory().get("/")
    request.session = session
    return request


def test_view__finds_the_session_of_its_request():
    session = SessionStore()

    def view(request):
        assert access.current() is session
        assert access.current_request() is request
        return HttpResponse("answered")

    response = visitor_middleware(view)(request_of(session))
    assert response.content == b"answered"


def test_async_view__finds_the_session_of_its_request():
    async def visit(session):
        async def view(request):
            await asyncio.sleep(0)
            assert access.current() is session
            # Where Django runs what touches the database.
            assert await asyncio.to_thread(access.current) is session
            assert await asyncio.to_thread(access.current_request) is request
            return HttpResponse("answered")

        handler = visitor_middleware(view)
        assert iscoroutinefunction(handler)
        response = await handler(request_of(session))
        assert response.content == b"answered"

    async def visits():
        await asyncio.gather(*(visit(SessionStore()) for _ in range(5)))

    asyncio.run(visits())


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_session__is_forgotten_after_the_request(error):
    def view(request):
        if error:
            raise error
        return HttpResponse()

    try:
        visitor_middleware(view)(request_of(SessionStore()))
    except ZeroDivisionError:
        assert error
    with pytest.raises(ImproperlyConfigured, match="Outside a request"):
        access.current()


def test_session__of_a_request_inside_another():
    outer, inner = SessionStore(), SessionStore()
    with access.visit(outer):
        with access.visit(inner):
            assert access.current() is inner
        assert access.current() is outer


def test_request__is_none_where_only_a_session_is_known():
    with access.visit(SessionStore()):
        assert access.current_request() is None
    assert access.current_request() is None


def test_session__is_missing():
    with pytest.raises(ImproperlyConfigured, match="after SessionMiddleware"):
        visitor_middleware(HttpResponse)(RequestFactory().get("/"))


def test_session__is_missing_from_an_asynchronous_request():
    async def view(request):
        raise AssertionError

    with pytest.raises(ImproperlyConfigured, match="after SessionMiddleware"):
        asyncio.run(visitor_middleware(view)(RequestFactory().get("/")))
