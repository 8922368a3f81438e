"""What every request goes through before anything is done, in this order.

The method is known; the site is not being worked on; the site's own checks pass. Then
the view looks for files, among those of the visitor. Nothing of a body is read until
all of this has passed. A form of the site asks the same before it stores or removes a
file.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import DatabaseError
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .conf import Conf, conf
from .exceptions import AccessRefused, Maintenance

READ_ONLY = "read-only"


@dataclass(frozen=True)
class Context:
    """What is known of a request from its first line."""

    request: HttpRequest
    #: Whether it can change anything.
    writes: bool

    @classmethod
    def of(cls, request: HttpRequest) -> Context:
        """The context of a request with a known method."""
        return cls(request, writes=request.method not in ("GET", "HEAD"))


def admit(context: Context) -> None:
    """Let the request in; raises `Maintenance` and `AccessRefused`."""
    try:
        for step in STEPS:
            step(context)
    except PermissionDenied as error:
        raise AccessRefused(str(error) or None) from error


def check_maintenance(context: Context) -> None:
    """Raise `Maintenance` while the site is being worked on; superusers pass.

    Raises `ImproperlyConfigured` for a callable that says anything but True, False,
    None or `READ_ONLY`. A 1 is none of them, although it equals True.
    """
    state = conf.maintenance
    if isinstance(state, str) and state != READ_ONLY:
        state = import_string(state)(context.request)
    if not (state is None or isinstance(state, bool) or state == READ_ONLY):
        raise ImproperlyConfigured(f"{Conf.maintenance.name} says {state!r}.")
    closed = state is True or (state == READ_ONLY and context.writes)
    if closed:
        try:
            passes = _is(context.request, "is_superuser")
        except DatabaseError as error:  # Its tables may be what is being worked on.
            raise Maintenance from error
        if not passes:
            raise Maintenance


def check_access(context: Context) -> None:
    """Raise `AccessRefused`, or the `PermissionDenied` of the first check that refuses.

    True and None let in, None being what a function returns that only raises. All else
    refuses, so that a mistake lets nobody in.
    """
    checks = conf.access_checks
    if not checks or (conf.staff_bypass and _is(context.request, "is_staff")):
        return
    for path in checks:
        passed = import_string(path)(context.request)
        if passed is not True and passed is not None:
            raise AccessRefused


STEPS = (check_maintenance, check_access)


def _is(request: HttpRequest, flag: str) -> bool:
    user = getattr(request, "user", None)
    # A user model of the site's may know neither.
    return bool(getattr(user, "is_active", False) and getattr(user, flag, False))
