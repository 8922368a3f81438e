import secrets
from pathlib import PurePath

from django.core.files.storage import storages
from django.db import models


def sent_storage():
    return storages["sent"]


def unguessable(instance, filename):
    """A path without the visitor's text in it: the name is a column."""
    return secrets.token_hex(16)


class Mail(models.Model):
    """A mail that was sent: it goes nowhere, the demo only keeps it."""

    # Whose it is: a random value that the sender's session holds.
    mailbox = models.CharField(max_length=43, db_index=True)
    to = models.EmailField("To")
    subject = models.CharField(max_length=200)
    message = models.TextField(blank=True)
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-sent_at", "-pk")

    def __str__(self):
        return self.subject


class MailFile(models.Model):
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=255)
    document = models.FileField(storage=sent_storage, upload_to=unguessable)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name

    @property
    def size(self):
        """In bytes; None where the file is gone from the disk."""
        try:
            return self.document.size
        except FileNotFoundError:
            return None

    @property
    def kind(self):
        """The letters of its icon: the extension, where it has a short one."""
        extension = PurePath(self.name).suffix[1:]
        return extension.upper() if len(extension) <= 4 else ""
