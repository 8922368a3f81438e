"""Which forms have been submitted, so that none is twice, however fast one clicks.

It is remembered by the transaction that claims a form's files, and so by the same
COMMIT; not in the session, which the other click has read before.
"""

from __future__ import annotations

from django.db import IntegrityError, router, transaction
from django.utils import timezone

from . import access
from .bundles import Bundle
from .contention import retrying
from .exceptions import ClaimConflict
from .models import SubmittedBundle
from .names import bundle_digest, is_drawn


def digest_of(bundle: Bundle) -> str:
    """What a form's bundle is remembered by, as lower-case hex.

    An id that was drawn for a form is nobody else's. By itself it also finds two clicks
    of a visitor who had no session before them, and has two sessions after.
    """
    drawn = is_drawn(bundle.id)
    return bundle_digest(
        "" if drawn else access.pinned(bundle.session) or "", bundle.id
    )


def times_submitted(bundle: Bundle) -> int:
    """How often the bundle was submitted, as far as that is committed."""
    rows = SubmittedBundle.objects.using(_using()).filter(digest=digest_of(bundle))
    return rows.values_list("times", flat=True).first() or 0


def submit(digest: str, *, before: int) -> None:
    """Count one submission more, in the caller's transaction.

    `before` is the number that its form was checked with. Raises `ClaimConflict` where
    another submission came between, and `Busy` where the database cannot decide.
    """
    rows = SubmittedBundle.objects.using(_using())
    now = timezone.now()

    def count() -> int:
        if before:
            same = rows.filter(digest=digest, times=before)
            return same.update(times=before + 1, modified=now)
        try:
            with transaction.atomic(_using()):
                rows.create(digest=digest, times=1, modified=now)
        except IntegrityError:
            return 0
        return 1

    if not retrying(count, using=_using()):
        raise ClaimConflict


def _using() -> str:
    return router.db_for_write(SubmittedBundle)
