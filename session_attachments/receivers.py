"""What happens in the rest of the site that ends files."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from . import access, signals, sweep
from .models import Attachment, State

logger = logging.getLogger("session_attachments")


def end_session(request: HttpRequest | None, **kwargs: Any) -> None:
    """On logout: end the session's files and the uploads that are still running.

    Once the logout is committed, and without ever breaking it.
    """
    session = getattr(request, "session", None)
    if session is None:
        return
    rows = access.attachments_of(session)

    def finish() -> None:
        live = rows.filter(state__in=[State.UPLOADING, State.STORED])
        sweep.remove_on_commit(sweep.doom(live, timezone.now()), signals.removed)

    transaction.on_commit(finish, using=rows.db, robust=True)


def keep_track(instance: Attachment, **kwargs: Any) -> None:
    """On deletion of a row through the ORM: keep its file in the table till it goes."""
    sweep.tombstone(instance)
