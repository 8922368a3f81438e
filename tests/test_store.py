"""Reserve, write, publish; and what is left where one of them fails."""

import errno
import os
import threading
import time
from types import SimpleNamespace

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone

from session_attachments import (
    access,
    contention,
    limits,
    receivers,
    storage,
    store,
    validators,
)
from session_attachments.bundles import Bundle
from session_attachments.exceptions import (
    BadName,
    BundleFull,
    Busy,
    DiskFull,
    DuplicateName,
    IncompleteBody,
    Invalid,
    PreconditionFailed,
    SessionEnded,
    SessionFull,
    SiteFull,
    StorageFailed,
    TooLarge,
    TypeNotAllowed,
)
from session_attachments.models import Attachment, State
from session_attachments.sweep import remove_outdated
from tests.lifecycle import (
    DAY,
    LOCAL,
    MEMORY,
    OLD_AGE,
    assert_only,
    before,
    contents,
    crash_with,
    elsewhere,
    ends_with,
    files,
    in_parallel,
    new_bundle,
    new_only,
    put,
    read,
    states,
    sweep_all,
    use_storage,
    visitor,
)
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)

BLOCK = limits.BLOCK
MIB = 2**20
CABINET = "tests.lifecycle.Cabinet"


@pytest.fixture(params=[LOCAL, CABINET, MEMORY])
def any_storage(request, settings):
    use_storage(settings, request.param)
    return request.param


@pytest.fixture
def spam():
    """A bundle with one file."""
    bundle = new_bundle()
    put(bundle, data=b"old\n")
    return bundle


def refuse(file):
    raise ValidationError("No.")


def crash(file):
    raise RuntimeError


def upload(bundle, *names, data=b"new\n", **kwargs):
    """Publish files of one content together, as a multipart form does."""
    with bundle.upload(declared=len(data) * len(names), **kwargs) as upload:
        for name in names:
            writer = upload.add(name)
            writer.write(data)
            writer.finish()
        return upload.publish()


class Clock:
    """The clock by which `store` beats; it stands still, and sleep takes no time."""

    def __init__(self, monkeypatch):
        self.now = 0
        monkeypatch.setattr(
            store,
            "time",
            SimpleNamespace(monotonic=lambda: self.now, sleep=lambda seconds: None),
        )


class Failing:
    """An execute wrapper that fails at the nth statement of a transaction, once."""

    def __init__(self, error, nth, *, always=False):
        self.error, self.nth, self.always = error, nth, always
        self.seen = self.raised = 0

    def __call__(self, execute, sql, params, many, context):
        if sql.startswith("BEGIN"):
            return execute(sql, params, many, context)
        self.seen += 1
        if self.seen == self.nth:
            self.raised += 1
            self.seen = 0
            self.nth = self.nth if self.always else None
            raise self.error("injected")
        return execute(sql, params, many, context)


def lose_commits(monkeypatch, times, error=OperationalError):
    """Let the next commits succeed and be reported as failed."""
    commit, left = BaseDatabaseWrapper._commit, [times]

    def lossy(self):
        commit(self)
        if left[0]:
            left[0] -= 1
            raise error("the connection was lost")

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", lossy)


def no_pauses(monkeypatch):
    """Let retries follow each other at once."""
    clock = SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)
    monkeypatch.setattr(contention, "time", clock)


def no_query(execute, sql, params, many, context):
    raise AssertionError(sql)


def fresh_rows():
    """How many rows have shown life a moment ago."""
    return Attachment.objects.filter(modified__gt=timezone.now() - DAY / 2).count()


class Disk:
    """Wraps the file that is written to, and fails as disks do."""

    def __init__(self, file, *, write=None, close=None):
        self.file, self.faults = file, {"write": write, "close": close}

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        fault = self.faults["write"]
        return self.file.write(data) if fault is None else fault(self.file, data)

    def close(self):
        self.file.close()
        if self.faults["close"]:
            raise self.faults["close"]


def use_disk(monkeypatch, **faults):
    create = storage.Sink._create
    monkeypatch.setattr(
        storage.Sink, "_create", lambda self: Disk(create(self), **faults)
    )


# -- reserve


def test_reserve__is_committed_before_the_first_byte():
    bundle = new_bundle()
    with bundle.upload(declared=5000, name="spam.txt") as upload:
        [row] = elsewhere(lambda: list(Attachment.objects.values()))
        assert (row["state"], row["reserved"], row["name"]) == (
            State.UPLOADING,
            5000,
            "spam.txt",
        )
        assert row["created"] is row["name_digest"] is None
        assert files() == set()
        upload.add("spam.txt")
        assert files() == {row["key"]}


def test_reserve__commits_each_row_of_a_form_before_its_file():
    with new_bundle().upload(declared=10) as upload:
        for name in ("a", "b", "c"):
            upload.add(name)
            known = elsewhere(lambda: set(Attachment.objects.values_list("key")))
            assert {(key,) for key in files()} <= known
        assert len(known) == 3


def test_reserve__survives_a_commit_that_is_reported_as_failed(monkeypatch):
    bundle = new_bundle()
    access.pin(bundle.session)
    lose_commits(monkeypatch, 1)
    row = put(bundle)
    assert contents(bundle) == {"spam.txt": b"spam\n"}
    # The row that nobody knows of has a key of its own, so that its end harms nobody.
    assert states() == {"stored": 1, "uploading": 1}
    sweep_all()
    assert_only(row)


def test_reserve__refused_leaves_nothing(settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    with pytest.raises(SessionFull) as refusal:
        new_bundle().save("a", ContentFile(bytes(MIB + 1)))
    assert refusal.value.limit == MIB
    assert_only()


@pytest.mark.parametrize(("refusals", "stored"), [(2, True), (3, False)])
def test_reserve__is_tried_three_times(monkeypatch, refusals, stored):
    check, left = limits.check_quotas, [refusals]

    def crowded(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            assert Attachment.objects.count() == 1, "what was refused counts no more"
            raise SessionFull(1)
        check(*args, **kwargs)

    monkeypatch.setattr(limits, "check_quotas", crowded)
    bundle = new_bundle()
    if stored:
        assert_only(put(bundle))
    else:
        with pytest.raises(SessionFull):
            put(bundle)
        assert_only()


def test_reserve__crash_of_the_check_leaves_nothing(monkeypatch):
    monkeypatch.setattr(limits, "check_quotas", crash_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        put(new_bundle())
    assert_only()


def test_reserve__asks_for_the_precondition_before_anything(spam, monkeypatch):
    [row] = spam.values()
    monkeypatch.setattr(Attachment, "save", crash_with(AssertionError()))
    with pytest.raises(PreconditionFailed):
        upload(spam, "spam.txt", name="spam.txt", precondition=new_only)
    assert_only(row)


def test_reserve__sweeps_what_is_due_of_the_same_session_only(settings):
    settings.SESSION_ATTACHMENTS_GRACE = 0.000001
    mine, other = new_bundle(), new_bundle()
    for bundle in (mine, other):
        put(bundle, data=b"1")
        put(bundle, data=b"2")
    assert states() == {"stored": 2, "doomed": 2}
    put(mine, "egg.txt")
    assert states() == {"stored": 3, "doomed": 1}
    [doomed] = Attachment.objects.filter(state=State.DOOMED)
    assert doomed.session_key == access.pin(other.session)


# -- write


def test_write__heartbeat_every_quarter_of_the_lease(settings, monkeypatch):
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 400
    clock = Clock(monkeypatch)
    with new_bundle().upload(declared=10) as upload:
        writers = [upload.add("a"), upload.add("b")]
        Attachment.objects.update(modified=timezone.now() - DAY)
        clock.now += 99
        with connection.execute_wrapper(no_query):
            writers[0].write(b"a")
        clock.now += 1
        writers[0].write(b"a")
        # A file that is complete lives as long as the upload it came with.
        assert elsewhere(fresh_rows) == 2
        with connection.execute_wrapper(no_query):
            writers[0].write(b"a")


def test_write__heartbeat_that_finds_the_database_locked(settings, monkeypatch):
    """A long upload is not lost by it: the next one comes in time."""
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 400
    clock = Clock(monkeypatch)
    bundle = new_bundle()
    with bundle.upload(declared=10, name="a") as upload:
        writer = upload.add("a")
        clock.now += 100
        with connection.execute_wrapper(crash_with(OperationalError("locked"))):
            writer.write(b"a" * 5)
        writer.write(b"a" * 5)
        writer.finish()
        upload.publish()
    assert contents(bundle) == {"a": b"a" * 10}


def test_write__heartbeat_keeps_the_upload_from_the_sweep(settings, monkeypatch):
    """P5."""
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 400
    clock = Clock(monkeypatch)
    bundle = new_bundle()
    with bundle.upload(declared=10, name="a") as upload:
        writer = upload.add("a")
        Attachment.objects.update(modified=timezone.now() - DAY)
        clock.now += 100
        writer.write(b"a" * 10)
        assert elsewhere(remove_outdated).abandoned == 0
        writer.finish()
        upload.publish()
    assert contents(bundle) == {"a": b"a" * 10}


class Waiting(FileSystemStorage):
    """Saves a file when its upload has shown life, and reads it in other threads."""

    def _save(self, name, content):
        wait_for_a_beat()
        return super()._save(name, ContentFile(elsewhere(content.read)))


def wait_for_a_beat(file=None):
    """A validator, or a part of a storage, that takes longer than the lease."""
    Attachment.objects.filter(state=State.UPLOADING).update(
        modified=timezone.now() - DAY
    )
    deadline = time.monotonic() + 30
    while not fresh_rows():
        assert time.monotonic() < deadline, "no sign of life"
        time.sleep(0.01)


def metadata(file):
    wait_for_a_beat()
    return {"seen": True}


def use_validator(settings, path):
    settings.SESSION_ATTACHMENTS_VALIDATORS = [path]


#: What may keep a file for longer than the lease.
SLOW = {
    "storage": lambda settings: use_storage(settings, f"{__name__}.Waiting"),
    "validator": lambda settings: use_validator(
        settings, f"{__name__}.wait_for_a_beat"
    ),
    "metadata": lambda settings: setattr(
        settings, "SESSION_ATTACHMENTS_METADATA", f"{__name__}.metadata"
    ),
}


@pytest.fixture
def opened(monkeypatch):
    """The connections that threads have opened from now on."""
    connect, seen = BaseDatabaseWrapper.connect, []

    def noted(self):
        if threading.current_thread() is not threading.main_thread():
            seen.append(self)
        connect(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "connect", noted)
    return seen


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_write__heartbeat_while_others_have_the_file(settings, opened, slow):
    """P5: the sweep knows of no difference between that and an upload."""
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 1
    slow(settings)
    threads = threading.active_count()
    row = put(new_bundle())
    assert threading.active_count() == threads
    assert opened
    assert all(each.connection is None for each in opened)
    assert_only(row)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_write__heartbeat_ends_with_what_it_is_for(settings, monkeypatch, error):
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 1

    def fail(opened):
        wait_for_a_beat()
        raise error

    settings.SESSION_ATTACHMENTS_VALIDATORS = ["builtins.id"]
    monkeypatch.setattr(validators, "validate", fail)
    threads = threading.active_count()
    with pytest.raises(error):
        put(new_bundle())
    assert threading.active_count() == threads
    assert_only()


def test_write__heartbeat_that_fails_is_made_up_for(settings, monkeypatch, caplog):
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 1
    use_validator(settings, f"{__name__}.wait_for_a_beat")
    fail = crash_with(OperationalError("gone away"))
    before(monkeypatch, store.Upload, "_touch", fail)
    row = put(new_bundle())
    assert "gone away" in caplog.text
    assert_only(row)


def test_write__heartbeat_of_a_plain_file_needs_no_thread(settings, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", crash_with(AssertionError))
    put(new_bundle())
    use_storage(settings, MEMORY)
    with transaction.atomic():
        put(new_bundle())
    with pytest.raises(AssertionError):
        put(new_bundle())


ENDINGS = {
    "logout": lambda session: receivers.end_session(SimpleNamespace(session=session)),
    "sweep": lambda session: remove_outdated(now=timezone.now() + DAY / 2),
    "late sweep": lambda session: sweep_all(),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize(
    "moment", ["reserved", "opened", "written", "validated", "delivered", "published"]
)
def test_write__ended_meanwhile(any_storage, spam, end, moment, settings, monkeypatch):
    """P4, P5: whoever ends an upload wins, whenever it was; and nothing is left."""
    settings.SESSION_ATTACHMENTS_LIFETIME = 10_000
    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_store.noted"]
    hooks = {
        "reserved": (storage.Sink, "_create"),
        "opened": (storage.Sink, "write"),
        "written": (store, "sniff"),
        "validated": (validators, "validate"),
        "delivered": (storage.Sink, "deliver"),
        "published": (store.Upload, "_settle"),
    }
    before(monkeypatch, *hooks[moment], lambda: elsewhere(lambda: end(spam.session)))
    with pytest.raises(SessionEnded):
        upload(spam, "spam.txt")
    sweep_all()
    if end is ENDINGS["logout"]:
        assert_only()
    else:
        assert contents(spam) == {"spam.txt": b"old\n"}
        assert_only(*spam.values())


def noted(file):
    assert file.read()


def test_write__ended_meanwhile_is_noticed_by_the_heartbeat(spam, monkeypatch):
    clock = Clock(monkeypatch)
    with ends_with(SessionEnded), spam.upload(declared=10, name="a") as upload:
        writer = upload.add("a")
        Attachment.objects.filter(state=State.UPLOADING).doom(timezone.now())
        clock.now += 10_000
        writer.write(b"a")
    assert_only(*spam.values())


def test_write__deleted_through_the_orm_meanwhile(spam):
    with ends_with(SessionEnded), spam.upload(declared=1, name="a") as upload:
        writer = upload.add("a")
        writer.write(b"a")
        elsewhere(lambda: Attachment.objects.filter(state=State.UPLOADING).delete())
        writer.finish()
        upload.publish()
    sweep_all()
    assert_only(*spam.values())


def test_write__sees_more_bytes_than_were_declared():
    with ends_with(IncompleteBody), new_bundle().upload(declared=9) as upload:
        for name in ("a", "b"):
            upload.add(name).write(bytes(5))
    assert_only()


def test_write__is_exact_to_the_byte(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1
    bundle = new_bundle()
    row = put(bundle, "a", bytes(MIB))
    with pytest.raises(TooLarge) as refusal:
        upload(bundle, "b", data=bytes(MIB + 1))
    assert refusal.value.limit == MIB
    assert_only(row)


def test_write__short_writes_are_continued(monkeypatch, any_storage):
    use_disk(monkeypatch, write=lambda file, data: file.write(data[:3]))
    assert read(put(new_bundle(), data=b"0123456789")) == b"0123456789"


# -- publish


def test_publish__stores_what_was_sent(any_storage):
    """P1."""
    bundle = new_bundle()
    data = bytes(range(256)) * 1024
    row = put(bundle, "a.bin", data)
    assert (row.size, row.reserved, row.state) == (len(data), len(data), State.STORED)
    stored = Attachment.objects.get()
    assert stored == row
    assert stored.created == stored.modified == row.created
    assert read(stored) == data
    assert_only(row)


def test_publish__replaces(any_storage, spam):
    [old] = spam.values()
    new = put(spam, data=b"new\n")
    assert contents(spam) == {"spam.txt": b"new\n"}
    assert new.public_id != old.public_id
    assert new.created > old.created
    sweep_all()
    assert_only(new)


def test_publish__reader_gets_all_of_the_old_or_all_of_the_new(any_storage):
    """P2."""
    bundle = new_bundle()
    size = 100_000
    put(bundle, data=b"0" * size)
    done = threading.Event()

    def write():
        try:
            for digit in list(b"123456789") * 2:
                put(bundle, data=bytes([digit]) * size)
        finally:
            done.set()

    def observe():
        seen = []
        while not done.is_set():
            data = read(bundle["spam.txt"])
            assert len(data) == size
            assert len(set(data)) == 1
            seen.append(data[0])
        return len(seen)

    # Whoever opens one file of Django's memory at the same time shares its position.
    observers = [observe] if any_storage == MEMORY else [observe, observe]
    wrote, *observed = in_parallel(write, *observers)
    assert wrote is None
    assert all(isinstance(seen, int) and seen for seen in observed), observed


def test_publish__one_name_by_eight_threads():
    """P1, P3: what was acknowledged is there, or has been replaced; once."""
    bundle = new_bundle()

    def write(writer):
        return [put(bundle, data=b"%d/%d" % (writer, n)) for n in range(25)]

    written = in_parallel(*[lambda n=n: write(n) for n in range(8)])
    assert [len(rows) for rows in written] == [25] * 8, written
    last = bundle["spam.txt"]
    assert last in [rows[-1] for rows in written]
    assert states()["stored"] == 1
    sweep_all()
    assert_only(last)


def test_publish__new_only_lets_one_of_eight_pass():
    bundle = new_bundle()
    results = in_parallel(
        *[
            lambda: upload(bundle, "a", name="a", precondition=new_only)
            for _ in range(8)
        ]
    )
    [[row]] = [result for result in results if isinstance(result, list)]
    refused = [result for result in results if isinstance(result, Exception)]
    assert {type(error) for error in refused} == {PreconditionFailed}
    assert_only(row)


def test_publish__asks_for_the_precondition_again(spam):
    """`If-Match` holds when the upload begins, and no longer when it ends."""
    [old] = spam.values()

    def is_old(current):
        if current != old:
            raise PreconditionFailed

    with (
        ends_with(PreconditionFailed),
        spam.upload(declared=4, name="spam.txt", precondition=is_old) as upload,
    ):
        writer = upload.add("spam.txt")
        writer.write(b"mine")
        writer.finish(4)
        new = elsewhere(lambda: put(spam, data=b"theirs"))
        upload.publish()
    assert contents(spam) == {"spam.txt": b"theirs"}
    sweep_all()
    assert_only(new)


def test_publish__takes_only_what_it_has_seen(spam):
    """What is taken by another between the look and the act is looked at again."""
    [old] = spam.values()
    seen = []

    def look(current):
        seen.append(current)
        if len(seen) == 2:
            Attachment.objects.filter(pk=current.pk).doom(timezone.now())

    [new] = upload(spam, "spam.txt", name="spam.txt", precondition=look)
    assert seen == [old, old, old]
    assert contents(spam) == {"spam.txt": b"new\n"}
    sweep_all()
    assert_only(new)


@pytest.mark.parametrize("name", ["a", None], ids=["file", "form"])
def test_publish__bills_what_has_arrived(name):
    with new_bundle().upload(declared=30_000, name=name) as upload:
        writer = upload.add("a")
        writer.write(bytes(20_000))
        writer.finish()
        assert Attachment.objects.get().reserved == 30_000
        [row] = upload.publish()
    assert row.reserved == Attachment.objects.get().reserved == 20_000


def test_publish__of_several_is_all_or_none(spam):
    egg = put(spam, "egg.txt")
    rows = upload(spam, "spam.txt", "ham.txt", data=b"1")
    assert [row.name for row in rows] == ["ham.txt", "spam.txt"]
    with ends_with(IncompleteBody), spam.upload(declared=4) as more:
        for name, size in (("egg.txt", 1), ("spam.txt", 2)):
            writer = more.add(name)
            writer.write(b"2")
            writer.finish(size)
        more.publish()
    assert contents(spam) == {"egg.txt": b"spam\n", "ham.txt": b"1", "spam.txt": b"1"}
    sweep_all()
    assert_only(egg, *rows)


def test_publish__of_several_is_seen_at_once():
    bundle = new_bundle()
    seen, done = set(), threading.Event()

    def write():
        try:
            for n in range(10):
                upload(bundle, "a", "b", "c", data=b"%d" % n)
        finally:
            done.set()

    def observe():
        while not done.is_set():
            rows = bundle.attachments().values_list("created", flat=True)
            seen.add(len(set(rows)))

    assert in_parallel(write, observe) == [None, None]
    assert seen <= {0, 1}


def test_publish__two_files_of_one_name():
    with pytest.raises(DuplicateName):
        upload(new_bundle(), "a", "x/a")
    assert_only()


def test_publish__begins_with_a_write(spam):
    """Else SQLite, asked for its lock after a read, fails under load."""
    statements = []

    def note(execute, sql, params, many, context):
        statements.append(sql.split()[0])
        return execute(sql, params, many, context)

    with spam.upload(declared=1, name="a") as upload:
        writer = upload.add("a")
        writer.write(b"a")
        writer.finish()
        with connection.execute_wrapper(note):
            upload.publish()
    assert next(word for word in statements if word != "BEGIN") == "UPDATE"


@pytest.mark.parametrize("reports", [1, 3, 100])
def test_publish__commit_that_is_reported_as_failed(spam, monkeypatch, reports):
    """P1: the file is stored, and so is what is answered."""
    no_pauses(monkeypatch)
    with spam.upload(declared=4, name="spam.txt") as upload:
        writer = upload.add("spam.txt")
        writer.write(b"new\n")
        writer.finish()
        lose_commits(monkeypatch, reports)
        [row] = upload.publish()
    monkeypatch.undo()
    assert [replaced.name for replaced in upload.replaced] == ["spam.txt"]
    assert contents(spam) == {"spam.txt": b"new\n"}
    sweep_all()
    assert_only(row)


@pytest.mark.parametrize("error", [KeyboardInterrupt, DatabaseError])
def test_publish__error_after_the_commit_keeps_the_file(spam, monkeypatch, error):
    """Nobody knows whether it came through; the row does."""
    with ends_with(error), spam.upload(declared=4, name="spam.txt") as upload:
        writer = upload.add("spam.txt")
        writer.write(b"new\n")
        writer.finish()
        lose_commits(monkeypatch, 1, error)
        upload.publish()
    assert contents(spam) == {"spam.txt": b"new\n"}
    sweep_all()
    assert_only(*spam.values())


def test_publish__commit_that_fails_is_repeated_from_the_start(spam, monkeypatch):
    commit, left = BaseDatabaseWrapper._commit, [2]

    def failing(self):
        if left[0]:
            left[0] -= 1
            raise OperationalError("the connection was lost")
        return commit(self)

    with spam.upload(declared=4, name="spam.txt") as upload:
        writer = upload.add("spam.txt")
        writer.write(b"new\n")
        writer.finish()
        monkeypatch.setattr(BaseDatabaseWrapper, "_commit", failing)
        [row] = upload.publish()
    assert left == [0]
    assert contents(spam) == {"spam.txt": b"new\n"}
    sweep_all()
    assert_only(row)


@pytest.mark.parametrize("error", [IntegrityError, OperationalError])
@pytest.mark.parametrize("nth", range(1, 5))
def test_publish__collision_at_any_statement_is_tried_again(spam, error, nth):
    """The whole transaction: update, look, doom, set; never a part of it."""
    with spam.upload(declared=4, name="spam.txt") as upload:
        writer = upload.add("spam.txt")
        writer.write(b"new\n")
        writer.finish()
        failing = Failing(error, nth)
        with connection.execute_wrapper(failing):
            [row] = upload.publish()
    assert failing.raised
    assert contents(spam) == {"spam.txt": b"new\n"}
    sweep_all()
    assert_only(row)


@pytest.mark.parametrize("nth", range(1, 5))
def test_publish__busy_changes_nothing(spam, monkeypatch, nth):
    no_pauses(monkeypatch)
    [old] = spam.values()
    with ends_with(Busy), spam.upload(declared=4, name="spam.txt") as upload:
        writer = upload.add("spam.txt")
        writer.write(b"new\n")
        writer.finish()
        with connection.execute_wrapper(Failing(OperationalError, nth, always=True)):
            upload.publish()
    assert contents(spam) == {"spam.txt": b"old\n"}
    assert_only(old)


def test_publish__while_the_old_file_is_removed_by_its_visitor(spam):
    [old] = spam.values()
    results = in_parallel(
        lambda: put(spam, data=b"new\n"), lambda: spam.remove("spam.txt")
    )
    assert isinstance(results[0], Attachment)
    sweep_all()
    rows = spam.values()
    assert rows in ([], [results[0]])
    assert old not in rows
    assert_only(*rows)


# -- failures

FAILURES = {}


def failure(expected):
    """Register a fault: a function that brings it about, and what is raised."""

    def register(inject):
        FAILURES[inject.__name__] = (inject, expected)
        return inject

    return register


def os_error(number):
    return OSError(number, os.strerror(number))


def half_a_write(file, data):
    """A disk that has room for some of it only."""
    file.write(data[:2])
    raise os_error(errno.ENOSPC)


@failure(Busy)
def insert(monkeypatch, settings):
    no_pauses(monkeypatch)
    monkeypatch.setattr(Attachment, "save", crash_with(OperationalError("locked")))


@failure(SessionFull)
def quota(monkeypatch, settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = BLOCK / MIB


@failure(DiskFull)
def free_space(monkeypatch, settings):
    settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 10**12


@failure(StorageFailed)
def open_denied(monkeypatch, settings):
    monkeypatch.setattr(storage.Sink, "_create", crash_with(os_error(errno.EACCES)))


@failure(DiskFull)
def open_no_space(monkeypatch, settings):
    monkeypatch.setattr(storage.Sink, "_create", crash_with(os_error(errno.ENOSPC)))


@failure(DiskFull)
def write_no_space(monkeypatch, settings):
    use_disk(monkeypatch, write=half_a_write)


@failure(DiskFull)
def write_disk_quota(monkeypatch, settings):
    use_disk(monkeypatch, write=crash_with(os_error(errno.EDQUOT)))


@failure(StorageFailed)
def write_io_error(monkeypatch, settings):
    use_disk(monkeypatch, write=crash_with(os_error(errno.EIO)))


@failure(KeyboardInterrupt)
def write_interrupted(monkeypatch, settings):
    use_disk(monkeypatch, write=crash_with(KeyboardInterrupt()))


@failure(DiskFull)
def close_no_space(monkeypatch, settings):
    """A network's file system says so late."""
    use_disk(monkeypatch, close=os_error(errno.ENOSPC))


@failure(RuntimeError)
def sniff(monkeypatch, settings):
    monkeypatch.setattr(store, "sniff", crash_with(RuntimeError()))


@failure(TypeNotAllowed)
def type_not_allowed(monkeypatch, settings):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = ["image/*"]


@failure(Invalid)
def validator_refuses(monkeypatch, settings):
    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_store.refuse"]


@failure(Invalid)
def validator_crashes(monkeypatch, settings):
    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_store.crash"]


@failure(KeyboardInterrupt)
def deliver_interrupted(monkeypatch, settings):
    monkeypatch.setattr(storage.Sink, "deliver", crash_with(KeyboardInterrupt()))


@failure(StorageFailed)
def deliver_truncated(monkeypatch, settings):
    """The disk keeps less than it has said that it took."""
    use_disk(monkeypatch, write=lambda file, data: file.write(data[1:]) + 1)


@failure(Busy)
def publish_collides(monkeypatch, settings):
    no_pauses(monkeypatch)
    monkeypatch.setattr(store.Upload, "_publish", crash_with(IntegrityError()))


@failure(DatabaseError)
def publish_crashes(monkeypatch, settings):
    monkeypatch.setattr(store.Upload, "_publish", crash_with(DatabaseError()))


@pytest.mark.parametrize("fault", FAILURES)
def test_failure__keeps_the_old_file_and_nothing_else(
    any_storage, spam, monkeypatch, settings, fault
):
    """P2, P3: an upload that fails, at whichever step, has not been."""
    [old] = spam.values()
    inject, expected = FAILURES[fault]
    with monkeypatch.context() as context:
        inject(context, settings)
        with pytest.raises(expected):
            put(spam, data=b"n" * 5000)
    assert contents(spam) == {"spam.txt": b"old\n"}
    assert_only(old)


class Failed(FileSystemStorage):
    """Takes the bytes and then fails."""

    def _save(self, name, content):
        super()._save(name, content)
        raise ConnectionError


class Renaming(FileSystemStorage):
    def get_available_name(self, name, max_length=None):
        return f"{name}_0"


class Truncating(FileSystemStorage):
    def _save(self, name, content):
        return super()._save(name, ContentFile(content.read()[:-1]))


class Full(FileSystemStorage):
    def _save(self, name, content):
        super()._save(name, ContentFile(content.read()[:-1]))
        raise os_error(errno.ENOSPC)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (Failed, StorageFailed),
        (Renaming, StorageFailed),
        (Truncating, StorageFailed),
        (Full, DiskFull),
    ],
)
def test_failure__of_a_storage_that_saves(spam, settings, backend, expected):
    [old] = spam.values()
    use_storage(settings, f"tests.test_store.{backend.__name__}")
    with pytest.raises(expected):
        put(spam, data=b"new\n")
    assert contents(spam) == {"spam.txt": b"old\n"}
    assert_only(old)


def test_failure__of_the_second_file_removes_the_first(any_storage, spam):
    kept = spam.values()
    with ends_with(IncompleteBody), spam.upload(declared=100) as upload:
        for name, size in (("a", 1), ("b", 2)):
            writer = upload.add(name)
            writer.write(b"1")
            writer.finish(size)
    assert_only(*kept)


def test_failure__of_the_database_is_left_to_the_sweep(spam, monkeypatch, caplog):
    """When not even the row can be doomed, the upload's own error is what is told."""
    no_pauses(monkeypatch)
    kept = spam.values()
    outage = Failing(OperationalError, None, always=True)
    with (
        connection.execute_wrapper(outage),
        ends_with(IncompleteBody),
        spam.upload(declared=4, name="a") as upload,
    ):
        writer = upload.add("a")
        outage.seen, outage.nth = 0, 1
        writer.write(b"12345")
    assert "left to the sweep" in caplog.text
    assert states() == {"stored": 1, "uploading": 1}
    sweep_all()
    assert_only(*kept)


def test_failure__to_remove_is_left_to_the_sweep(spam, monkeypatch, settings):
    kept = spam.values()
    with monkeypatch.context() as context:
        context.setattr(FileSystemStorage, "delete", crash_with(OSError()))
        with pytest.raises(IncompleteBody), spam.upload(declared=4, name="a") as upload:
            upload.add("a").write(b"12345")
    assert states() == {"stored": 1, "doomed": 1}
    assert len(files()) == 2
    sweep_all()
    assert_only(*kept)


# -- limits (P8)


@pytest.mark.parametrize("form", [False, True], ids=["file", "form"])
@pytest.mark.parametrize(
    ("setting", "limit", "refusal"),
    [
        ("MAX_SESSION_SIZE", 8 * BLOCK / MIB, SessionFull),
        ("MAX_SITE_SIZE", 8 * BLOCK / MIB, SiteFull),
        ("MAX_FILES", 8, BundleFull),
    ],
)
def test_quota__sixteen_race_for_eight_places(settings, setting, limit, refusal, form):
    """P8: committed, then counted; however they race, never more than eight pass."""
    setattr(settings, f"SESSION_ATTACHMENTS_{setting}", limit)
    session = visitor()

    def owner(n):
        if setting == "MAX_FILES":
            return Bundle(session, "foo")
        return Bundle(session if setting == "MAX_SESSION_SIZE" else visitor(), f"{n}")

    bundles = [owner(n) for n in range(16)]
    results = in_parallel(
        *[
            lambda bundle=bundle, name=f"{n}": upload(
                bundle, name, data=b"1", name=None if form else name
            )
            for n, bundle in enumerate(bundles)
        ]
    )
    stored = [row for result in results if isinstance(result, list) for row in result]
    refused = [result for result in results if isinstance(result, Exception)]
    assert {type(error) for error in refused} == {refusal}
    assert len(stored) <= 8
    assert_only(*stored)


@pytest.mark.parametrize("setting", ["MAX_SESSION_SIZE", "MAX_SITE_SIZE"])
def test_quota__counts_what_is_not_removed_yet(settings, setting):
    """Else replacing in a loop fills the disk."""
    setattr(settings, f"SESSION_ATTACHMENTS_{setting}", 3)
    bundle = new_bundle()
    for _ in range(3):
        put(bundle, data=bytes(MIB))
    with pytest.raises((SessionFull, SiteFull)):
        put(bundle, data=bytes(MIB + 1))
    settings.SESSION_ATTACHMENTS_GRACE = 0.000001
    put(bundle, data=bytes(MIB + 1))
    assert states() == {"stored": 1, "doomed": 1}


@pytest.mark.parametrize("form", [False, True], ids=["file", "form"])
def test_quota__does_not_count_the_row_that_is_replaced(settings, form):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    settings.SESSION_ATTACHMENTS_MAX_FILES = 1
    bundle = new_bundle()
    put(bundle, "a", bytes(MIB))
    data = bytes(MIB)
    [row] = upload(bundle, "a", data=data, name=None if form else "a")
    assert bundle["a"] == row


@pytest.mark.parametrize("form", [False, True], ids=["file", "form"])
def test_quota__counts_a_row_that_is_not_replaced(settings, form):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    bundle = new_bundle()
    row = put(bundle, "a", bytes(MIB))
    with pytest.raises(SessionFull):
        upload(bundle, "b", data=b"1", name=None if form else "b")
    with pytest.raises(SessionFull):
        upload(Bundle(bundle.session, "bar"), "a", name=None if form else "a")
    assert_only(row)


def test_quota__replaced_row_of_another_bundle_makes_no_room(settings):
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = 1
    row = put(new_bundle(), "a", bytes(MIB))
    with pytest.raises(SiteFull):
        put(new_bundle(), "a")
    assert_only(row)


def test_quota__tombstone_without_bytes_counts_nothing(settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    bundle = new_bundle()
    lost = bundle.upload(declared=MIB, name="a")
    lost.__enter__()
    lost.add("a").sink.close()  # and its process is killed
    with pytest.raises(SessionFull):
        put(bundle)
    remove_outdated(now=timezone.now() + DAY / 2)
    assert states() == {"doomed": 1}, "its writer may be alive"
    put(bundle, data=bytes(MIB))


def test_quota__form_reserves_its_length_once(settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 2
    bundle = new_bundle()
    with bundle.upload(declared=2 * MIB) as upload:
        for name in ("a", "b"):
            writer = upload.add(name)
            writer.write(bytes(MIB))
            writer.finish()
        reserved = Attachment.objects.values_list("reserved", flat=True)
        assert sorted(reserved) == [BLOCK, 2 * MIB]
        rows = upload.publish()
    assert [row.reserved for row in rows] == [MIB, MIB]
    with pytest.raises(SessionFull):
        put(bundle, "c")


def test_quota__upload_in_flight_counts_with_all_that_it_declared(settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    bundle = new_bundle()
    with bundle.upload(declared=MIB, name="a"), pytest.raises(SessionFull):
        put(bundle, "b")
    assert_only()


def test_quota__form_gives_back_what_did_not_arrive(settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    bundle = new_bundle()
    with bundle.upload(declared=MIB + 60_000) as form:
        writer = form.add("a")
        writer.write(bytes(MIB))
        writer.finish()
        [row] = form.publish()
    assert Attachment.objects.get().reserved == MIB
    assert_only(row)


def test_quota__smallest_file_counts_a_block(settings):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 2 * BLOCK / MIB
    bundle = new_bundle()
    rows = [put(bundle, name, b"") for name in ("a", "b")]
    with pytest.raises(SessionFull):
        put(bundle, "c", b"")
    assert_only(*rows)


def test_quota__none_is_no_limit(settings):
    for name in ("MAX_FILE_SIZE", "MAX_FILES", "MAX_SESSION_SIZE", "MAX_SITE_SIZE"):
        setattr(settings, f"SESSION_ATTACHMENTS_{name}", None)
    assert_only(put(new_bundle(), data=bytes(MIB)))


# -- inside a transaction of the caller's


def test_joined__is_published_with_the_commit(any_storage):
    bundle = new_bundle()
    with transaction.atomic():
        row = put(bundle)
        assert row.key.startswith(storage.JOINED_PREFIX)
        assert contents(bundle) == {"spam.txt": b"spam\n"}
        if connection.vendor != "sqlite":
            assert elsewhere(Attachment.objects.count) == 0
    assert elsewhere(lambda: contents(bundle)) == {"spam.txt": b"spam\n"}
    sweep_all()
    assert_only(row)


def test_joined__leaves_the_sessions_earlier_uploads_alone(spam):
    """Others would have to wait for what it has cleaned up until the commit."""
    row = spam["spam.txt"]
    given_up = make("a", State.UPLOADING, age=DAY, session_key=row.session_key)
    with transaction.atomic():
        put(spam, "b")
        given_up.refresh_from_db()
        assert given_up.state == State.UPLOADING
    put(spam, "c")
    given_up.refresh_from_db()
    assert given_up.state == State.DOOMED


def test_joined__replaces_with_the_commit(spam):
    with transaction.atomic():
        row = put(spam, data=b"new\n")
    assert contents(spam) == {"spam.txt": b"new\n"}
    sweep_all()
    assert_only(row)


def test_joined__rollback_leaves_nothing_after_the_sweep(any_storage, spam):
    """P3: the sweep lists what such transactions write, once they must be over."""
    [old] = spam.values()
    with ends_with(ZeroDivisionError), transaction.atomic():
        put(spam, data=b"new\n")
        put(spam, "egg.txt")
        raise ZeroDivisionError
    assert contents(spam) == {"spam.txt": b"old\n"}
    assert len(files()) == 3
    remove_outdated(lifetime=OLD_AGE, now=timezone.now() + DAY / 2)
    assert len(files()) == 3, "another such transaction may still be running"
    sweep_all()
    assert_only(old)


def test_joined__rollback_to_a_savepoint(spam):
    [old] = spam.values()
    with transaction.atomic():
        with ends_with(ZeroDivisionError), transaction.atomic():
            put(spam, data=b"new\n")
            raise ZeroDivisionError
        egg = put(spam, "egg.txt")
    assert contents(spam) == {"egg.txt": b"spam\n", "spam.txt": b"old\n"}
    sweep_all()
    assert_only(old, egg)


@pytest.mark.parametrize("fault", FAILURES)
def test_joined__caller_catches_the_error_and_goes_on(
    spam, monkeypatch, settings, fault
):
    [old] = spam.values()
    inject, expected = FAILURES[fault]
    with transaction.atomic():
        with monkeypatch.context() as context:
            inject(context, settings)
            with pytest.raises(expected):
                put(spam, data=b"n" * 5000)
        settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
        settings.SESSION_ATTACHMENTS_MIN_FREE_SPACE = 0
        settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = None
        settings.SESSION_ATTACHMENTS_VALIDATORS = ()
        egg = put(spam, "egg.txt")
    assert contents(spam) == {"egg.txt": b"spam\n", "spam.txt": b"old\n"}
    assert_only(old, egg)


def test_joined__in_a_transaction_that_is_already_lost(spam, caplog):
    """The bytes go at once, and the rows go with the transaction."""
    [old] = spam.values()
    with (
        transaction.atomic(),
        ends_with(IncompleteBody),
        spam.upload(declared=1) as upload,
    ):
        upload.add("a")
        transaction.set_rollback(True)
        raise IncompleteBody
    assert caplog.text == ""
    assert_only(old)


def test_joined__two_transactions_replace_one_name(spam):
    def replace(data):
        with transaction.atomic():
            return put(spam, data=data)

    results = in_parallel(*[lambda n=n: replace(b"%d" % n) for n in range(4)])
    stored = [row for row in results if isinstance(row, Attachment)]
    assert all(isinstance(row, Attachment | Busy) for row in results), results
    assert stored
    assert spam["spam.txt"] in stored
    sweep_all()
    assert_only(spam["spam.txt"])


def test_joined__in_a_transaction_that_is_lost_on_publishing(spam, monkeypatch):
    """To MariaDB, for a deadlock: the answer is that of any other collision."""

    def deadlock(self):
        transaction.set_rollback(True)
        raise OperationalError("Deadlock found")

    monkeypatch.setattr(store.Upload, "_publish", deadlock)
    with pytest.raises(Busy), transaction.atomic():
        put(spam)
    assert contents(spam) == {"spam.txt": b"old\n"}
    assert_only(*spam.values())


@pytest.mark.django_db(transaction=False)
def test_joined__all_of_it_in_a_testcase(settings, django_capture_on_commit_callbacks):
    """A site's own tests run inside a transaction that is never committed."""
    bundle = new_bundle()
    put(bundle, data=b"old\n")
    put(bundle, data=b"new\n")
    put(bundle, "egg.txt")
    assert contents(bundle) == {"egg.txt": b"spam\n", "spam.txt": b"new\n"}
    with django_capture_on_commit_callbacks(execute=True):
        del bundle["egg.txt"]
        with bundle.claim() as [file]:
            assert file.read() == b"new\n"
    assert len(bundle) == 0
    with django_capture_on_commit_callbacks(execute=True):
        sweep_all()
    assert_only()


def save_in_view(request, name):
    bundle = Bundle(request, "foo")
    bundle.save(name, ContentFile(b"spam\n"))
    if name == "bad":
        raise ZeroDivisionError
    return HttpResponse(str(len(bundle)))


urlpatterns = [path("<name>", save_in_view)]


@pytest.mark.urls("tests.test_store")
def test_joined__view_under_atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)
    assert client.get("/good").content == b"1"
    assert client.get("/bad").status_code == 500
    assert client.get("/better").content == b"2"
    sweep_all()
    assert_only(*Bundle(client.session, "foo").values())


# -- names


def test_name__is_made_canonical():
    bundle = new_bundle()
    row = put(bundle, "C:\\spam\\u\u0308.txt ")
    assert row.name == "\u00fc.txt"
    assert bundle["\u00fc.txt"] == bundle["x/u\u0308.txt"] == row


def test_name__that_cannot_be_one_creates_nothing():
    with pytest.raises(BadName):
        put(new_bundle(), "..")
    with pytest.raises(BadName), new_bundle().upload(declared=1) as upload:
        upload.add("..")
    assert_only()
