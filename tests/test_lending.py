"""Claimed files on their way into the site's own storages: moved, linked or copied."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.conf import settings as project
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.files.storage import (
    FileSystemStorage,
    InMemoryStorage,
    storages,
)
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from session_attachments import claims, storage, sweep
from session_attachments.bundles import Bundle
from session_attachments.exceptions import Busy, ClaimConflict
from session_attachments.models import Attachment, AttachmentQuerySet, State
from tests.lifecycle import elsewhere, ends_with
from tests.mailbox.models import Application, Mail, MailFile, Ticket
from tests.visits import remove

pytestmark = pytest.mark.django_db(transaction=True)

DATA = b"0123456789" * 1000
LOCAL = "django.core.files.storage.FileSystemStorage"
DAY = timedelta(days=1)


@pytest.fixture
def bundle():
    session = SessionStore()
    session.create()
    return Bundle(session, "draft")


@pytest.fixture
def mail():
    return Mail.objects.create(subject="Hello")


def put(bundle, name="a.txt", content=DATA):
    return bundle.save(name, ContentFile(content))


def path_of(row):
    return Path(storages[row.storage].path(row.key))


def links():
    """The names of hard links that are lent, or were left."""
    folder = Path(storages[storage.ALIAS].path(storage.LENT_PREFIX))
    return sorted(path.name for path in folder.glob("*"))


def our_files():
    """Everything in the storage of the attachments, and on its way there."""
    folders = project.FOLDERS["attachments"], project.FOLDERS["uploads"]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def sweep_later():
    """Sweep when every process of now must have ended; expire nothing."""
    for later in (2 * DAY, 4 * DAY):
        sweep.remove_outdated(lifetime=100 * DAY, now=timezone.now() + later)


@pytest.fixture
def other_device():
    """A folder on another file system than the one of the attachments."""
    ours = project.FOLDERS["attachments"].stat().st_dev
    for base in ("/dev/shm", tempfile.gettempdir(), project.BASE_DIR):
        if Path(base).stat().st_dev != ours:
            break
    else:
        pytest.skip("this machine has one file system only")
    folder = Path(tempfile.mkdtemp(dir=base))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def field(monkeypatch):
    """Lets a model's field keep its files in another storage."""

    def keep_in(target):
        monkeypatch.setattr(MailFile._meta.get_field("document"), "storage", target)

    return keep_in


# -- on the same file system


def test_move__no_byte_is_copied(bundle, mail):
    row = put(bundle)
    before = path_of(row).stat()
    with bundle.claim() as (file,):
        sent = mail.files.create(document=file)
        moved = Path(sent.document.path).stat()
        assert (moved.st_ino, moved.st_nlink) == (before.st_ino, 2)
    after = Path(sent.document.path).stat()
    assert (after.st_ino, after.st_nlink) == (before.st_ino, 1)
    assert sent.document.size == len(DATA)
    assert our_files() == []


def test_move__through_a_model_form_field(bundle):
    row = put(bundle)
    inode = path_of(row).stat().st_ino
    with bundle.claim() as (file,):
        application = Application(name="Ann", cv=file)
        application.full_clean()
        application.save()
    assert Path(application.cv.path).stat().st_ino == inode


def test_move__by_the_storage_itself(bundle):
    row = put(bundle)
    inode = path_of(row).stat().st_ino
    with bundle.claim() as (file,):
        name = storages["default"].save("sent/a.txt", file)
    assert Path(storages["default"].path(name)).stat().st_ino == inode


def test_move__the_same_file_to_two_places(bundle, mail):
    put(bundle)
    with bundle.claim() as (file,):
        sent = [mail.files.create(document=file) for _ in range(2)]
    paths = [Path(one.document.path) for one in sent]
    assert paths[0] != paths[1]
    assert paths[0].samefile(paths[1])
    assert paths[0].read_bytes() == DATA
    assert our_files() == []


def test_move__the_content_can_be_read_before_and_after(bundle, mail):
    put(bundle)
    with bundle.claim() as (file,):
        assert file.read() == DATA
        mail.files.create(document=file)
        assert b"".join(file.chunks()) == DATA
    assert file.closed


def test_move__permissions_are_those_of_the_storage_that_took_it(bundle, settings):
    """One inode has one mode: while both names exist, it is ours as well."""
    settings.STORAGES = settings.STORAGES | {
        storage.ALIAS: {
            "BACKEND": LOCAL,
            "OPTIONS": {
                "location": settings.FOLDERS["attachments"],
                "file_permissions_mode": 0o600,
            },
        },
        "default": {"BACKEND": LOCAL, "OPTIONS": {"file_permissions_mode": 0o640}},
    }
    row = put(bundle)
    assert path_of(row).stat().st_mode & 0o777 == 0o600
    with ends_with(ZeroDivisionError), bundle.claim() as (file,):
        name = storages["default"].save("a.txt", file)
        raise ZeroDivisionError
    assert Path(storages["default"].path(name)).stat().st_mode & 0o777 == 0o640
    assert path_of(row).stat().st_mode & 0o777 == 0o640


def test_temporary_file_path__is_a_fresh_link_each_time(bundle):
    row = put(bundle)
    inode = path_of(row).stat().st_ino
    with bundle.claim() as (file,):
        give = file.temporary_file_path
        paths = [Path(path()) for path in (give, give, file.temporary_file_path)]
        assert len({*paths, path_of(row)}) == 4
        assert {path.stat().st_ino for path in paths} == {inode}
        assert all(row.key.rsplit("/", 1)[1] in path.name for path in paths)
        paths[0].unlink()
        assert path_of(row).read_bytes() == DATA
    assert links() == []


def test_temporary_file_path__outside_of_a_claim_is_taken_back_on_close(bundle):
    row = put(bundle)
    with row.open() as file:
        assert hasattr(file, "temporary_file_path")
        path = Path(file.temporary_file_path())
        assert path.read_bytes() == DATA
    assert not path.exists()
    assert links() == []
    assert list(bundle) == ["a.txt"]


def test_temporary_file_path__its_folder_has_the_permissions_of_the_others(
    bundle, settings
):
    options = {
        "location": settings.FOLDERS["attachments"],
        "directory_permissions_mode": 0o2775,
    }
    settings.STORAGES = settings.STORAGES | {
        storage.ALIAS: {"BACKEND": LOCAL, "OPTIONS": options}
    }
    row = put(bundle)
    with row.open() as file:
        folder = Path(file.temporary_file_path()).parent
    assert folder.stat().st_mode & 0o7777 == 0o2775
    assert path_of(row).parent.stat().st_mode & 0o7777 == 0o2775


def test_temporary_file_path__of_a_file_that_nobody_closes(bundle):
    file = put(bundle).as_file()
    file.temporary_file_path()
    assert links()
    del file
    assert links() == []


def test_temporary_file_path__of_a_file_that_is_gone(bundle):
    row = put(bundle)
    remove(row)
    assert not hasattr(row.as_file(), "temporary_file_path")


# -- where it must not be moved


def test_copy__into_memory(bundle, mail, field):
    target = InMemoryStorage()
    field(target)
    row = put(bundle)
    with bundle.claim() as (file,):
        sent = mail.files.create(document=file)
        assert path_of(row).read_bytes() == DATA
    with target.open(sent.document.name) as copy:
        assert copy.read() == DATA
    assert our_files() == []


@pytest.mark.parametrize("known_by", ["field", "STORAGES"])
def test_copy__to_another_file_system(
    bundle, mail, field, other_device, settings, monkeypatch, known_by
):
    target = FileSystemStorage(location=other_device)
    if known_by == "field":
        field(target)
    else:
        settings.STORAGES = settings.STORAGES | {
            "far": {"BACKEND": LOCAL, "OPTIONS": {"location": other_device}}
        }
    put(bundle)
    with bundle.claim() as (file,):
        # Moved, Django would copy it, and not look how much it could write.
        assert not hasattr(file, "temporary_file_path")
        name = target.save("a.txt", file)
    assert target.size(name) == len(DATA)
    assert Path(target.path(name)).read_bytes() == DATA
    assert our_files() == []


def test_copy__another_file_system_has_the_static_files_only(
    bundle, other_device, settings
):
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": LOCAL, "OPTIONS": {"location": other_device}}
    }
    put(bundle)
    with bundle.claim() as (file,):
        assert hasattr(file, "temporary_file_path")


def test_copy__a_storage_that_cannot_be_made_takes_nothing(bundle, settings):
    settings.STORAGES = settings.STORAGES | {"broken": {"BACKEND": "no.such.Storage"}}
    put(bundle)
    with bundle.claim() as (file,):
        assert hasattr(file, "temporary_file_path")


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_copy__where_there_are_no_hard_links(bundle, mail, monkeypatch, error):
    def link(*args):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", link)
    row = put(bundle)
    inode = path_of(row).stat().st_ino
    with bundle.claim() as (file,):
        sent = mail.files.create(document=file)
    assert Path(sent.document.path).stat().st_ino != inode
    assert Path(sent.document.path).read_bytes() == DATA
    assert our_files() == []


class Cabinet(FileSystemStorage):
    """As Django's, but for all that this library can know it is not."""


@pytest.mark.parametrize("ours", [InMemoryStorage, Cabinet])
def test_copy__from_a_storage_that_is_no_plain_folder(bundle, mail, settings, ours):
    options = {"location": settings.FOLDERS["attachments"]}
    settings.STORAGES = settings.STORAGES | {
        storage.ALIAS: {
            "BACKEND": f"{ours.__module__}.{ours.__qualname__}",
            "OPTIONS": options if ours is Cabinet else {},
        }
    }
    row = put(bundle)
    with bundle.claim() as (file,):
        assert not hasattr(file, "temporary_file_path")
        sent = mail.files.create(document=file)
    assert Path(sent.document.path).read_bytes() == DATA
    assert not storages[storage.ALIAS].exists(row.key)


# -- nothing is claimed


class Remote:
    """A file that is fetched by the first byte that is read."""

    closed = False

    def __init__(self, data):
        self.data, self.fetched = data, False

    def __getattr__(self, name):
        assert name in ("seek", "read", "tell")
        self.fetched = True
        return getattr(self.data, name)

    def close(self):
        self.closed = True


def test_claim__fetches_nothing_that_is_not_read(bundle, monkeypatch):
    put(bundle, "a.txt")
    put(bundle, "b.txt")
    files = []

    def open_key(*args):
        files.append(Remote(BytesIO(DATA)))
        return files[-1]

    monkeypatch.setattr(storage, "open_key", open_key)
    with bundle.claim() as (a, b):
        ticket = Ticket.objects.create(title="Hello")
        a.attachment.claim_for(ticket, "attachments")
        assert b.read() == DATA
        assert b.open().read() == DATA
    assert [file.fetched for file in files] == [False, True]
    assert all(file.closed for file in files)


def test_open__again_after_close(bundle):
    file = put(bundle).open()
    assert hasattr(file, "temporary_file_path")
    file.close()
    assert file.closed
    with file.open():
        assert file.read() == DATA
        assert Path(file.temporary_file_path()).read_bytes() == DATA


def test_open__again_after_somebody_closed_what_it_reads(bundle):
    with put(bundle).open() as file:
        file.file.close()
        assert file.closed
        assert file.open().read() == DATA


def test_open__is_for_reading(bundle):
    with pytest.raises(ValueError, match="for reading"):
        put(bundle).as_file().open("wb")


def test_rollback__after_the_move_leaves_our_file_with_its_bytes(bundle, mail):
    row = put(bundle)
    with ends_with(ZeroDivisionError), bundle.claim() as (file,):
        sent = mail.files.create(document=file)
        raise ZeroDivisionError
    assert not MailFile.objects.exists()
    assert path_of(row).read_bytes() == DATA
    assert list(bundle) == ["a.txt"]
    assert links() == []
    # The name that the site's storage made is the site's.
    assert Path(sent.document.path).samefile(path_of(row))


def test_rollback__of_the_callers_transaction(bundle, mail):
    row = put(bundle)
    with ends_with(ZeroDivisionError), transaction.atomic():
        with bundle.claim() as (file,):
            mail.files.create(document=file)
        assert path_of(row).exists()
        raise ZeroDivisionError
    assert path_of(row).read_bytes() == DATA
    with bundle.claim() as (file,):
        assert file.read() == DATA
    assert our_files() == []


def test_rollback__takes_back_what_a_storage_did_not_move(bundle):
    put(bundle)
    with ends_with(ZeroDivisionError), bundle.claim() as (file,):
        file.temporary_file_path()
        assert links()
        raise ZeroDivisionError
    assert links() == []


def test_conflict__a_claim_that_fails_leaves_the_links_of_another(bundle, mail):
    """Two tabs submit the same files: the loser must not break the winner."""
    put(bundle)
    with bundle.claim() as (winning,):
        path = Path(winning.temporary_file_path())
        with ends_with(ClaimConflict), bundle.claim() as (losing,):
            losing.temporary_file_path()
            raise ClaimConflict
        assert links() == [path.name]
        mail.files.create(document=winning)
    assert MailFile.objects.get().document.size == len(DATA)
    assert links() == []


def test_conflict__where_the_database_breaks_the_claim_off(bundle, monkeypatch):
    put(bundle)

    def doom(*args):
        raise OperationalError("deadlock detected")

    with monkeypatch.context() as patch, ends_with(Busy), bundle.claim():
        patch.setattr(AttachmentQuerySet, "doom", doom)
    assert list(bundle) == ["a.txt"]


def test_conflict__nothing_of_several_files_is_claimed(bundle, mail):
    a, b = put(bundle, "a.txt"), put(bundle, "b.txt")
    with ends_with(ClaimConflict), bundle.claim() as files:
        elsewhere(lambda: remove(b))
        for file in files:
            mail.files.create(document=file)
    assert not MailFile.objects.exists()
    assert list(bundle) == ["a.txt"]
    assert path_of(a).read_bytes() == DATA


def test_conflict__an_object_was_given_the_file_meanwhile(bundle):
    row = put(bundle)
    ticket = Ticket.objects.create(title="Hello")

    def give():
        Attachment.objects.get(pk=row.pk).claim_for(ticket, "attachments")

    with ends_with(ClaimConflict), bundle.claim():
        elsewhere(give)
    assert ticket.attachments.get().pk == row.pk
    assert path_of(row).read_bytes() == DATA


def test_conflict__the_bytes_were_lost(bundle):
    row = put(bundle)
    path_of(row).unlink()
    with ends_with(ClaimConflict), bundle.claim():
        raise AssertionError
    assert list(bundle) == ["a.txt"]


def test_claim__waits_for_no_reader(bundle):
    row = put(bundle)
    with row.open() as reader, bundle.claim():
        pass
    assert reader.closed
    assert our_files() == []


def test_claim__removes_our_bytes_with_the_commit_not_before(bundle):
    row = put(bundle)
    with transaction.atomic():
        with bundle.claim():
            pass
        assert path_of(row).exists()
    assert not path_of(row).exists()
    assert not Attachment.objects.exists()


def test_claim__of_nothing(bundle):
    with bundle.claim() as files:
        assert files == []


def test_claim__of_one_file_twice(bundle):
    row = put(bundle)
    with claims.claim([row.as_file(), row.as_file()]) as files:
        assert [file.read() for file in files] == [DATA, DATA]
    assert list(bundle) == []


# -- given to an object


def test_claim_for__keeps_the_row_and_the_file_where_they_are(bundle):
    row = put(bundle)
    inode = path_of(row).stat().st_ino
    with bundle.claim() as (file,):
        ticket = Ticket.objects.create(title="Hello")
        file.attachment.claim_for(ticket, "attachments")
    kept = ticket.attachments.get()
    assert (kept.pk, kept.state, kept.field) == (row.pk, State.CLAIMED, "attachments")
    assert (kept.session_key, kept.reserved, kept.name_digest) == ("", 0, None)
    assert path_of(kept).stat().st_ino == inode
    assert list(bundle) == []
    sweep.remove_outdated(now=timezone.now() + 1000 * DAY)
    assert path_of(kept).read_bytes() == DATA
    ticket.delete()
    assert our_files() == []


def test_claim_for__one_of_two(bundle, mail):
    put(bundle, "a.txt")
    put(bundle, "b.txt")
    with bundle.claim() as (a, b):
        ticket = Ticket.objects.create(title="Hello")
        a.attachment.claim_for(ticket, "attachments")
        mail.files.create(document=b)
    assert [row.name for row in ticket.attachments.all()] == ["a.txt"]
    assert [path.read_bytes() for path in our_files()] == [DATA]


def test_claim_for__is_rolled_back(bundle):
    row = put(bundle)
    with ends_with(ZeroDivisionError), bundle.claim() as (file,):
        file.attachment.claim_for(Ticket.objects.create(title="Hello"), "attachments")
        raise ZeroDivisionError
    assert list(bundle) == ["a.txt"]
    row.refresh_from_db()
    assert row.state == State.STORED


def test_claim_for__a_file_that_is_gone(bundle):
    put(bundle)
    ticket = Ticket.objects.create(title="Hello")
    with ends_with(ClaimConflict), bundle.claim() as (file,):
        remove(file.attachment)
        file.attachment.claim_for(ticket, "attachments")
    assert not ticket.attachments.exists()


@pytest.mark.parametrize("owner", [Mail(pk=1), Ticket()], ids=["no relation", "new"])
def test_claim_for__what_cannot_own_files(bundle, owner):
    row = put(bundle)
    with pytest.raises(TypeError, match="GenericRelation"):
        row.claim_for(owner, "attachments")
    assert list(bundle) == ["a.txt"]


# -- killed


def lent(bundle):
    """A link as a claim that was killed has left it."""
    row = put(bundle)
    return storage.lend(row.storage, row.key)


@pytest.mark.parametrize(("age", "left"), [(0, 1), (1.01, 0)])
def test_sweep__removes_links_by_the_time_when_they_were_made(bundle, age, left):
    """Not by the file's own time, which is older."""
    row = put(bundle)
    os.utime(path_of(row), (0, 0))
    link = storage.lend(row.storage, row.key)
    assert link.stat().st_mtime == 0
    sweep.remove_outdated(lifetime=100 * DAY, now=timezone.now() + age * DAY)
    assert len(links()) == left
    assert path_of(row).read_bytes() == DATA


def test_sweep__leaves_a_link_that_goes_meanwhile(bundle, monkeypatch):
    link = lent(bundle)
    stat = Path.stat

    def gone(path, **kwargs):
        if path == link:
            link.unlink(missing_ok=True)
        return stat(path, **kwargs)

    monkeypatch.setattr(Path, "stat", gone)
    assert storage.remove_links(storage.ALIAS, timezone.now() + DAY) == 0


WORKER = """
    import os, signal, sys
    import django
    django.setup()
    from django.core.files.storage import FileSystemStorage
    from django.contrib.sessions.backends.db import SessionStore
    from django.db import connection, transaction
    from session_attachments import models, storage, sweep
    from session_attachments.bundles import Bundle
    from tests.mailbox.models import Mail

    session_key, owner, name, when = sys.argv[1:]

    def die(*args, **kwargs):
        print("reached", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    owner = {
        "storage": storage, "sweep": sweep, "os": os, "connection": connection,
        "FileSystemStorage": FileSystemStorage, "rows": models.AttachmentQuerySet,
    }[owner]
    original = getattr(owner, name)

    def killed(*args, **kwargs):
        if when == "after":
            original(*args, **kwargs)
        die()

    bundle = Bundle(SessionStore(session_key), "draft")
    with bundle.claim() as files:
        setattr(owner, name, killed)
        mail = Mail.objects.create(subject="Hello")
        for file in files:
            mail.files.create(document=file)
    print("survived")
"""


@pytest.mark.parametrize(
    ("owner", "name", "when", "is_claimed"),
    [
        ("storage", "lend", "before", False),
        ("storage", "lend", "after", False),
        ("os", "rename", "before", False),
        ("os", "rename", "after", False),
        ("FileSystemStorage", "_save", "after", False),
        ("rows", "doom", "before", False),
        ("rows", "doom", "after", False),
        ("sweep", "remove_on_commit", "after", False),
        ("connection", "_commit", "before", False),
        ("connection", "_commit", "after", True),
        ("sweep", "remove", "before", True),
        ("storage", "remove", "before", True),
        ("storage", "remove", "after", True),
        ("sweep", "delete_rows", "before", True),
        ("sweep", "delete_rows", "after", True),
    ],
)
def test_kill__leaves_nothing_that_a_sweep_does_not_find(
    bundle, owner, name, when, is_claimed
):
    row = put(bundle)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_ROOT": str(project.TEST_ROOT),
        "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(WORKER)),
            *(bundle.session.session_key, owner, name, when),
        ],
        cwd=project.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "reached\n"), done.stderr
    assert Mail.objects.count() == MailFile.objects.count() == int(is_claimed)
    assert (list(bundle) == []) is is_claimed
    sweep_later()
    assert links() == []
    if is_claimed:
        assert our_files() == []
        assert not Attachment.objects.exists()
        with MailFile.objects.get().document.open() as sent:
            assert sent.read() == DATA
    else:
        assert our_files() == [path_of(row)]
        with bundle.claim() as (file,):
            assert file.read() == DATA
        assert our_files() == []
