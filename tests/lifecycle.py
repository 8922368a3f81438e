"""What the tests of the life cycle share: visitors, their files, what is left."""

import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar

import pytest
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import connections
from django.utils import timezone

from session_attachments import storage
from session_attachments.bundles import Bundle
from session_attachments.exceptions import PreconditionFailed
from session_attachments.models import Attachment, State
from session_attachments.sweep import remove_outdated

DAY = timedelta(days=1)
OLD_AGE = timedelta(days=10_000)
LOCAL = "django.core.files.storage.FileSystemStorage"
MEMORY = "django.core.files.storage.InMemoryStorage"
MINIMAL = f"{__name__}.Minimal"


class Cabinet(FileSystemStorage):
    """As Django's, but for all that this library can know it is not."""


class Down(FileSystemStorage):
    """Takes the bytes, and fails then."""

    def _save(self, name, content):
        super()._save(name, content)
        raise OSError("down")


class Minimal(Storage):
    """What Django asks of a storage, and nothing that may be left out.

    It calls it an error, of its own kind, to delete what is not there.
    """

    kept: ClassVar[dict[str, bytes]] = {}

    def _open(self, name, mode="rb"):
        if name not in self.kept:
            raise FileNotFoundError(name)
        return ContentFile(self.kept[name])

    def _save(self, name, content):
        self.kept[name] = content.read()
        return name

    def delete(self, name):
        del self.kept[name]

    def exists(self, name):
        return name in self.kept

    def size(self, name):
        return len(self.kept[name])


def use_storage(settings, backend, **options):
    """Let attachments go to this storage."""
    if backend not in (MEMORY, MINIMAL):
        options = {"location": settings.FOLDERS["attachments"]} | options
    settings.STORAGES = settings.STORAGES | {
        storage.ALIAS: {"BACKEND": backend, "OPTIONS": options}
    }


def visitor():
    """The session of somebody new."""
    session = SessionStore()
    session.create()
    return session


def new_bundle(bundle_id="foo"):
    """A bundle of somebody new."""
    return Bundle(visitor(), bundle_id)


def put(bundle, name="spam.txt", data=b"spam\n"):
    return bundle.save(name, ContentFile(data))


def read(attachment):
    with attachment.open() as file:
        return file.read()


def new_only(current):
    """The precondition of an upload that replaces nothing."""
    if current is not None:
        raise PreconditionFailed


def contents(bundle):
    """What a visitor sees: name to bytes."""
    return {name: read(row) for name, row in bundle.items()}


def files():
    """Everything that lies in the storage or is on its way there."""
    uploads = settings.FOLDERS["uploads"]
    return {*_keys(""), *(path.name for path in uploads.iterdir())}


def _keys(folder):
    try:
        folders, names = storages[storage.alias()].listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        yield f"{folder}/{name}".lstrip("/")
    for name in folders:
        yield from _keys(f"{folder}/{name}".lstrip("/"))


def states():
    """How many rows there are in each state."""
    rows = Attachment.objects.values_list("state", flat=True)
    return {state.value: n for state in State if (n := list(rows).count(state))}


def assert_only(*kept):
    """No row and no file but those of these attachments, which are stored."""
    rows = Attachment.objects.values_list("pk", "state")
    assert set(rows) == {(row.pk, State.STORED) for row in kept}
    assert files() == {row.key for row in kept}


def sweep_all():
    """Sweep until every writer must be dead; expire nothing."""
    now = timezone.now()
    for later in (DAY, 3 * DAY):
        remove_outdated(lifetime=OLD_AGE, now=now + later)


@contextmanager
def ends_with(error):
    """The block, in one of its statements, ends with this error."""
    with pytest.raises(error):
        yield


def crash_with(error):
    """A function that raises it, whatever it is asked."""

    def crash(*args, **kwargs):
        raise error

    return crash


def in_parallel(*calls):
    """Call all at the same moment; return what each has returned or raised."""
    results = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(index, call):
        try:
            start.wait()
            results[index] = call()
        except BaseException as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=run, args=numbered) for numbered in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def elsewhere(call):
    """Call it on a connection of its own, as another process would; its result."""
    [result] = in_parallel(call)
    if isinstance(result, BaseException):
        raise result
    return result


def before(monkeypatch, owner, name, call, *, times=1):
    """Do something at the moment when `owner.name` is called, the first `times`."""
    original = getattr(owner, name)
    left = [times]

    def hooked(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            call()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, hooked)
