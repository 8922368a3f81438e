"""One row is one file, from before its first byte until after its last."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.files import File
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import storage
from .exceptions import ClaimConflict


class State(models.TextChoices):
    """Where a row is in the life of its file."""

    UPLOADING = "uploading", _("uploading")
    STORED = "stored", _("stored")
    CLAIMED = "claimed", _("claimed")
    DOOMED = "doomed", _("to be removed")


def new_public_id() -> str:
    """128 random bits, as 32 hex digits."""
    return secrets.token_hex(16)


class AttachmentFile(File):  # type: ignore[type-arg]
    """A file for reading: `name`, `size` (bytes), `content_type`, `attachment`.

    Opened by its first use, by the `opener` where the bytes are not in their storage
    yet; who has used it closes it. Raises `FileNotFoundError` where the bytes are gone,
    `StorageFailed` where the storage fails.
    """

    def __init__(
        self, attachment: Attachment, opener: Callable[[], Any] | None = None
    ) -> None:
        self._file: Any = None
        self._opener = opener
        self._links: list[Path] = []
        self._spare: Path | None = None
        self.name = attachment.name
        self.size = attachment.size
        self.content_type = attachment.mimetype
        self.attachment = attachment
        self.mode = "rb"

    def __del__(self) -> None:
        # Not `self.close`, which Django replaces by that of a `FileResponse`: that ends
        # the request, and this may run in the middle of another one.
        AttachmentFile.close(self)

    @property
    def file(self) -> Any:  # type: ignore[override]
        """The open file of the storage."""
        if self._file is None:
            row = self.attachment
            opener = self._opener or partial(storage.open_key, row.storage, row.key)
            self._file = opener()
        return self._file

    @property
    def closed(self) -> bool:
        return self._file is None or self._file.closed

    def readable(self) -> bool:
        return self._file is None or super().readable()

    def seekable(self) -> bool:
        return self._file is None or super().seekable()

    def open(self, mode: str | None = None) -> AttachmentFile:  # type: ignore[override]
        """Open the file, or go back to its beginning. For reading only.

        Nothing is read of a file that was closed: some storages fetch all of it then.
        """
        if mode not in (None, "rb"):
            raise ValueError("Attachments are opened for reading, as bytes.")
        if self.closed:
            self._file = None
            self.file  # noqa: B018  # Opens it.
        else:
            self.file.seek(0)
        return self

    def close(self) -> None:
        """Close the file, and remove the links that nobody has moved.

        Its next use opens it again.
        """
        if self._file is not None:
            self._file.close()
            self._file = None
        self._spare = None
        while self._links:
            self._links.pop().unlink(missing_ok=True)

    @property
    def temporary_file_path(self) -> Callable[[], str]:
        """Gives the path of a fresh hard link to the file, which the caller may move.

        Never the file's own path: that is the only copy, until a claim is committed.
        Both names share one inode, and so its permissions. Missing where no storage of
        the site can take the file by moving it: then it is to be read.
        """
        if self._spare is None:
            try:
                self._spare = self._lend()
            except OSError as error:
                raise AttributeError("The file can only be read") from error
        return self._give_link

    def _give_link(self) -> str:
        link, self._spare = self._spare or self._lend(), None
        return str(link)

    def _lend(self) -> Path:
        link = storage.lend(self.attachment.storage, self.attachment.key)
        self._links.append(link)
        return link


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    """Rows of files."""

    def primary(self) -> AttachmentQuerySet:
        """The rows where they are written, never a replica's older copy."""
        return self.using(router.db_for_write(self.model))

    def stored(self) -> AttachmentQuerySet:
        """Those that are complete and visible."""
        return self.filter(state=State.STORED)

    def claimed(self) -> AttachmentQuerySet:
        """Those that objects of the site own."""
        return self.filter(state=State.CLAIMED)

    def doom(self, now: datetime.datetime) -> int:
        """Take these rows out of use; return how many nobody took first."""
        return self.exclude(state=State.DOOMED).update(
            state=State.DOOMED, name_digest=None, modified=now
        )


class Attachment(models.Model):
    """One file: who owns it, what it is called, where its bytes are."""

    public_id = models.CharField(
        _("public id"), max_length=32, unique=True, default=new_public_id
    )
    state = models.CharField(
        _("state"), max_length=9, choices=State.choices, default=State.UPLOADING
    )
    #: The pin of the session, which no browser has ever seen.
    session_key = models.CharField(max_length=64, db_index=True)
    bundle_id = models.CharField(_("bundle"), max_length=255)
    name = models.CharField(_("name"), max_length=255)
    bundle_digest = models.CharField(max_length=64)
    #: Set only while the row is stored, so that a name is taken at most once.
    name_digest = models.CharField(max_length=64, null=True)  # noqa: DJ001
    storage = models.CharField(_("storage"), max_length=255)
    key = models.CharField(_("key"), max_length=255)
    size = models.BigIntegerField(_("size"), default=0)
    #: Bytes that the row is billed with, while it exists.
    reserved = models.BigIntegerField(default=0)
    mimetype = models.CharField(_("type"), max_length=255)
    #: What the site's METADATA has found out.
    meta = models.JSONField(_("metadata"), default=dict, blank=True)
    #: The object that has claimed the file, and the name of its field. No constraint:
    #: a site may have this table in a database of its own.
    content_type = models.ForeignKey(
        ContentType,
        models.CASCADE,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    object_id = models.CharField(max_length=255, blank=True)
    field = models.CharField(_("field"), max_length=255, blank=True)
    owner = GenericForeignKey()
    #: When the file became visible; null until then.
    created = models.DateTimeField(_("created"), null=True)
    #: The last sign of life: progress while uploading, then the change of state.
    modified = models.DateTimeField(_("modified"))
    #: When the last claim began: until it must have ended, the file does not expire.
    lent = models.DateTimeField(null=True)

    objects = AttachmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        constraints = [
            models.UniqueConstraint(
                fields=["bundle_digest", "name_digest"],
                name="session_attachments_one_per_name",
            )
        ]
        indexes = [
            # The content type alone is found by it as well.
            models.Index(
                fields=["content_type", "object_id"], name="session_att_owner"
            ),
            # Alone it is all that the sum over the site has to read.
            models.Index(fields=["reserved"], name="session_att_reserved"),
            models.Index(fields=["state", "created"], name="session_att_state_created"),
            models.Index(
                fields=["state", "modified"], name="session_att_state_modified"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def etag(self) -> str:
        """The strong entity tag (RFC 9110, section 8.8.3), with its quotes."""
        return f'"{self.public_id}"'

    def claim_for(self, instance: models.Model, field: str) -> None:
        """Give the file to an object of the site, which then decides who may have it.

        It leaves its session and its limits, does not expire, and is deleted with the
        object, whose model lists its files by a `GenericRelation` to this model. Takes
        effect with the caller's transaction.

        Raises `ClaimConflict` where the file is not there to be taken any more, and
        `TypeError` for an object that is not saved, or has no such relation.
        """
        relations = (f for f in instance._meta.private_fields if f.related_model)
        if instance._state.adding or not any(
            relation.related_model is Attachment for relation in relations
        ):
            raise TypeError(f"{instance!r} has no GenericRelation to attachments")
        taken = {
            "state": State.CLAIMED,
            "name_digest": None,
            "session_key": "",
            "reserved": 0,
            "content_type": ContentType.objects.get_for_model(instance),
            "object_id": str(instance.pk),
            "field": field,
            "modified": timezone.now(),
        }
        row = Attachment.objects.primary().stored().filter(pk=self.pk)
        if not row.update(**taken):
            raise ClaimConflict
        for name, value in taken.items():
            setattr(self, name, value)

    def open(self) -> AttachmentFile:
        """Open the file for reading; the caller closes it.

        Raises `FileNotFoundError` where the file is gone, `StorageFailed` where its
        storage fails.
        """
        return self.as_file().open()

    def as_file(self) -> AttachmentFile:
        """The file as any `FileField` takes it, not yet opened."""
        return AttachmentFile(self)


class SubmittedBundle(models.Model):
    """That a form's bundle was submitted, so that it is not taken for an empty one."""

    digest = models.CharField(max_length=64, primary_key=True)
    times = models.PositiveIntegerField()
    #: The last time.
    modified = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.digest
