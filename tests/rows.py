"""Rows and their files as a life cycle may have left them, made without it."""

import datetime

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.utils import timezone

from session_attachments import storage
from session_attachments.limits import billed
from session_attachments.models import Attachment, State
from session_attachments.names import bundle_digest, name_digest

PIN = "5e551011" * 8

NOW = datetime.timedelta()
MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


def unsaved(name="spam.txt", state=State.STORED, *, age=NOW, **fields):
    """A row that last changed so long ago; uploading and doomed ones never visible."""
    then = timezone.now() - age
    visible = state in (State.STORED, State.CLAIMED)
    fields = {"session_key": PIN, "bundle_id": "foo", "size": 5} | fields
    return Attachment(
        **{
            "state": state,
            "name": name,
            "bundle_digest": bundle_digest(fields["session_key"], fields["bundle_id"]),
            "name_digest": name_digest(name) if state == State.STORED else None,
            "storage": storage.alias(),
            "key": storage.new_key(joined=False),
            "reserved": billed(fields["size"]),
            "mimetype": "text/plain" if visible else "",
            "created": then if visible else None,
            "modified": then,
        }
        | fields
    )


def make(name="spam.txt", state=State.STORED, *, data=b"spam\n", **fields):
    """A row of the database and its file."""
    row = unsaved(name, state, **{"size": len(data)} | fields)
    row.save(force_insert=True)
    storages[row.storage].save(row.key, ContentFile(data))
    return row


def unremovable(name="stuck.txt", **fields):
    """A row whose key is a folder with something in it."""
    row = unsaved(name, **fields)
    row.save(force_insert=True)
    storages[row.storage].save(obstacle(row), ContentFile(b""))
    return row


def obstacle(row):
    """The key of what is in the way of an unremovable row."""
    return f"{row.key}/obstacle"


def exists(row):
    """Whether the file is there, of whatever became of the row."""
    return storages[row.storage].exists(row.key)
