"""How files go: expired, abandoned or doomed rows, their bytes, then the rows.

Many sweeps may run at once and be killed anywhere. A row is deleted only after its
file, and only when no process can still write that file.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.db.models import Q, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from . import limits, signals, storage
from .conf import conf
from .contention import retrying
from .exceptions import Busy
from .models import Attachment, AttachmentQuerySet, State, SubmittedBundle

logger = logging.getLogger("session_attachments")

BATCH = 1000


@dataclass
class Report:
    """What a sweep did, in files: `size` is in bytes."""

    expired: int = 0
    abandoned: int = 0
    removed: int = 0
    failed: int = 0
    size: int = 0


def remove_outdated(
    *,
    lifetime: datetime.timedelta | None = None,
    now: datetime.datetime | None = None,
    advance: Callable[[int], object] = lambda files: None,
) -> Report:
    """Remove what nobody claimed in time, what was given up, and what is doomed.

    `lifetime` is the site's where it is None; `advance` is told of every batch of files
    that was dealt with. A file that cannot be removed is logged, counted as failed, and
    left for the next time.
    """
    now = now or timezone.now()
    report = Report()
    expire(
        now - (conf.lifetime if lifetime is None else lifetime), now, report, advance
    )
    clean(Attachment.objects.primary(), now, report, advance)
    remove_orphans(now, report)
    remove_strays(now, report)
    forget_submissions(now, report)
    return report


def outdated(
    *,
    lifetime: datetime.timedelta | None = None,
    now: datetime.datetime | None = None,
) -> AttachmentQuerySet:
    """The rows that `remove_outdated` would deal with."""
    now = now or timezone.now()
    limit = now - (conf.lifetime if lifetime is None else lifetime)
    return Attachment.objects.primary().filter(
        _expired(limit, now) | _lapsed(now) | _due(now)
    )


def expire(
    limit: datetime.datetime,
    now: datetime.datetime,
    report: Report,
    advance: Callable[[int], object] = lambda files: None,
) -> None:
    """Doom what became visible before `limit` and is not claimed, and remove it.

    What is being claimed is left alone. The condition is part of each batch's UPDATE:
    what is replaced or claimed at the same moment is not hit.
    """
    old = Attachment.objects.primary().filter(_expired(limit, now))
    for batch in _batches(old):
        doomed: list[Attachment] = []
        with _left_for_later(report, len(batch)):
            doomed = _take(old, batch, now)
        _on_commit(partial(remove, doomed, now, report))
        _on_commit(partial(announce, signals.expired, doomed))
        report.expired += len(doomed)
        advance(len(doomed))


def forget_submissions(now: datetime.datetime, report: Report) -> None:
    """Forget the forms whose files would have expired, had they not been submitted."""
    using = router.db_for_write(SubmittedBundle)
    old = SubmittedBundle.objects.using(using)
    old = old.filter(modified__lt=now - conf.lifetime)
    with _left_for_later(report, 1):
        # No model points to these, and none of their receivers needs to be told.
        retrying(lambda: old._raw_delete(using), using=using)


def clean(
    rows: AttachmentQuerySet,
    now: datetime.datetime,
    report: Report,
    advance: Callable[[int], object] = lambda files: None,
) -> None:
    """Give up uploads that show no life, and remove doomed files that are due."""
    lapsed = rows.filter(_lapsed(now))
    with _left_for_later(report, 1):
        report.abandoned += retrying(lambda: lapsed.doom(now), using=_using())
    for batch in _batches(rows.filter(_due(now))):
        _on_commit(partial(remove, batch, now, report))
        advance(len(batch))


def clean_session(session_key: str) -> None:
    """Clean up after one session's earlier uploads, where there is anything to do."""
    now = timezone.now()
    rows = Attachment.objects.primary().filter(session_key=session_key)
    if rows.filter(_lapsed(now) | _due(now)).exists():
        clean(rows, now, Report())


def doom(rows: AttachmentQuerySet, now: datetime.datetime) -> list[Attachment]:
    """Take rows out of use; return those that nobody took first. Raises `Busy`."""
    return [row for batch in _batches(rows) for row in _take(rows, batch, now)]


def _take(
    rows: AttachmentQuerySet, found: list[Attachment], now: datetime.datetime
) -> list[Attachment]:
    """Doom those of the rows that were found a moment ago."""
    chosen = rows.filter(pk__in=[row.pk for row in found])
    hit = retrying(lambda: chosen.doom(now), using=_using())
    if hit == len(found):
        return found
    # Somebody else was faster with some. Only ours bear the time that we gave them.
    ours = Attachment.objects.primary().filter(
        pk__in=[row.pk for row in found], state=State.DOOMED, modified=now
    )
    return list(ours)


def remove(
    rows: Iterable[Attachment],
    now: datetime.datetime,
    report: Report,
    *,
    written: bool = False,
) -> None:
    """Remove the bytes of doomed rows, and the rows that no process can write to.

    Whether a writer can be alive is decided before the file is removed: one that is
    created after that is found by its row, which stays. `written` says that the caller
    was the writer.
    """
    ended: list[int] = []
    open_ended: list[int] = []
    for row in rows:
        final = written or row.created is not None or _is_dead(row, now)
        try:
            storage.remove(row.storage, row.key)
        except Exception:
            logger.exception("An attachment's file could not be removed")
            report.failed += 1
        else:
            (ended if final else open_ended).append(row.pk)
            if row.reserved:
                report.removed += 1
                report.size += row.size
    doomed = Attachment.objects.primary().filter(state=State.DOOMED)
    with _left_for_later(report, len(ended) + len(open_ended)):
        if ended:
            delete_rows(doomed.filter(pk__in=ended))
        if open_ended:
            emptied = doomed.filter(pk__in=open_ended, reserved__gt=0)
            retrying(lambda: emptied.update(reserved=0), using=_using())


def delete_rows(rows: AttachmentQuerySet) -> None:
    """Delete rows whose file is gone, without the tombstones of an ORM delete."""
    retrying(lambda: rows._raw_delete(_using()), using=_using())


def remove_on_commit(rows: list[Attachment], signal: Signal | None = None) -> None:
    """Remove the bytes of rows that were just doomed, once that is committed.

    What fails or is killed here is left to the sweep.
    """

    def finish() -> None:
        remove(rows, timezone.now(), Report())
        if signal is not None:
            announce(signal, rows)

    if rows:
        transaction.on_commit(finish, using=_using(), robust=True)


def announce(signal: Signal, rows: Iterable[Attachment]) -> None:
    """Tell the site of each row that was visible; what a receiver raises is logged."""
    if signal.has_listeners(Attachment):
        for row in (row for row in rows if row.created is not None):
            signal.send_robust(sender=Attachment, attachment=row)


def grave(row: Attachment, *, created: datetime.datetime | None) -> Attachment:
    """An unsaved row for what another row leaves in its storage.

    Without `created`, its writer may be alive, as with any row.
    """
    return Attachment(
        state=State.DOOMED,
        session_key=row.session_key,
        bundle_id=row.bundle_id,
        bundle_digest=row.bundle_digest,
        name=row.name,
        storage=row.storage,
        key=row.key,
        size=row.size,
        reserved=row.reserved,
        mimetype=row.mimetype,
        created=created,
        modified=timezone.now(),
    )


def tombstone(row: Attachment) -> None:
    """Keep a deleted row's file in the table, until a sweep has removed it.

    In the deletion's own transaction: if that is rolled back, so is this.
    """
    left = grave(row, created=row.created)
    if row.state == State.CLAIMED:
        # It counted for nobody while it was its object's. Its bytes are there still.
        left.reserved = limits.billed(row.size)
    left.save(using=_using(), force_insert=True)
    remove_on_commit([left])


def remove_orphans(now: datetime.datetime, report: Report) -> None:
    """Remove the files of objects that were deleted without them.

    By SQL, by the deletion of a child of their model, or at the moment of the claim. A
    claim may not be committed yet, nor its object, until it is older than any
    transaction can be.
    """
    settled = Attachment.objects.primary().claimed()
    settled = settled.filter(modified__lt=now - conf.request_timeout)
    for batch in _batches(settled):
        with _left_for_later(report, len(batch)):
            orphans = settled.filter(pk__in=list(_orphans(batch, report)))
            # As the object's own deletion does.
            deleted, _ = retrying(orphans.delete, using=_using())
            report.removed += deleted


def _orphans(rows: list[Attachment], report: Report) -> Iterator[int]:
    """The keys of the rows whose object is not there.

    A model that is not installed, or cannot be asked, may come back.
    """
    by_type = defaultdict(list)
    for row in rows:
        by_type[row.content_type_id].append(row)
    kinds = ContentType.objects.in_bulk(by_type)
    for pk, owned in by_type.items():
        model = kinds[pk].model_class() if pk in kinds else None
        if model is None:
            continue
        # Not by a manager of the site's, which may hide some.
        objects: QuerySet[Any] = QuerySet(model, using=router.db_for_write(model))
        try:
            there = objects.filter(pk__in={row.object_id for row in owned})
            ids = {str(pk) for pk in there.values_list("pk", flat=True)}
            # A key may be written in several ways, as a UUID: the database decides.
            orphans = [
                row.pk
                for row in owned
                if row.object_id not in ids
                and not objects.filter(pk=row.object_id).exists()
            ]
        except Exception:
            logger.exception("The owners of some attachments could not be found")
            report.failed += len(owned)
            continue
        yield from orphans


def remove_strays(now: datetime.datetime, report: Report) -> None:
    """Remove files that no row leads to: those of transactions that rolled back, links
    of claims and temporary files of uploads that were killed on this machine.

    Only files older than any transaction can be, under prefixes of our own. Python code
    may have chosen any storage of the site's.
    """
    oldest = now - conf.request_timeout
    used = _used_aliases()
    for alias in used | storage.all_aliases():
        try:
            report.removed += storage.remove_links(alias, oldest)
            keys = storage.joined_keys(alias, oldest)
            while batch := list(itertools.islice(keys, BATCH)):
                for key in set(batch) - _known(batch):
                    with _counted(report):
                        storage.remove(alias, key)
        except NotImplementedError:
            pass  # That will not change; a check says what it means.
        except Exception:
            logger.exception("The strays of %s could not be listed", alias)
            # What has nothing to do with attachments need not be in working order.
            report.failed += alias in used
    for path in storage.spools(oldest):
        with _counted(report):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _left_for_later(report: Report, rows: int) -> Iterator[None]:
    """Count the rows as failed that the block cannot change: others are at them."""
    try:
        yield
    except Busy:
        logger.warning("Some attachments are in use; left for later")
        report.failed += rows


@contextlib.contextmanager
def _counted(report: Report) -> Iterator[None]:
    """Count the file that is removed in the block, or that cannot be."""
    try:
        yield
    except Exception:
        logger.exception("A stray file could not be removed")
        report.failed += 1
    else:
        report.removed += 1


def _known(keys: list[str]) -> set[str]:
    rows = Attachment.objects.primary().filter(key__in=keys)
    return set(rows.values_list("key", flat=True))


def _used_aliases() -> set[str]:
    """Where new files go, and where rows say that there are some."""
    rows = Attachment.objects.primary().order_by()
    used = rows.values_list("storage", flat=True).distinct()
    return {*storage.candidates(), *used} & settings.STORAGES.keys()


def _using() -> str:
    return router.db_for_write(Attachment)


def _on_commit(operation: Callable[[], None]) -> None:
    """At once, or, inside a transaction of the caller's, when nothing can come back."""
    transaction.on_commit(operation, using=_using())


def _expired(limit: datetime.datetime, now: datetime.datetime) -> Q:
    """Stored rows, but for those that a claim may be copying."""
    at_rest = Q(lent__isnull=True) | Q(lent__lt=now - conf.request_timeout)
    return at_rest & Q(state=State.STORED, created__lt=limit)


def _lapsed(now: datetime.datetime) -> Q:
    return Q(state=State.UPLOADING, modified__lt=now - conf.upload_lease)


def _due(now: datetime.datetime) -> Q:
    """Doomed rows, but for files that were replaced a moment ago."""
    return Q(state=State.DOOMED) & (
        Q(created__isnull=True) | Q(modified__lt=now - conf.grace)
    )


def _is_dead(row: Attachment, now: datetime.datetime) -> bool:
    return row.modified < now - conf.request_timeout


def _batches(rows: AttachmentQuerySet) -> Iterator[list[Attachment]]:
    """The rows by primary key: flat memory, and no row twice."""
    last, size = 0, BATCH
    while size == BATCH:
        batch = list(rows.filter(pk__gt=last).order_by("pk")[:BATCH])
        size = len(batch)
        if batch:
            yield batch
            last = batch[-1].pk
