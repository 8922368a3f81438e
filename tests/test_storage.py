"""Where the bytes are, on any storage of Django's."""

import os
import re
import stat
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import (
    FileSystemStorage,
    InMemoryStorage,
    Storage,
    storages,
)

from session_attachments import storage, store
from session_attachments.exceptions import DiskFull, StorageFailed, TypeNotAllowed
from session_attachments.models import Attachment
from tests.lifecycle import (
    LOCAL,
    MEMORY,
    MINIMAL,
    Cabinet,
    Minimal,
    assert_only,
    before,
    crash_with,
    files,
    new_bundle,
    put,
    read,
    use_storage,
)

pytestmark = pytest.mark.django_db(transaction=True)

CABINET = "tests.lifecycle.Cabinet"
LATER = datetime(2100, 1, 1, tzinfo=timezone.utc)
EARLIER = datetime(2000, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def umask():
    """A umask that shows where it has been used."""
    old = os.umask(0o027)
    yield
    os.umask(old)


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def sink(key):
    return storage.Sink(storage.alias(), key, direct=storage.is_direct())


def deliver(sink, size):
    """What a writer does with a complete file."""
    with closing(sink.file), storage.failures():
        sink.deliver(storage.alias(), sink.key, size)
        sink.finish()


def new_sink():
    return sink(storage.new_key(joined=False))


# -- names


def test_alias__is_ours_where_the_site_has_it(settings):
    assert storage.alias() == "session_attachments"
    settings.STORAGES = {"default": {"BACKEND": LOCAL}}
    assert storage.alias() == "default"


def test_new_key__holds_nothing_of_the_visitors():
    keys = [storage.new_key(joined=joined) for joined in (False, True) for _ in "abc"]
    assert len(set(keys)) == 6
    for key, prefix in zip(
        keys, [storage.PREFIX] * 3 + [storage.JOINED_PREFIX] * 3, strict=True
    ):
        assert re.fullmatch(rf"{prefix}/(..)/(..)/\1\2[0-9a-f]{{36}}", key)


def test_is_local__is_djangos_own_class_only():
    assert storage.is_local(FileSystemStorage())
    assert not storage.is_local(Cabinet())
    assert not storage.is_local(InMemoryStorage())


# -- a local folder


def test_local__bytes_are_written_once(monkeypatch):
    """Straight to their final path, where nobody else can read them until the end."""
    with new_bundle().upload(declared=5, name="a") as upload:
        writer = upload.add("a")
        path = Path(storages[storage.alias()].path(writer.row.key))
        writer.write(b"spam\n")
        assert path.read_bytes() == b"spam\n"
        assert mode(path) == 0o600
        inode = path.stat().st_ino
        writer.finish()
        upload.publish()
    assert path.stat().st_ino == inode
    assert files() == {writer.row.key}


@pytest.mark.parametrize("file_mode", [0o644, 0o640, None])
@pytest.mark.parametrize("folder_mode", [0o750, 0o2755, None])
def test_local__permissions_are_those_that_django_gives(
    settings, monkeypatch, umask, file_mode, folder_mode
):
    """But without a change of the umask, which all threads share."""
    settings.FILE_UPLOAD_PERMISSIONS = file_mode
    settings.FILE_UPLOAD_DIRECTORY_PERMISSIONS = folder_mode
    with monkeypatch.context() as context:
        context.delattr(os, "umask")
        key = put(new_bundle()).key
    django = storages[storage.alias()]
    theirs = Path(django.path(django.save("a/b/c/d", ContentFile(b""))))
    ours = Path(django.path(key))
    assert mode(ours) == mode(theirs)
    for _ in range(3):
        ours, theirs = ours.parent, theirs.parent
        assert mode(ours) == mode(theirs)


def test_local__never_overwrites():
    key = storage.new_key(joined=False)
    first = sink(key)
    first.write(b"first")
    with pytest.raises(StorageFailed):
        sink(key)
    deliver(first, 5)
    with storage.open_key(storage.alias(), key) as file:
        assert file.read() == b"first"


def test_local__never_follows_a_link(settings):
    key = storage.new_key(joined=False)
    path = Path(storages[storage.alias()].path(key))
    path.parent.mkdir(parents=True)
    path.symlink_to(settings.FOLDERS["media"] / "target")
    with pytest.raises(StorageFailed):
        sink(key)
    assert not (settings.FOLDERS["media"] / "target").exists()


def test_local__folder_is_made_by_two_at_once(monkeypatch):
    """One sees that it is missing and the other has made it before."""
    mkdir = Path.mkdir

    def slow(self, **kwargs):
        mkdir(self, **kwargs)
        mkdir(self, **kwargs)

    monkeypatch.setattr(Path, "mkdir", slow)
    assert read(put(new_bundle())) == b"spam\n"


# -- any other storage


@pytest.mark.parametrize("backend", [CABINET, MEMORY])
def test_spool__is_gone_before_the_file_is_visible(settings, monkeypatch, backend):
    use_storage(settings, backend)
    spools = settings.FOLDERS["uploads"]
    seen = []
    before(
        monkeypatch,
        storage.Sink,
        "deliver",
        lambda: seen.extend((path.name, mode(path)) for path in spools.iterdir()),
    )
    before(monkeypatch, store.Upload, "_publish", lambda: seen.append(files()))
    row = put(new_bundle())
    token = row.key.rsplit("/", 1)[-1]
    assert seen == [(f"session-attachments-{token}", 0o600), {row.key}]
    assert_only(row)


def test_spool__is_where_django_has_its_own(settings):
    use_storage(settings, MEMORY)
    assert storage.spool_folder() == settings.FOLDERS["uploads"]
    settings.FILE_UPLOAD_TEMP_DIR = None
    assert storage.spool_folder().is_dir()


def test_spool__is_read_again_by_a_storage_that_tries_twice(settings):
    use_storage(settings, "tests.test_storage.Stubborn")
    assert read(put(new_bundle())) == b"spam\n"


class Stubborn(FileSystemStorage):
    """Reads all, then again: by `read`, `seek`, `chunks`, and knows the size."""

    def _save(self, name, content):
        assert content.size == 5
        assert content.read() == b"spam\n"
        content.seek(0)
        assert b"".join(content.chunks()) == b"spam\n"
        return super()._save(name, content)


# -- every storage


@pytest.fixture(params=[LOCAL, CABINET, MEMORY])
def any_storage(request, settings):
    use_storage(settings, request.param)


def test_sink__reads_what_was_written(any_storage):
    written = new_sink()
    written.write(b"spam")
    for _ in range(2):
        with written.open() as file:
            assert file.read() == b"spam"
    deliver(written, 4)
    assert written.file.closed
    written.close()


def test_sink__another_size_is_a_failure(any_storage):
    short = new_sink()
    short.write(b"spam")
    with pytest.raises(StorageFailed):
        deliver(short, 5)


def test_remove__missing_is_fine(any_storage):
    row = put(new_bundle())
    for _ in range(2):
        storage.remove(row.storage, row.key)
    assert files() == set()


def test_remove__missing_is_an_error_for_the_storage_only(settings):
    use_storage(settings, MINIMAL)
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = []
    for _ in range(2):
        with pytest.raises(TypeNotAllowed):
            put(new_bundle())
    assert not Attachment.objects.exists()


def test_remove__what_is_still_there_is_an_error(settings, monkeypatch):
    """And what may be: the row is all that leads to it."""
    use_storage(settings, MINIMAL)
    row = put(new_bundle())
    monkeypatch.setattr(Minimal, "delete", crash_with(ConnectionError("no")))
    with pytest.raises(ConnectionError, match="no"):
        storage.remove(row.storage, row.key)
    monkeypatch.setattr(Minimal, "exists", crash_with(ZeroDivisionError))
    with pytest.raises(ConnectionError, match="no"):
        storage.remove(row.storage, row.key)


@pytest.mark.parametrize("backend", [LOCAL, CABINET])
def test_remove__a_disk_that_cannot_say_is_not_believed(settings, monkeypatch, backend):
    """Where a folder cannot be read, `exists` is False for all that is in it."""
    use_storage(settings, backend)
    row = put(new_bundle())
    monkeypatch.setattr(os, "remove", crash_with(PermissionError))
    monkeypatch.setattr(FileSystemStorage, "exists", lambda self, name: False)
    with pytest.raises(PermissionError):
        storage.remove(row.storage, row.key)


def test_remove__folder_that_takes_missing_for_an_error(settings):
    use_storage(settings, "tests.test_storage.Strict")
    storage.remove(storage.alias(), storage.new_key(joined=False))


class Strict(FileSystemStorage):
    """Does not mind that Django's own takes a missing file for a removed one."""

    def delete(self, name):
        os.remove(self.path(name))


def test_remove__finds_what_an_upload_has_begun(any_storage):
    begun = new_sink()
    begun.write(b"spam")
    begun.close()
    assert len(files()) == 1
    storage.remove(storage.alias(), begun.key)
    assert files() == set()


def test_joined_keys__are_old_and_under_their_prefix(any_storage):
    ours, theirs = (storage.new_key(joined=joined) for joined in (True, False))
    for key in (ours, theirs):
        written = sink(key)
        deliver(written, 0)
    assert list(storage.joined_keys(storage.alias(), LATER)) == [ours]
    assert list(storage.joined_keys(storage.alias(), EARLIER)) == []


def test_joined_keys__there_are_none(any_storage):
    assert list(storage.joined_keys(storage.alias(), LATER)) == []


@pytest.mark.parametrize("missing", ["listdir", "get_modified_time"])
def test_can_be_listed__needs_names_and_times(missing):
    assert storage.can_be_listed(InMemoryStorage())
    without = type("Without", (Cabinet,), {missing: getattr(Storage, missing)})
    assert not storage.can_be_listed(without())


def test_joined_keys__another_sweep_is_faster(any_storage, monkeypatch):
    keys = [storage.new_key(joined=True) for _ in range(3)]
    for key in keys:
        deliver(sink(key), 0)
    backend = storages[storage.alias()]
    modified = type(backend).get_modified_time

    def too_late(self, key):
        if key == keys[1]:
            self.delete(key)
        return modified(self, key)

    monkeypatch.setattr(type(backend), "get_modified_time", too_late)
    assert set(storage.joined_keys(storage.alias(), LATER)) == {keys[0], keys[2]}


def test_spools__are_old_files_of_ours(settings):
    folder = settings.FOLDERS["uploads"]
    for name in ("session-attachments-1", "other-1"):
        (folder / name).touch()
    (folder / "session-attachments-folder").mkdir()
    assert list(storage.spools(LATER)) == [folder / "session-attachments-1"]
    assert list(storage.spools(EARLIER)) == []


def test_open_key__failure_of_the_storage_is_told(monkeypatch, caplog):
    def fail(*args):
        raise ConnectionError

    monkeypatch.setattr(FileSystemStorage, "_open", fail)
    with pytest.raises(StorageFailed):
        storage.open_key(storage.alias(), "a")
    assert "ConnectionError" in caplog.text


# -- free space


def test_first_folder__is_where_the_bytes_go_first(settings):
    folder = settings.FOLDERS["attachments"]
    use_storage(settings, LOCAL, location=folder / "not" / "yet")
    assert storage.first_folder() == folder / "not" / "yet"
    settings.SESSION_ATTACHMENTS_STORAGE_CHOOSER = "tests.nowhere.choose"
    assert storage.first_folder() == settings.FOLDERS["uploads"]
    assert storage.first_folder(storage.alias()) == folder / "not" / "yet"
    settings.SESSION_ATTACHMENTS_STORAGE_CHOOSER = None
    use_storage(settings, MEMORY)
    assert storage.first_folder() == settings.FOLDERS["uploads"]


def test_has_room__asks_the_disk_of_the_folder(settings):
    folder = settings.FOLDERS["attachments"]
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    for least, expected in ((free - 2**27, True), (free + 2**27, False)):
        settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = least / 2**20
        assert storage.has_room(folder / "not" / "yet", 0) is expected


@pytest.mark.parametrize(("size", "stored"), [(2**20, True), (2**20 + 1, False)])
def test_free_space__floor_is_exact(settings, monkeypatch, size, stored):
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 1
    monkeypatch.setattr(
        storage.shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 2**20)
    )
    bundle = new_bundle()
    if stored:
        put(bundle, data=bytes(size))
    else:
        with pytest.raises(DiskFull):
            put(bundle, data=bytes(size))
        assert_only()
