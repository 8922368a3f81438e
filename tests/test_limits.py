"""How much a visitor may store, and all visitors together; exact to the byte."""

import os
import subprocess
import threading
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from session_attachments import limits, storage
from session_attachments.exceptions import DiskFull, SessionFull
from session_attachments.models import Attachment
from tests.lifecycle import in_parallel, new_bundle
from tests.wire import (
    CLOSE,
    FORM,
    Stream,
    content,
    file_part,
    form,
    nothing_left,
    on_disk,
    problem,
)

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/attachments/foo/"
SPAM = "/attachments/foo/spam.txt/"
MIB = 2**20
BLOCK = limits.BLOCK


def put(client, name, size, path=LIST, **kwargs):
    return client.put(f"{path}{name}/", bytes(size), **kwargs)


def mebibytes(size):
    return size / MIB


def save(bundle, name, data):
    return bundle.save(name, ContentFile(data))


def disk(monkeypatch, free):
    """A disk that has as much room at a path as `free` says, in bytes."""
    monkeypatch.setattr(
        "session_attachments.storage.shutil.disk_usage",
        lambda path: SimpleNamespace(free=free(path)),
    )


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# -- one file


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch):
    """What is read of a body is read before it is refused."""
    monkeypatch.setattr("session_attachments.bodies.LINGER", 0)


@pytest.fixture
def hundred_bytes(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = mebibytes(100)


@pytest.mark.usefixtures("hundred_bytes")
def test_file_size__put(client):
    assert put(client, "a", 100).status_code == 201
    problem(put(client, "a", 101), 413, "too_large", limit=100)
    assert len(content(client.get(f"{LIST}a/"))) == 100


@pytest.mark.usefixtures("hundred_bytes")
def test_file_size__post(client):
    assert client.post(LIST, **form(("a", bytes(100)))).status_code == 200
    response = client.post(LIST, **form(("b", b""), ("a", bytes(101)), ("c", b"")))
    problem(response, 413, "too_large", limit=100)
    assert len(content(client.get(f"{LIST}a/"))) == 100
    assert len(on_disk()) == 1


@pytest.mark.usefixtures("hundred_bytes")
def test_file_size__of_each_file_not_of_all(client):
    files = [(name, bytes(100)) for name in "abcdefgh"]
    assert client.post(LIST, **form(*files)).status_code == 200


@pytest.mark.usefixtures("hundred_bytes")
def test_file_size__refused_unread(client):
    body = Stream([b"x" * 101], 101)
    problem(client.generic("PUT", SPAM, **body.extra), 413, "too_large", limit=100)
    assert body.taken == 0


@pytest.mark.usefixtures("hundred_bytes")
def test_file_size__rest_of_a_form_is_not_read(client):
    parts = [file_part("a", bytes(200)), *[bytes(1000)] * 50, CLOSE]
    body = Stream(parts, sum(map(len, parts)))
    response = client.post(LIST, CONTENT_TYPE=FORM, **body.extra)
    problem(response, 413, "too_large", limit=100)
    assert body.taken < 3000
    assert nothing_left()


def test_file_size__default_is_50_mib():
    limits.check_file_size(50 * MIB)
    with pytest.raises(limits.TooLarge) as info:
        limits.check_file_size(50 * MIB + 1)
    assert info.value.limit == 50 * MIB


def test_file_size__none_is_no_limit(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None
    limits.check_file_size(10**18)
    assert put(client, "a", 100).status_code == 201


def test_file_size__nothing_but_empty_files(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0
    assert client.post(LIST, **form(("a", b""))).status_code == 200
    problem(put(client, "a", 1), 413, "too_large", limit=0)


# -- one bundle


def test_files__in_one_bundle(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILES = 2
    put(client, "a", 1)
    put(client, "b", 1)
    problem(put(client, "c", 1), 413, "bundle_full", limit=2)
    problem(client.post(LIST, **form(("c", b""))), 413, "bundle_full", limit=2)
    assert put(client, "a", 2).status_code == 200
    assert put(client, "c", 1, "/attachments/bar/").status_code == 201
    assert Client().put(f"{LIST}c/", b"c").status_code == 201
    client.delete(f"{LIST}a/")
    assert put(client, "c", 1).status_code == 201


def test_files__of_a_form_replace_those_of_their_names(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILES = 2
    client.post(LIST, **form(("a", b"1"), ("b", b"1")))
    assert client.post(LIST, **form(("a", b"2"), ("b", b"2"))).status_code == 200
    response = client.post(LIST, **form(("a", b"3"), ("c", b"3")))
    problem(response, 413, "bundle_full", limit=2)
    assert [i["name"] for i in client.get(LIST).json()] == ["a", "b"]
    assert content(client.get(f"{LIST}a/")) == b"2"


def test_files__of_a_form_count_each(client, settings):
    """Though the form's first file had room."""
    settings.SESSION_ATTACHMENTS_MAX_FILES = 2
    put(client, "a", 1)
    response = client.post(LIST, **form(("b", b"1"), ("c", b"1")))
    problem(response, 413, "bundle_full", limit=2)
    assert [i["name"] for i in client.get(LIST).json()] == ["a"]


def test_files__none_is_no_limit(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILES = None
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = None
    files = [(f"{n}.txt", b"") for n in range(120)]
    assert len(client.post(LIST, **form(*files)).json()) == 120


# -- one session, and the site


@pytest.fixture(params=["session", "site"])
def space(request, settings):
    """Ten blocks; returns what is said when they are used up."""
    setattr(
        settings,
        f"SESSION_ATTACHMENTS_MAX_{request.param.upper()}_SIZE",
        mebibytes(10 * BLOCK),
    )
    status = {"session": 413, "site": 507}[request.param]
    return status, f"{request.param}_full"


def test_space__put(client, space):
    assert put(client, "a", 6 * BLOCK).status_code == 201
    problem(put(client, "b", 4 * BLOCK + 1), *space, limit=10 * BLOCK)
    other = "/attachments/bar/"
    problem(put(client, "b", 4 * BLOCK + 1, other), *space, limit=10 * BLOCK)
    assert put(client, "b", 4 * BLOCK, other).status_code == 201
    problem(put(client, "c", 1), *space, limit=10 * BLOCK)
    assert len(on_disk()) == Attachment.objects.count() == 2


def test_space__post(client, space):
    """What a form has beyond its files is not counted."""
    files = [("a", bytes(6 * BLOCK)), ("b", bytes(4 * BLOCK))]
    assert client.post(LIST, **form(*files)).status_code == 200
    client.delete(LIST)
    files = [("a", bytes(6 * BLOCK)), ("b", bytes(4 * BLOCK + 1))]
    problem(client.post(LIST, **form(*files)), *space, limit=10 * BLOCK)
    assert nothing_left()


def test_space__forms_at_once_are_refused_before_their_bodies(settings):
    """One that is still on its way makes no room, although it may replace all."""
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    bundle = new_bundle()
    with bundle.upload(declared=700_000):
        upload = bundle.upload(declared=700_000)
        with pytest.raises(SessionFull):
            upload.__enter__()


def test_space__is_summed_once_for_a_small_form(client):
    put(client, "a", 1)
    with CaptureQueriesContext(connection) as queries:
        client.post(LIST, **form(("b", b"b")))
    sums = [query["sql"] for query in queries if "SUM(" in query["sql"]]
    assert len(sums) == 2  # the session's, and the site's


def test_space__small_files_take_a_block_each(client, space):
    for n in range(10):
        assert put(client, f"{n}.txt", 1).status_code == 201
    problem(put(client, "10.txt", 1), *space, limit=10 * BLOCK)
    problem(client.post(LIST, **form(("b", b""))), *space, limit=10 * BLOCK)


def test_space__what_is_replaced_makes_room(client, space, settings):
    settings.SESSION_ATTACHMENTS_GRACE = 0.000001
    for size in (10, 9, 10):
        assert put(client, "a", size * BLOCK).status_code in (200, 201)
        response = client.post(LIST, **form(("a", bytes(size * BLOCK))))
        assert response.status_code == 200
    problem(put(client, "b", 1), *space, limit=10 * BLOCK)
    problem(put(client, "b", 10 * BLOCK), *space, limit=10 * BLOCK)


def test_space__replaced_in_a_loop(client, space, settings):
    """Bytes that are still on the disk count, whoever may see them."""
    settings.SESSION_ATTACHMENTS_GRACE = 3600
    assert put(client, "a", 4 * BLOCK).status_code == 201
    assert put(client, "a", 4 * BLOCK).status_code == 200
    assert len(on_disk()) == 2
    assert put(client, "a", 4 * BLOCK).status_code == 200
    problem(put(client, "a", 4 * BLOCK), *space, limit=10 * BLOCK)
    problem(client.post(LIST, **form(("b", b""))), *space, limit=10 * BLOCK)


def test_space__what_is_removed_makes_room(client, space):
    for _ in range(3):
        assert put(client, "a", 10 * BLOCK).status_code == 201
        assert client.delete(LIST).json() == [[True]]


def test_space__what_is_on_its_way_counts(client, space):
    put(client, "z", 1)
    second = Client()
    second.cookies = client.cookies
    answers = []

    def meanwhile():
        answers.append(put(second, "b", 2 * BLOCK))

    body = Stream([b"x", meanwhile, b"x" * (8 * BLOCK - 1)], 8 * BLOCK)
    assert client.generic("PUT", SPAM, **body.extra).status_code == 201
    problem(answers[0], *space, limit=10 * BLOCK)


def test_space__of_other_sessions(client, space):
    status, _ = space
    put(client, "a", 9 * BLOCK)
    response = put(Client(), "a", 9 * BLOCK)
    assert response.status_code == (201 if status == 413 else 507)


def test_session_size__form_is_refused_unread(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = mebibytes(10 * BLOCK)
    most = 10 * BLOCK + limits.MULTIPART_OVERHEAD
    body = Stream([b"x" * 1000], most + 1)
    response = client.post(LIST, CONTENT_TYPE=FORM, **body.extra)
    problem(response, 413, "session_full", limit=10 * BLOCK)
    assert body.taken == 0
    body = Stream([b"x" * 1000], most)
    response = client.post(LIST, CONTENT_TYPE=FORM, **body.extra)
    problem(response, 400, "incomplete_body")
    assert nothing_left()


def test_space__none_is_no_limit(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = None
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = None
    assert put(client, "a", 100).status_code == 201
    assert client.post(LIST, **form(("b", b""))).status_code == 200


# -- the disk


def test_free_space__floor(client, settings, monkeypatch):
    disk(monkeypatch, lambda path: 3 * MIB)
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 2
    assert put(client, "a", MIB).status_code == 201
    body = Stream([b"x" * 1000], MIB + 1)
    problem(client.generic("PUT", SPAM, **body.extra), 507, "disk_full")
    response = client.post(LIST, **form(("b", bytes(MIB))))
    problem(response, 507, "disk_full")
    assert body.taken == 0
    assert len(on_disk()) == Attachment.objects.count() == 1


def test_free_space__of_a_disk_that_does_not_say(client, monkeypatch, caplog):
    """A folder that cannot be read, with none of the visitor's doing in it."""

    def disk_usage(path):
        raise PermissionError("closed")

    put(client, "a", 1)
    monkeypatch.setattr(storage.shutil, "disk_usage", disk_usage)
    problem(put(client, "b", 1), 503, "storage")
    problem(client.post(LIST, **form(("c", b"c"))), 503, "storage")
    problem(put(Client(), "first of a session", 1), 503, "storage")
    assert "PermissionError: closed" in caplog.text
    assert len(on_disk()) == Attachment.objects.count() == 1


def test_free_space__of_uploads_at_once(settings, monkeypatch):
    """Each had room when it began."""
    folder = settings.FOLDERS["attachments"]
    disk(monkeypatch, lambda path: 10 * MIB - sum(map(size_of, files_in(folder))))
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 5
    begun = threading.Barrier(4)

    class Slow(ContentFile):
        def chunks(self, chunk_size=None):
            begun.wait()
            for _ in range(self.size // (MIB // 4)):
                yield self.read(MIB // 4)

    calls = [
        partial(new_bundle().save, "a", Slow(bytes(4 * MIB)))
        for _ in range(begun.parties)
    ]
    results = in_parallel(*calls)
    assert any(isinstance(result, DiskFull) for result in results)
    assert sum(map(size_of, files_in(folder))) <= 5 * MIB


def test_free_space__of_temporary_files(settings, monkeypatch):
    """They come first where there is a choice of storages."""
    settings.STORAGES = settings.STORAGES | {
        "other": settings.STORAGES["session_attachments"]
    }
    settings.SESSION_ATTACHMENTS_STORAGES = ["session_attachments", "other"]
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 1
    spools = settings.FOLDERS["uploads"]
    disk(monkeypatch, lambda path: 0 if path.is_relative_to(spools) else 2 * MIB)
    with pytest.raises(DiskFull):
        save(new_bundle(), "a", b"spam")
    assert not on_disk()


def test_free_space__of_the_storage_that_was_chosen(settings, monkeypatch):
    settings.STORAGES = settings.STORAGES | {
        "other": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": settings.FOLDERS["attachments"] / "other"},
        }
    }
    other = settings.FOLDERS["attachments"] / "other"
    other.mkdir()
    settings.SESSION_ATTACHMENTS_STORAGE_CHOOSER = f"{__name__}.choose_other"
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 1
    disk(monkeypatch, lambda path: 0 if path.is_relative_to(other) else 2 * MIB)
    with pytest.raises(DiskFull):
        save(new_bundle(), "a", b"spam")
    assert not on_disk()


def choose_other(**file):
    return "other"


def test_free_space__moves_on_to_the_next_storage(settings, monkeypatch):
    test_free_space__of_the_storage_that_was_chosen(settings, monkeypatch)
    settings.SESSION_ATTACHMENTS_STORAGE_CHOOSER = None
    settings.SESSION_ATTACHMENTS_STORAGES = ["other", "session_attachments"]
    assert save(new_bundle(), "a", b"spam").storage == "session_attachments"


@pytest.fixture
def small_disk(settings):
    """The storage's folder, on a disk of one MiB."""
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    folder = settings.FOLDERS["attachments"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if (result := subprocess.run(mount, capture_output=True)).returncode:
        pytest.skip(f"no tmpfs can be mounted here: {result.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_disk_full__by_what_is_declared(client, settings, small_disk):
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 0
    problem(put(client, "a", MIB + 1), 507, "disk_full")
    assert nothing_left()
    assert put(client, "a", MIB).status_code == 201
    assert len(content(client.get(f"{LIST}a/"))) == MIB


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_disk_full__while_the_body_arrives(client, settings, small_disk, method):
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 0
    put(client, "old", MIB // 4)
    disk = [*on_disk()]
    filler = small_disk / "filler"

    def fill():
        # Another program is faster.
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    if method == "PUT":
        path, first, rest = f"{LIST}old/", bytes(MIB // 4), bytes(MIB // 4)
    else:
        rest = file_part("old", bytes(MIB // 2)) + CLOSE
        path, first = LIST, file_part("a", b"a")
    body = Stream([first, fill, rest], len(first + rest))
    content_type = FORM if method == "POST" else "text/plain"
    response = client.generic(method, path, CONTENT_TYPE=content_type, **body.extra)
    problem(response, 507, "disk_full")
    filler.unlink()
    assert on_disk() == disk
    assert Attachment.objects.count() == 1
    assert len(content(client.get(f"{LIST}old/"))) == MIB // 4
    assert put(client, "new", MIB // 2).status_code == 201
