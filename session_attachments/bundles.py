"""One bundle of a visitor's files, as a mapping of name to attachment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from django.core.files import File
from django.http import HttpRequest
from django.utils import timezone

from . import access, claims, limits, signals, sweep
from .conf import conf
from .exceptions import BadName, LengthRequired, NotFound
from .models import Attachment, AttachmentFile, AttachmentQuerySet
from .names import bundle_digest, canonical, checked_bundle_id, name_digest
from .store import Precondition, Upload, unconditional


class Bundle:
    """The files that a visitor has gathered under one id.

        bundle = Bundle(request, "compose-42")
        bundle.save("cv.pdf", file)
        bundle["cv.pdf"].open()
        list(bundle), len(bundle), "cv.pdf" in bundle
        del bundle["cv.pdf"]
        bundle.clear()
        with bundle.claim() as files: ...

    `visitor` is a request or a session. Names are taken in any form and made canonical;
    iteration is by name, in the order of code points. Reading never creates a session.

    Raises `BadBundle` for an id that cannot be one.
    """

    def __init__(self, visitor: HttpRequest | access.Session, bundle_id: str) -> None:
        self.id = checked_bundle_id(bundle_id)
        self.session = access.session_of(visitor)

    def __repr__(self) -> str:
        return f"<Bundle {self.id!r}>"

    def attachments(self) -> AttachmentQuerySet:
        """The stored rows of this bundle."""
        rows = access.attachments_of(self.session)
        key = access.pinned(self.session)
        if key is None:
            return rows
        return rows.stored().filter(bundle_digest=bundle_digest(key, self.id))

    def values(self) -> list[Attachment]:
        """The attachments, in the order of their names' code points."""
        rows = sorted(self.attachments(), key=lambda row: row.name)
        if rows:
            access.keep_pin(self.session)
        return rows

    def keys(self) -> list[str]:
        """The names, in the order of their code points."""
        return sorted(self.attachments().values_list("name", flat=True))

    def items(self) -> list[tuple[str, Attachment]]:
        """Names and attachments, in the order of the names' code points."""
        return [(row.name, row) for row in self.values()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return self.attachments().count()

    def __bool__(self) -> bool:
        return self.attachments().exists()

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self._named(name).exists()
        except BadName:
            return False

    def __getitem__(self, name: str) -> Attachment:
        """The attachment; raises `NotFound`, which is a KeyError, and `BadName`."""
        row = self._named(name).first()
        if row is None:
            raise NotFound
        return row

    def get(self, name: str) -> Attachment | None:
        """The attachment, or None."""
        try:
            return self[name]
        except (NotFound, BadName):
            return None

    def __delitem__(self, name: str) -> None:
        """Remove the file; raises `NotFound` and `BadName`."""
        self.remove(name)

    def remove(self, name: str, *, precondition: Precondition = unconditional) -> None:
        """Remove the file if it is the expected one.

        Raises `NotFound`, `BadName` and `PreconditionFailed`.
        """
        row = self[name]
        precondition(row)
        if not self._remove(self.attachments().filter(pk=row.pk)):
            raise NotFound

    def clear(self) -> int:
        """Remove all files; return how many there were."""
        return self._remove(self.attachments())

    def save(
        self,
        name: str,
        file: File[Any],
        *,
        using: str | None = None,
        check: Callable[[Attachment], None] = lambda row: None,
    ) -> Attachment:
        """Store the file under the name, in place of one that has it.

        `using` is the alias of the storage it goes to, whatever is configured. `check`
        sees the row of the complete file, and may raise: then nothing has changed.
        Outside a transaction it is committed when this returns; inside one it becomes
        visible with the transaction. Raises what `upload` and its writer raise, and
        `LengthRequired` for a file that does not say its size, where no limit does.
        """
        size = _size_of(file)
        most = conf.max_file_size if size is None else size
        if most is None:
            raise LengthRequired
        limits.check_file_size(most)
        with self.upload(declared=most, name=name, using=using) as upload:
            writer = upload.add(name)
            for chunk in file.chunks():
                writer.write(chunk)
            writer.finish(size)
            check(writer.row)
            return upload.publish()[0]

    def upload(
        self,
        *,
        declared: int,
        name: str | None = None,
        using: str | None = None,
        precondition: Precondition = unconditional,
    ) -> Upload:
        """Begin to store files, all of them or none; see `store.Upload`.

        Creates the session, where there is none; but not for being refused.
        """
        if name is not None:
            name = canonical(name)
        if access.pinned(self.session) is None:
            precondition(None)
            limits.check_room(declared, form=name is None, using=using)
        return Upload(
            access.pin(self.session),
            self.id,
            declared=declared,
            name=name,
            using=using,
            precondition=precondition,
        )

    @contextlib.contextmanager
    def claim(self) -> Iterator[list[AttachmentFile]]:
        """Take the files over, all of them or none, once; see `claims.claim`."""
        with claims.claim([row.as_file() for row in self.values()]) as files:
            yield files

    def _named(self, name: str) -> AttachmentQuerySet:
        return self.attachments().filter(name_digest=name_digest(canonical(name)))

    def _remove(self, rows: AttachmentQuerySet) -> int:
        doomed = sweep.doom(rows, timezone.now())
        sweep.remove_on_commit(doomed, signals.removed)
        return len(doomed)


def _size_of(file: File[Any]) -> int | None:
    """The file's size in bytes, or None where it does not say."""
    try:
        return file.size
    except AttributeError:
        return None
