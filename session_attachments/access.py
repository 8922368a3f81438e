"""Who owns a row: the only module that reads the session.

A session's key cannot be used as it comes: it changes at login, it is an unverified
cookie until the session is loaded, and with signed cookies it is the session's content.
So a key is derived once and pinned in the session's data. The pin survives a login and
a change of the password, and ends with the session's data at logout.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TypeAlias

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.backends.signed_cookies import (
    SessionStore as SignedCookieSession,
)
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from .exceptions import SessionEnded
from .models import Attachment, AttachmentQuerySet

PIN = "_session_attachments"

Session: TypeAlias = SessionBase

_current: ContextVar[HttpRequest | Session | None] = ContextVar(
    "session_attachments", default=None
)


@contextlib.contextmanager
def visit(visitor: HttpRequest | Session) -> Iterator[None]:
    """Let forms find the visitor, by a request or a session, while the block runs."""
    token = _current.set(visitor)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Session:
    """The session of the visitor whose request is answered.

    Raises `ImproperlyConfigured` outside a request, or without the middleware.
    """
    visitor = _current.get()
    if visitor is None:
        raise ImproperlyConfigured(
            "Forms find the visitor's files by a middleware: add "
            "'session_attachments.middleware.visitor_middleware' to MIDDLEWARE, after "
            "SessionMiddleware. Outside a request, use `access.visit`."
        )
    return session_of(visitor)


def current_request() -> HttpRequest | None:
    """The request that is answered; None where only a session is known, as in tests."""
    visitor = _current.get()
    return None if isinstance(visitor, SessionBase) else visitor


def session_of(visitor: HttpRequest | Session) -> Session:
    """The session of a request, or the session itself."""
    return visitor if isinstance(visitor, SessionBase) else visitor.session


def pinned(session: Session) -> str | None:
    """The key that owns this session's rows, or None where it can own none.

    Writes nothing. A saved session whose pin was overwritten by another request that
    saved an older copy still has its rows, because the pin is derived.
    """
    pin = session.get(PIN)
    return pin if pin is not None else _derived(session)


def pin(session: Session) -> str:
    """The key that owns this session's rows; creates the session, where there is none.

    An existing session is saved at once, so that a long upload does not write an old
    copy of it over what other requests change meanwhile. Raises `SessionEnded` where it
    was deleted by another request.
    """
    pin = session.get(PIN)
    if pin is not None:
        return str(pin)
    if isinstance(session, SignedCookieSession):
        # Its key is its content and a clock: equal for two visitors of one second.
        session[PIN] = pin = secrets.token_hex(32)
        return pin
    if session.session_key is None:
        session.create()
    unsent = session.modified
    session[PIN] = pin = _derived(session)
    try:
        session.save()
    except UpdateError as error:
        raise SessionEnded from error
    finally:
        session.modified = unsent
    return str(pin)


def settle(request: HttpRequest) -> None:
    """Save now what the request has changed in its session, before it takes long.

    Saved at its end, it would overwrite what others change meanwhile, and a login in
    between would make it fail. A session that is new, or has a new key, keeps for the
    end what tells the browser. Raises `SessionEnded` where it was deleted by another
    request.
    """
    session = request.session
    known = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    is_kept_here = not isinstance(session, SignedCookieSession)
    if session.modified and is_kept_here and session.session_key == known is not None:
        try:
            session.save()
        except UpdateError as error:
            raise SessionEnded from error
        finally:
            session.modified = False


def keep_pin(session: Session) -> None:
    """Pin a session again that has rows, but was saved without its pin.

    By another request, which had read it before. Its rows are found nevertheless, until
    a login changes the session's key.
    """
    if session.get(PIN) is None:
        # Not as this request has read it: that would do the same to others.
        current = type(session)(session.session_key)
        current.get(PIN)
        if current.session_key is not None:
            unsent = session.modified
            with contextlib.suppress(SessionEnded):
                session[PIN] = pin(current)
            session.modified = unsent


def attachments_of(session: Session) -> AttachmentQuerySet:
    """The rows of this session; nobody else's exist for it.

    As the writing database knows them: a replica may not have what was just stored.
    """
    key = pinned(session)
    if key is None:
        return Attachment.objects.none()
    return Attachment.objects.primary().filter(session_key=key)


def _derived(session: Session) -> str | None:
    """The same pin for all parallel requests of one saved session.

    The session is loaded, so that a forged or expired key is gone.
    """
    if isinstance(session, SignedCookieSession) or session.session_key is None:
        return None
    return salted_hmac(
        "session_attachments.access", session.session_key, algorithm="sha256"
    ).hexdigest()
