"""How files come in: reserve, write, publish.

A row is committed before its first byte is written, the limits are checked after that,
and the file becomes visible in one transaction that also takes out of use what it
replaces. Whatever fails, the row tells what has to be removed.

Inside a transaction of the caller's nothing can be committed: there the row lives and
dies with that transaction, and the bytes go under a key prefix of their own, which the
sweep compares with the table.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType

from django.db import connections, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.module_loading import import_string

from . import limits, signals, storage, sweep, validators
from .conf import conf
from .contention import Collision, retrying
from .exceptions import (
    AttachmentError,
    Busy,
    DuplicateName,
    IncompleteBody,
    LimitError,
    SessionEnded,
)
from .models import Attachment, AttachmentFile, AttachmentQuerySet, State
from .names import bundle_digest, canonical, name_digest
from .sniffing import HEAD, sniff

#: Told of the row that has the name now, or None; raises `PreconditionFailed`.
Precondition = Callable[[Attachment | None], None]

logger = logging.getLogger("session_attachments")

RESERVATIONS = 3


def unconditional(current: Attachment | None) -> None:
    """Replace whatever is there."""


class Upload:
    """Files of one bundle that come in together: all of them or none.

    A context manager: what is not published on leaving it is removed.

        with Upload(session_key, "compose-42", declared=5) as upload:
            writer = upload.add("spam.txt")
            writer.write(b"spam\\n")
            writer.finish()
            upload.publish()

    `declared` is what is going to arrive, in bytes: the file's size where there is one
    file and its `name` is given, else the length of a multipart body. `precondition` is
    asked before the first byte and again on publishing. `using` is the one storage
    that the files go to, instead of those that the site has configured.

    Entering raises `PreconditionFailed`, `DiskFull`, `StorageFailed` and the errors of
    the limits.
    """

    def __init__(
        self,
        session_key: str,
        bundle_id: str,
        *,
        declared: int,
        name: str | None = None,
        using: str | None = None,
        precondition: Precondition = unconditional,
    ) -> None:
        self.session_key, self.bundle_id = session_key, bundle_id
        self.declared = declared
        self.precondition = precondition
        self.digest = bundle_digest(session_key, bundle_id)
        self.using = router.db_for_write(Attachment)
        self.joined = connections[self.using].in_atomic_block
        self.chosen = using
        self.storage = storage.alias(using)
        self.rows: list[Attachment] = []
        self.writers: dict[str, Writer] = {}
        self.replaced: list[Attachment] = []
        self.published = False
        self._name = None if name is None else canonical(name)
        self._spare: Attachment | None = None
        #: Whether nothing has to be replaced to keep within the limits.
        self._fits = False
        self._beaten = time.monotonic()

    # -- reserve

    def __enter__(self) -> Upload:
        if self._name is not None:
            self.precondition(self._holding([self._name]).first())
        limits.check_disk(storage.first_folder(self.chosen), self.declared)
        if not self.joined:
            sweep.clean_session(self.session_key)
        for attempt in range(RESERVATIONS):
            row = self._insert(self._name or "", self.declared)
            try:
                if self._name is None:
                    # Only the names can tell what will be replaced. Until they are
                    # known it may be all of the bundle.
                    self._fits = self._check_quotas(
                        Q(), allowance=limits.MULTIPART_OVERHEAD
                    )
                else:
                    self._check_quotas(Q(name_digest=name_digest(self._name)))
            except LimitError:
                self._delete(row)
                if attempt == RESERVATIONS - 1:
                    raise
                time.sleep(random.uniform(0, 0.05))  # noqa: S311
            except BaseException:
                self._delete(row)
                raise
            else:
                self._spare = row
                break
        return self

    def _insert(self, name: str, reserved: int) -> Attachment:
        def insert() -> Attachment:
            # A COMMIT that is reported as failed may have come through: what that has
            # left shares nothing with the next attempt, least of all the key.
            row = Attachment(
                session_key=self.session_key,
                bundle_id=self.bundle_id,
                bundle_digest=self.digest,
                name=name,
                storage=self.storage,
                key=storage.new_key(joined=self.joined),
                reserved=limits.billed(reserved),
                modified=timezone.now(),
            )
            with transaction.atomic(self.using, durable=not self.joined):
                row.save(using=self.using, force_insert=True)
            return row

        row = retrying(insert, using=self.using)
        self.rows.append(row)
        return row

    def _delete(self, row: Attachment) -> None:
        sweep.delete_rows(self._own().filter(pk=row.pk))
        self.rows.remove(row)

    def _check_quotas(self, replacing: Q, *, allowance: int = 0) -> bool:
        return limits.check_quotas(
            self.session_key,
            self.digest,
            replacing,
            allowance=allowance,
            using=self.using,
        )

    # -- write

    def add(self, name: str) -> Writer:
        """Begin the next file; its row is committed when this returns.

        Raises `BadName`, `DuplicateName`, `BundleFull` and what the storage raises, and
        `ValueError` for another name than the upload was begun for.
        """
        name = canonical(name)
        if self._name not in (None, name):
            raise ValueError(f"The upload is of {self._name!r}, not of {name!r}")
        if name in self.writers:
            raise DuplicateName
        limits.check_file_count(len(self.writers) + 1)
        if self._spare is None:
            row = self._insert(name, 0)
            self._fits = False
        else:
            row, self._spare = self._spare, None
            row.name = name
        writer = self.writers[name] = Writer(self, row)
        return writer

    def candidates_for(self, row: Attachment) -> dict[str, tuple[str, ...]]:
        """The storages for a complete file; the one that was chosen is the only one."""
        alias = self.chosen or storage.chosen(
            name=row.name,
            size=row.size,
            mimetype=row.mimetype,
            bundle_id=row.bundle_id,
        )
        return storage.candidates(alias)

    def move(self, row: Attachment, alias: str, *, leaves: bool) -> None:
        """Let the row lead to another storage, before anything is written there.

        What it `leaves` in the first one is found by a row of its own, from the moment
        on that this one does not lead there any more.
        """
        left = sweep.grave(row, created=None)
        key = storage.new_key(joined=self.joined) if leaves else row.key

        def change() -> None:
            left.pk = None
            with transaction.atomic(self.using, durable=not self.joined):
                hit = self._own().filter(pk=row.pk).update(storage=alias, key=key)
                if not hit:
                    raise SessionEnded
                if leaves:
                    left.save(using=self.using, force_insert=True)

        retrying(change, using=self.using)
        row.storage, row.key = alias, key
        if leaves:
            sweep.remove([left], timezone.now(), sweep.Report(), written=True)

    def beat(self) -> None:
        """Show that the upload is alive; raises `SessionEnded` where it was ended.

        A beat that the database has no time for is made up for by the next.
        """
        if self.joined or time.monotonic() - self._beaten < _beat():
            return
        with contextlib.suppress(Busy):
            if retrying(self._touch, using=self.using) != len(self.rows):
                raise SessionEnded

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Show that the upload is alive for as long as the block takes.

        From a thread: the block may be waiting for anything.
        """
        if self.joined:
            yield
            return
        done = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=[done], daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _beat_until(self, done: threading.Event) -> None:
        """Beat on a connection of this thread's own, which no beat leaves open.

        One that fails is made up for by the next. What ended the upload meanwhile is
        noticed on publishing.
        """
        while not done.wait(_beat()):
            try:
                self._touch()
            except Exception:
                logger.exception("An upload could not give a sign of life")
            finally:
                connections[self.using].close()

    def _touch(self) -> int:
        self._beaten = time.monotonic()
        return self._own().update(modified=timezone.now())

    # -- publish

    def publish(self) -> list[Attachment]:
        """Make the files visible, in place of those that have their names.

        They are returned sorted by name. Raises `PreconditionFailed`, the errors of
        the limits, `SessionEnded`, and `Busy`; then nothing has changed. `ValueError`
        where there is no file, or one that is not finished.
        """
        writers = self.writers.values()
        if not writers or not all(writer.finished for writer in writers):
            raise ValueError("Not all files of the upload are finished")
        if self._name is None:
            self._settle()
        self.rows.sort(key=lambda row: row.name)
        try:
            retrying(self._publish, using=self.using)
        except Busy:
            # In a transaction of the caller's there was no COMMIT, and may be nobody to
            # ask: MariaDB ends the whole of it for a deadlock.
            if self.joined or not retrying(self._is_published, using=self.using):
                raise
        self.published = True
        for row in self.rows:
            row.state = State.STORED
        transaction.on_commit(self._announce, using=self.using, robust=True)
        return self.rows

    def _settle(self) -> None:
        """Check the limits once more, for the names and sizes that have arrived.

        What is reserved is a little more than that. Where it fits, nothing is written.
        """
        if self._fits:
            return
        replacing = Q(name_digest__in=[name_digest(name) for name in self.writers])
        try:
            self._check_quotas(replacing)
        except LimitError:
            self._shrink()
            self._check_quotas(replacing)

    def _shrink(self) -> None:
        """Give back what was reserved and has not arrived."""
        for row in self.rows:
            row.reserved = limits.billed(row.size)
            own = self._own().filter(pk=row.pk)
            retrying(partial(own.update, reserved=row.reserved), using=self.using)

    def _publish(self) -> None:
        now = timezone.now()
        with transaction.atomic(self.using, durable=not self.joined):
            # A write comes first, so that SQLite takes its lock before it reads.
            if self._own().update(modified=now) != len(self.rows):
                if self._is_published():
                    return
                raise SessionEnded
            held = self._holding(self.writers)
            self.replaced = list(held)
            self.precondition(self.replaced[0] if self.replaced else None)
            chosen = held.filter(pk__in=[row.pk for row in self.replaced])
            if chosen.doom(now) != len(self.replaced):
                raise Collision
            for row in self.rows:
                row.created = row.modified = now
                row.name_digest = name_digest(row.name)
                row.reserved = limits.billed(row.size)
                self._own().filter(pk=row.pk).update(
                    state=State.STORED,
                    name=row.name,
                    name_digest=row.name_digest,
                    size=row.size,
                    reserved=row.reserved,
                    mimetype=row.mimetype,
                    meta=row.meta,
                    created=now,
                    modified=now,
                )

    def _is_published(self) -> bool:
        """Whether a COMMIT came through that was reported as failed."""
        return self._all().stored().count() == len(self.rows)

    def _announce(self) -> None:
        sweep.announce(signals.removed, self.replaced)
        sweep.announce(signals.stored, self.rows)

    # -- fail

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.published:
            self._discard()

    def _discard(self) -> None:
        """Doom the rows, then remove what they point to.

        This process is the only one that writes them, and it has ended, so that the
        rows can go at once. One that was doomed by somebody else goes as well, and the
        bytes of one that is gone; one that turns out to be stored stays. What fails
        here is left to the sweep.
        """
        for writer in self.writers.values():
            with contextlib.suppress(AttachmentError):
                writer.sink.finish()
        now = timezone.now()
        try:
            if connections[self.using].needs_rollback:
                # The rows go with the transaction, and nobody can ask for them now.
                for row in self.rows:
                    storage.remove(row.storage, row.key)
                return
            retrying(lambda: self._own().doom(now), using=self.using)
            published = set(self._all().exclude(created=None))
            rest = [row for row in self.rows if row not in published]
            sweep.remove(rest, now, sweep.Report(), written=True)
        except Exception:
            logger.exception("An upload that failed is left to the sweep")

    # -- rows

    def _all(self) -> AttachmentQuerySet:
        return Attachment.objects.using(self.using).filter(
            pk__in=[row.pk for row in self.rows]
        )

    def _own(self) -> AttachmentQuerySet:
        return self._all().filter(state=State.UPLOADING)

    def _holding(self, names: list[str] | dict[str, Writer]) -> AttachmentQuerySet:
        return (
            Attachment.objects.using(self.using)
            .stored()
            .filter(
                bundle_digest=self.digest,
                name_digest__in=[name_digest(name) for name in names],
            )
        )


class Writer:
    """Takes the bytes of one file of an upload."""

    def __init__(self, upload: Upload, row: Attachment) -> None:
        self.upload, self.row = upload, row
        self.head = bytearray()
        self.finished = False
        self._weighed = 0
        self.digest = hashlib.sha256() if conf.sha256 else None
        self.sink = storage.Sink(
            row.storage, row.key, direct=storage.is_direct(upload.chosen)
        )

    def write(self, data: bytes) -> None:
        """Store the next bytes.

        Raises `TooLarge`, `IncompleteBody` for more bytes than the upload declared,
        `DiskFull`, `StorageFailed` and `SessionEnded`.
        """
        self.row.size += len(data)
        limits.check_file_size(self.row.size)
        if self.row.size - self._weighed >= limits.DISK_STEP:
            # Others have been writing since the upload began.
            limits.check_disk(self.sink.path.parent, len(data))
            self._weighed = self.row.size
        if sum(row.size for row in self.upload.rows) > self.upload.declared:
            raise IncompleteBody
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        if self.digest is not None:
            self.digest.update(data)
        self.sink.write(data)
        self.upload.beat()

    def finish(self, size: int | None = None) -> None:
        """Check the complete file and bring it into the storage.

        `size` is what must have arrived, in bytes, where that is known. Raises
        `IncompleteBody`, `TypeNotAllowed`, `Invalid`, `DiskFull` and `StorageFailed`;
        and `ValueError` where the site's chooser picks an unknown storage.
        """
        if size is not None and self.row.size != size:
            raise IncompleteBody
        with self.upload.beating() if self._may_wait() else contextlib.nullcontext():
            self._examine()
            candidates = self.upload.candidates_for(self.row)
            with storage.failures():
                self._deliver(list(candidates.items()))
        self.sink.finish()
        self.finished = True

    def _may_wait(self) -> bool:
        """Whether code of the site's, or a storage, may keep the file for long."""
        return (
            self.sink.target is None
            or bool(conf.validators)
            or conf.metadata is not None
        )

    def _examine(self) -> None:
        """Find out what the content is, and whether the site accepts it."""
        row = self.row
        sniffed = sniff(bytes(self.head))
        validators.check_type(row.name, sniffed, row.size)
        row.mimetype = validators.mimetype(sniffed)
        if conf.validators or conf.metadata is not None:
            validators.validate(self._opened)
            row.meta = validators.metadata(self._opened)
        if self.digest is not None:
            row.meta = {**row.meta, "sha256": self.digest.hexdigest()}

    def _opened(self) -> AttachmentFile:
        """The file before it is in its storage: it can be closed and opened again."""
        return AttachmentFile(self.row, self.sink.open).open()

    def _deliver(self, candidates: list[tuple[str, tuple[str, ...]]]) -> None:
        """Bring the file into the first storage that takes it.

        Raises what the last one raises.
        """
        row = self.row
        for index, (alias, exceptions) in enumerate(candidates):
            if alias != row.storage:
                self.upload.move(row, alias, leaves=index > 0)
            try:
                self.sink.deliver(alias, row.key, row.size)
                break
            except tuple(map(import_string, exceptions)):
                if index == len(candidates) - 1:
                    raise
                logger.exception("The storage %s failed; the next one is tried", alias)


def _beat() -> float:
    """Seconds between two signs of life: a quarter of the lease."""
    return conf.upload_lease.total_seconds() / 4
