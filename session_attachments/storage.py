"""Where the bytes are: which storage, under which key, and how they get there."""

from __future__ import annotations

import contextlib
import datetime
import errno
import inspect
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeGuard
from urllib.parse import parse_qs, urlsplit

from django.apps import apps
from django.conf import STATICFILES_STORAGE_ALIAS, settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db.models import FileField
from django.utils.module_loading import import_string

from .conf import conf
from .exceptions import AttachmentError, DiskFull, StorageFailed

logger = logging.getLogger("session_attachments")

ALIAS = "session_attachments"

#: Keys of files whose row was committed before their first byte.
PREFIX = "session_attachments"
#: Keys of files that were written inside a transaction of the site.
JOINED_PREFIX = "session_attachments_joined"
#: Hard links that were handed to other storages, to be moved.
LENT_PREFIX = "session_attachments_lent"
#: Names of temporary files on their way to a storage that is not a local folder.
SPOOL_PREFIX = "session-attachments-"


def candidates(using: str | None = None) -> dict[str, tuple[str, ...]]:
    """The aliases that new files go to, the first one that works.

    Each with the dotted paths of the exceptions that make a file move on to the next.
    An explicit choice, `using`, is the only one; raises `ValueError` where `STORAGES`
    does not have it.
    """
    if using is not None:
        return {known(using): ()}
    return dict(conf.storages) or {
        ALIAS if ALIAS in settings.STORAGES else "default": ()
    }


def alias(using: str | None = None) -> str:
    """The alias that new files go to first."""
    return next(iter(candidates(using)))


def chosen(*, name: str, size: int, mimetype: str, bundle_id: str) -> str | None:
    """The alias that the site's chooser picks for a file, or None.

    Raises `ValueError` for one that `STORAGES` does not have.
    """
    if conf.storage_chooser is None:
        return None
    alias: str | None = import_string(conf.storage_chooser)(
        name=name, size=size, mimetype=mimetype, bundle_id=bundle_id
    )
    return alias if alias is None else known(alias)


def all_aliases() -> set[str]:
    """The aliases that the site can save a file in, by whatever choice."""
    return settings.STORAGES.keys() - {STATICFILES_STORAGE_ALIAS}


def known(alias: str) -> str:
    """The alias; raises `ValueError` where `STORAGES` does not have it."""
    if alias not in settings.STORAGES:
        raise ValueError(f"STORAGES has no alias {alias!r}")
    return alias


def named(alias: str) -> Storage:
    """The storage; raises `StorageFailed` where `STORAGES` has it no more."""
    with failures():
        return storages[alias]


def new_key(*, joined: bool) -> str:
    """A random key that holds nothing of the visitor's and cannot be guessed."""
    token = secrets.token_hex(20)
    prefix = JOINED_PREFIX if joined else PREFIX
    return f"{prefix}/{token[:2]}/{token[2:4]}/{token}"


def is_local(storage: Storage) -> TypeGuard[FileSystemStorage]:
    """Whether bytes may be written to the storage's folder without asking it.

    Subclasses may encrypt, rename or move, so only Django's own class counts.
    """
    return type(storage) is FileSystemStorage


def is_inside(storage: Storage, folder: str | Path) -> bool:
    """Whether the storage is a plain local folder, this one or one below it."""
    return is_local(storage) and Path(storage.path("")).is_relative_to(folder)


def is_direct(using: str | None = None) -> bool:
    """Whether a new file is written under its final path at once.

    With a choice, or a storage that is not simply a local folder, its bytes wait in a
    temporary file until they are complete.
    """
    if using is None and conf.storage_chooser is not None:
        return False
    names = candidates(using)
    return len(names) == 1 and is_local(storages[alias(using)])


def can_be_listed(storage: Storage) -> bool:
    """Whether its files can be found, and their age, without a row that names them.

    What Django's own `Storage` leaves to its subclasses, they may leave out.
    """
    return all(
        getattr(type(storage), name, None) is not getattr(Storage, name)
        for name in ("listdir", "get_modified_time")
    )


def signed_url(storage: Storage, key: str, expire: int, **sent: str) -> str | None:
    """An address for `expire` seconds, with parts of its answer in what is signed.

    Those are S3's response parameters, such as `ResponseContentType`. None where the
    storage signs no addresses, or none with these: one for a public bucket, or for
    another product. Raises what the storage raises.
    """
    if not {"parameters", "expire"} <= inspect.signature(storage.url).parameters.keys():
        return None
    url: str = storage.url(key, parameters=sent, expire=expire)  # type: ignore[call-arg]
    names = parse_qs(urlsplit(url).query).keys()
    is_signed = any(name.lower().endswith("signature") for name in names)
    return url if is_signed and "response-content-disposition" in names else None


def signs(storage: Storage) -> bool:
    """Whether the storage gives such addresses.

    Yes, too, where it has nothing to sign with at the moment.
    """
    try:
        url = signed_url(storage, PREFIX, 1, ResponseContentDisposition="attachment")
    except Exception:
        return True
    return url is not None


def spool_folder() -> Path:
    """Where temporary files go: FILE_UPLOAD_TEMP_DIR or the system's."""
    return Path(settings.FILE_UPLOAD_TEMP_DIR or tempfile.gettempdir())


def spool_path(key: str) -> Path:
    """The temporary file of the row that has this key."""
    return spool_folder() / f"{SPOOL_PREFIX}{key.rsplit('/', 1)[-1]}"


def first_folder(using: str | None = None) -> Path:
    """The local folder that a new file's bytes go to first."""
    if not is_direct(using):
        return spool_folder()
    return Path(storages[alias(using)].path(""))


def has_room(folder: Path, size: int) -> bool:
    """Whether `size` more bytes in the folder leave as much free as the site wants."""
    free = shutil.disk_usage(existing(folder)).free
    return free - size >= conf.min_free_space


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def lend(storage_alias: str, key: str) -> Path:
    """A fresh hard link to a file of a local storage, for another storage to move.

    Raises `FileNotFoundError` where the file is gone, and another `OSError` where there
    can be no link, or where it may not be moved but copied: across file systems Django
    copies, and does not notice when the disk is full.
    """
    storage = storages[storage_alias]
    if not is_local(storage) or len(set(_devices())) > 1:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    link = Path(storage.path(LENT_PREFIX)) / f"{Path(key).name}-{secrets.token_hex(4)}"
    _make_folders(link.parent, storage.directory_permissions_mode)
    os.link(storage.path(key), link)
    return link


def _devices() -> Iterator[int]:
    """The file systems of all folders that the site can save a file in."""
    for alias in all_aliases():
        with contextlib.suppress(ImproperlyConfigured):  # Then it can save nothing.
            yield from _device(storages[alias])
    for model in apps.get_models():
        for field in model._meta.fields:
            if isinstance(field, FileField):
                yield from _device(field.storage)


def _device(storage: Storage) -> Iterator[int]:
    if isinstance(storage, FileSystemStorage):
        yield existing(Path(storage.location)).stat().st_dev


def remove_links(storage_alias: str, before: datetime.datetime) -> int:
    """Remove links that were made before this time; return how many.

    A link shares its file's time of modification. The last change of the inode is when
    it was linked, or later.
    """
    storage = storages[storage_alias]
    removed = 0
    if is_local(storage):
        for link in Path(storage.path(LENT_PREFIX)).glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if link.stat().st_ctime < before.timestamp():
                    link.unlink()
                    removed += 1
    return removed


def open_key(storage_alias: str, key: str) -> File[bytes]:
    """Open a file for reading; raises `FileNotFoundError` and `StorageFailed`."""
    with missing_or_failed():
        return storages[storage_alias].open(key, "rb")


@contextlib.contextmanager
def missing_or_failed() -> Iterator[None]:
    """Turn all that a storage raises, but `FileNotFoundError`, into `StorageFailed`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        logger.exception("The attachment storage failed")
        raise StorageFailed from error


def times(storage_alias: str, key: str) -> dict[str, datetime.datetime | None]:
    """When the storage says that it has created and modified the file.

    Raises `FileNotFoundError` and `StorageFailed`.
    """
    storage = named(storage_alias)
    found: dict[str, datetime.datetime | None] = {}
    for name, ask in (
        ("created", storage.get_created_time),
        ("modified", storage.get_modified_time),
    ):
        found[name] = None
        with missing_or_failed(), contextlib.suppress(NotImplementedError):
            try:
                found[name] = ask(key)
            except NotImplementedError:
                raise
            except Exception as error:
                if _may_exist(storage, key):
                    raise
                raise FileNotFoundError(key) from error
    return found


def remove(storage_alias: str, key: str) -> None:
    """Remove the bytes, wherever an upload may have left them; missing is fine.

    Raises whatever the storage raises.
    """
    storage = storages[storage_alias]
    if not is_local(storage):
        spool_path(key).unlink(missing_ok=True)
    try:
        storage.delete(key)
    except FileNotFoundError:
        pass
    except Exception:
        if _may_exist(storage, key):
            raise


def _may_exist(storage: Storage, key: str) -> bool:
    """Whether the file is there, or the storage cannot say so.

    For all that is in a folder which cannot be read, Django says that it is not there.
    """
    if isinstance(storage, FileSystemStorage):
        return True
    try:
        return storage.exists(key)
    except Exception:
        return True


def joined_keys(storage_alias: str, before: datetime.datetime) -> Iterator[str]:
    """Keys under the joined prefix whose file was last written before this time.

    Raises `NotImplementedError` for a storage that cannot be listed.
    """
    storage = storages[storage_alias]
    folders = [JOINED_PREFIX]
    while folders:
        folder = folders.pop()
        try:
            subfolders, names = storage.listdir(folder)
        except FileNotFoundError:
            continue
        folders += [f"{folder}/{name}" for name in subfolders]
        for name in names:
            key = f"{folder}/{name}"
            # What another sweep has just removed is no stray any more.
            with contextlib.suppress(FileNotFoundError):
                if storage.get_modified_time(key) < before:
                    yield key


def spools(before: datetime.datetime) -> Iterator[Path]:
    """This machine's temporary files that were last written before this time."""
    for path in spool_folder().glob(f"{SPOOL_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < before.timestamp():
                yield path


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn what a disk or a storage raises into `DiskFull` or `StorageFailed`."""
    try:
        yield
    except AttachmentError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull from error
        logger.exception("The attachment storage failed")
        raise StorageFailed from error


class Sink:
    """Takes the bytes of one file and brings them into its storage.

    A local folder that is the only candidate gets them under their final path at once;
    any other storage gets them from a temporary file, when they are complete and
    checked.

    Once it is created, the file is used by its descriptor: one that a sweep removes
    meanwhile is no failure of the storage. Its row tells what has happened.
    """

    def __init__(self, storage_alias: str, key: str, *, direct: bool) -> None:
        self.key = key
        self.target = storages[storage_alias] if direct else None
        self.path = Path(self.target.path(key)) if self.target else spool_path(key)
        with failures():
            self.file = self._create()

    def _create(self) -> BinaryIO:
        mode = 0o600
        if isinstance(self.target, FileSystemStorage):
            _make_folders(self.path.parent, self.target.directory_permissions_mode)
            if self.target.file_permissions_mode is None:
                mode = 0o666
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        return open(os.open(self.path, flags, mode), "w+b", buffering=0)

    def write(self, data: bytes) -> None:
        """Write all of `data`; raises `DiskFull` and `StorageFailed`."""
        view = memoryview(data)
        with failures():
            while view:
                view = view[self.file.write(view) :]

    def open(self) -> BinaryIO:
        """The complete file, for reading; the caller closes it."""
        with failures():
            self.file.seek(0)
            return open(os.dup(self.file.fileno()), "rb")

    def close(self) -> None:
        """Close the file that is written to. May be called again."""
        with failures():
            self.file.close()

    def deliver(self, storage_alias: str, key: str, size: int) -> None:
        """Bring the complete file into the storage and see that all of it is there.

        Raises what the storage raises, and `OSError` where it keeps fewer than `size`
        bytes, or under another name.
        """
        if isinstance(self.target, FileSystemStorage):
            if self.target.file_permissions_mode is not None:
                os.fchmod(self.file.fileno(), self.target.file_permissions_mode)
            arrived = os.fstat(self.file.fileno()).st_size
        else:
            arrived = self._hand_over(storages[storage_alias], key, size)
        if arrived < size:  # One that encrypts may keep more.
            raise OSError(f"The storage keeps {arrived} of {size} bytes")

    def _hand_over(self, target: Storage, key: str, size: int) -> int:
        if is_local(target) and not has_room(Path(target.path("")), size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self.open() as spool:
            name = target.save(key, File(spool, name=key))
        if name != key:
            # Nobody could find it again by its row.
            target.delete(name)
            raise OSError("The storage renames files")
        return target.size(key)

    def finish(self) -> None:
        """Close the file, and remove it where it is temporary."""
        self.close()
        if self.target is None:
            with failures():
                self.path.unlink(missing_ok=True)


def _make_folders(folder: Path, mode: int | None) -> None:
    """`makedirs` with Django's permissions, without touching the process's umask."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        if mode is not None:
            folder.chmod(mode)
