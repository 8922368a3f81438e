"""How much a visitor may store, and all visitors together."""

from __future__ import annotations

from pathlib import Path

from django.db.models import Q, Sum

from . import storage
from .conf import conf
from .exceptions import (
    BundleFull,
    DiskFull,
    LimitError,
    SessionFull,
    SiteFull,
    TooLarge,
)
from .models import Attachment, AttachmentQuerySet, State

#: What the smallest file takes on a disk, in bytes.
BLOCK = 4096

#: Bytes of a file after which the disk is looked at again.
DISK_STEP = 1024 * 1024

#: Bytes that a multipart body may have beyond its files.
MULTIPART_OVERHEAD = 64 * 1024


def billed(size: int) -> int:
    """What a file of `size` bytes counts for, in bytes."""
    return max(size, BLOCK)


def check_file_size(size: int) -> None:
    """Raise `TooLarge` for a file of more bytes than the site allows."""
    limit = conf.max_file_size
    if limit is not None and size > limit:
        raise TooLarge(limit)


def check_body_size(size: int) -> None:
    """Raise `SessionFull` for a multipart body that no empty session could take."""
    limit = conf.max_session_size
    if limit is not None and size - MULTIPART_OVERHEAD > limit:
        raise SessionFull(limit)


def check_room(size: int, *, form: bool, using: str | None = None) -> None:
    """See whether a visitor who has nothing yet can store `size` bytes, or a form.

    `using` is the alias of a storage that was chosen.

    Makes and reserves nothing: who passes is counted by `check_quotas`.

    Raises `DiskFull`, `StorageFailed`, `SessionFull`, `SiteFull`.
    """
    check_disk(storage.first_folder(using), size)
    size = billed(size - MULTIPART_OVERHEAD if form else size)
    max_session_size, max_site_size = conf.max_session_size, conf.max_site_size
    if max_session_size is not None and size > max_session_size:
        raise SessionFull(max_session_size)
    if (
        max_site_size is not None
        and _used(Attachment.objects.primary()) + size > max_site_size
    ):
        raise SiteFull(max_site_size)


def check_file_count(count: int) -> None:
    """Raise `BundleFull` for more files in one bundle than the site allows."""
    limit = conf.max_files
    if limit is not None and count > limit:
        raise BundleFull(limit)


def check_disk(folder: Path, size: int) -> None:
    """Raise `DiskFull` where `size` more bytes would leave too little free.

    And `StorageFailed` where the disk does not say.
    """
    with storage.failures():
        if not storage.has_room(folder, size):
            raise DiskFull


def check_quotas(
    session_key: str,
    bundle_digest: str,
    replacing: Q,
    *,
    allowance: int = 0,
    using: str,
) -> bool:
    """See whether the rows that now exist are within the site's limits.

    The caller has committed its own rows before; of two that race, both may be
    refused, but never do both pass. The stored rows of the bundle that match
    `replacing` are about to make room and do not count. Rows whose file is still to be
    removed do. `allowance` is what was reserved in excess, in bytes.

    Returns whether all fit without that room and that excess. Raises `BundleFull`,
    `SessionFull`, `SiteFull`.
    """
    rows = Attachment.objects.using(using)
    try:
        _check(rows, session_key, bundle_digest)
    except LimitError:
        # Only now does it matter what will make room, which is dear to find out.
        replaced = Q(bundle_digest=bundle_digest, state=State.STORED) & replacing
        _check(rows.exclude(replaced), session_key, bundle_digest, allowance)
        return False
    return True


def _check(
    rows: AttachmentQuerySet, session_key: str, bundle_digest: str, allowance: int = 0
) -> None:
    of_session = rows.filter(session_key=session_key)
    visible = of_session.filter(state__in=[State.UPLOADING, State.STORED])
    check_file_count(visible.filter(bundle_digest=bundle_digest).count())
    limit = conf.max_session_size
    if limit is not None and _used(of_session) - allowance > limit:
        raise SessionFull(limit)
    limit = conf.max_site_size
    if limit is not None and _used(rows) - allowance > limit:
        raise SiteFull(limit)


def _used(rows: AttachmentQuerySet) -> int:
    """Bytes that these files take together."""
    return rows.aggregate(used=Sum("reserved"))["used"] or 0
