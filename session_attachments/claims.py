"""How files leave for the site's own models: all of a claim's, once, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from django.db import connections, router, transaction
from django.utils import timezone

from . import sweep
from .contention import retrying
from .exceptions import ClaimConflict
from .models import Attachment, AttachmentFile, State

Files = TypeVar("Files", bound=Sequence[AttachmentFile])


@contextlib.contextmanager
def claim(files: Files) -> Iterator[Files]:
    """Lend stored files to a block that copies them, or gives them to an object.

    The block runs in a transaction, the caller's where there is one; outside of one the
    files do not expire meanwhile. On leaving it they are taken out of use, and their
    bytes are removed when the transaction has committed. A file that the block gave to
    an object, by the `claim_for` of its `attachment`, stays.

    Raises `ClaimConflict` where any of them was claimed, replaced or removed meanwhile,
    and `Busy` where the database could not decide between this transaction and another;
    then, as after any other exception, nothing is claimed.
    """
    using = router.db_for_write(Attachment)
    with contextlib.ExitStack() as stack:
        _lend([file.attachment for file in files])
        for file in files:
            stack.callback(file.close)
            try:
                file.open()
            except FileNotFoundError as error:
                raise ClaimConflict from error
        with transaction.atomic(using):
            yield files
            # Their bytes have been copied, or linked.
            rows = {file.attachment for file in files}
            copied = [row for row in rows if row.state == State.STORED]
            _doom(copied)
            _check_owned([row for row in rows if row.state == State.CLAIMED])
            sweep.remove_on_commit(copied)


def _lend(rows: list[Attachment]) -> None:
    """Let the rows not expire until this claim must have ended.

    Also where it fails before: another one may have the same files. Not inside a
    transaction of the caller's: it would lock them.
    """
    stored = Attachment.objects.primary().stored()
    lent = stored.filter(pk__in=[row.pk for row in rows])
    if not connections[lent.db].in_atomic_block:
        retrying(lambda: lent.update(lent=timezone.now()), using=lent.db)


def _doom(rows: list[Attachment]) -> None:
    """Take the rows out of use; raise `ClaimConflict` where one is not to be had.

    Only the count proves that each was still there to be taken.
    """
    lent = Attachment.objects.primary().stored()
    lent = lent.filter(pk__in=[row.pk for row in rows])
    hit = retrying(lambda: lent.doom(timezone.now()), using=lent.db)
    if hit != len(rows):
        raise ClaimConflict


def _check_owned(rows: list[Attachment]) -> None:
    """Raise `ClaimConflict` where what was given to an object was rolled back."""
    if rows:
        owned = Attachment.objects.primary().claimed()
        if owned.filter(pk__in=[row.pk for row in rows]).count() != len(rows):
            raise ClaimConflict
