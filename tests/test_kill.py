"""P3: killing any process at any moment loses nothing, and leaves nothing."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager

import pytest
from django.conf import settings as project
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.utils import timezone

from session_attachments.models import Attachment
from session_attachments.sweep import remove_outdated
from tests.killed import ACTS, NAMES, SHARED, bundle_of, pin_of, put
from tests.lifecycle import (
    DAY,
    LOCAL,
    OLD_AGE,
    assert_only,
    contents,
    ends_with,
    files,
    read,
    sweep_all,
    use_storage,
)
from tests.mailbox.models import Mail, MailFile, Ticket

pytestmark = pytest.mark.django_db(transaction=True)

STORAGES = {"local": LOCAL, "spooled": "tests.lifecycle.Cabinet"}
PIN = pin_of(0)


class Worker:
    """A process of `tests.killed`."""

    def __init__(self, process):
        self.process = process

    def order(self, **order):
        """Tell it what to do; `answer` waits for the result."""
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())


@contextmanager
def start(**replaced):
    """A worker with the test's database and folders, and these settings."""
    environment = os.environ | {
        "TEST_ROOT": str(project.TEST_ROOT),
        "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "TEST_SETTINGS": json.dumps(replaced),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.killed"],
        cwd=project.BASE_DIR,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Worker(process)
        finally:
            process.stdin.close()


@pytest.fixture(scope="module")
def worker(django_db_setup):
    """One for all cases, because its start takes longer than many of them."""
    with start() as worker:
        yield worker


@pytest.fixture(autouse=True)
def no_fsync(transactional_db):
    """The machine stays alive here: what a process has written is written."""
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA synchronous = OFF")


# -- at every step


def two_files(bundle):
    put(bundle, "a", b"old")
    put(bundle, "b", b"old")


def expired_files(bundle):
    two_files(bundle)
    bundle.attachments().update(created=timezone.now() - 200 * DAY)


def replaced_files(bundle):
    """Two files that wait for the sweep beside two that are stored."""
    two_files(bundle)
    two_files(bundle)


def lapsed_uploads(bundle):
    """The uploads of two processes that were killed, beside two files."""
    two_files(bundle)
    for name in ("c", "d"):
        upload = bundle.upload(declared=100, name=name)
        upload.__enter__()
        writer = upload.add(name)
        writer.write(b"half")
        writer.sink.close()


def tombstones(bundle):
    """What is left of them after a sweep, and the files of a writer that woke up."""
    lapsed_uploads(bundle)
    left = files()
    remove_outdated(lifetime=OLD_AGE, now=timezone.now() + DAY / 2)
    for key in left - files():
        path = project.FOLDERS["attachments"] / key
        path = path if path.parent.is_dir() else project.FOLDERS["uploads"] / key
        path.write_bytes(b"late")
    assert files() == left


def strays(bundle):
    """The file of a transaction that was rolled back, beside two files."""
    two_files(bundle)
    with ends_with(ZeroDivisionError), transaction.atomic():
        put(bundle, "c", b"new")
        raise ZeroDivisionError


OLD = {"a": b"old", "b": b"old"}
NEW = {"a": b"new", "b": b"old", "c": b"new"}
# What a process does, with which files, and what they are when it is through.
CASES = {
    "put": (lambda bundle: None, {"a": b"new"}),
    "put in place": (two_files, {"a": b"new", "b": b"old"}),
    "put a form": (two_files, NEW),
    "put, refused": (two_files, OLD),
    "put, joined": (two_files, NEW),
    "put, rolled back": (two_files, OLD),
    "put, falling back": (two_files, {"a": b"new", "b": b"old"}),
    "put after lapsed": (lapsed_uploads, {"a": b"new", "b": b"old"}),
    "remove": (two_files, {"b": b"old"}),
    "clear": (two_files, {}),
    "claim": (two_files, {}),
    "claim by moving": (two_files, {}),
    "claim for an object": (two_files, {}),
    "delete rows": (two_files, {}),
    "log out": (two_files, {}),
    "expire": (expired_files, {}),
    "sweep": (replaced_files, OLD),
    "sweep of lapsed": (lapsed_uploads, OLD),
    "sweep late": (tombstones, OLD),
    "sweep late of strays": (strays, OLD),
}
SPOOLED = ["put in place", "put, refused", "put, joined", "sweep of lapsed"]


@pytest.mark.parametrize(
    ("backend", "case"),
    [("local", case) for case in CASES] + [("spooled", case) for case in SPOOLED],
)
def test_kill__at_every_step(worker, settings, backend, case):
    """Killed before its first effect, then its second, until it comes through.

    What was acknowledged is there, else it is all or nothing; and a sweep leaves only
    what can be seen.
    """
    use_storage(settings, STORAGES[backend])
    settings.STORAGES["down"] = settings.STORAGES["session_attachments"]
    prepare, through = CASES[case]
    act = max((name for name in ACTS if case.startswith(name)), key=len)
    bundle, kills, killed = bundle_of(PIN), 0, True
    while killed:
        prepare(bundle)
        before = contents(bundle)
        worker.order(
            do="act", act=act, pin=PIN, at=kills + 1, backend=STORAGES[backend]
        )
        result = worker.answer()
        killed, after = result["killed"], contents(bundle)
        assert killed != result["acknowledged"]
        assert after in (before, through), f"killed at {kills + 1}"
        assert killed or after == through
        taken = Group.objects.count() + MailFile.objects.count()
        taken += Attachment.objects.claimed().count()
        assert taken == (2 if case.startswith("claim") and after == through else 0)
        sweep_all()
        assert contents(bundle) == after
        kept = [*bundle.values(), *Attachment.objects.claimed()]
        assert set(Attachment.objects.all()) == set(kept)
        assert files() == {row.key for row in kept}
        for model in (Attachment, Group, Mail, Ticket):
            model.objects.all().delete()
        kills += killed
    assert kills >= 3


# -- at any moment

SECONDS = {"sqlite": 10, "postgresql": 6, "mysql": 6}
WORKERS = 3


@pytest.mark.parametrize("backend", STORAGES)
def test_kill__storm(settings, tmp_path, backend):
    """Visitors who store, replace, remove and claim, and sweeps; all killed at random.

    The sweeps among them give up an upload within seconds, and take a writer for dead
    after a minute.
    """
    use_storage(settings, STORAGES[backend])
    seconds = SECONDS[connection.vendor] / (1 if backend == "local" else 2)
    log = tmp_path / "log"
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                start(
                    SESSION_ATTACHMENTS_UPLOAD_LEASE=2,
                    SESSION_ATTACHMENTS_GRACE=0.1,
                    SESSION_ATTACHMENTS_REQUEST_TIMEOUT=60,
                )
            )
            for _ in range(WORKERS)
        ]
        for slot, worker in enumerate(workers):
            worker.order(
                do="storm",
                seconds=seconds,
                seed="seed",
                slot=slot,
                log=str(log),
                backend=STORAGES[backend],
            )
        kills = sum(worker.answer()["kills"] for worker in workers)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    done = Counter(event["kind"] for event in events if event["phase"] == "done")
    print(f"{kills} kills, {dict(done)}")
    assert kills > WORKERS * seconds
    assert done.keys() == {"put", "put shared", "remove", "claim", "sweep"}
    assert [event for event in events if event["phase"] == "crashed"] == []
    sweep_all()
    assert_only(*Attachment.objects.all())
    for slot in range(WORKERS):
        check(History([event for event in events if event["slot"] == slot]), slot)
    check_shared([event for event in events if event["kind"] == "put shared"])


class History:
    """What one visitor's files can be, and what was claimed, by the log.

    An operation that was killed may have come through; one that was acknowledged has,
    and one that has failed has not. `None` stands for no file.
    """

    def __init__(self, events):
        self.files = {name: {None} for name in NAMES}
        self.claims = {}
        for event in events:
            if event["kind"] in ("put", "remove", "claim"):
                getattr(self, event["phase"])(event)

    def begin(self, event):
        self.last = dict(self.files)
        self.names = event["names"]
        result = event["number"] if event["kind"] == "put" else None
        for name in self.names:
            self.files[name] = self.files[name] | {result}
        if event["kind"] == "claim":
            self.claims[event["number"]] = (self.last, None)

    def failed(self, event):
        self.files = self.last
        self.claims.pop(event["number"], None)
        if event["error"] == "NotFound":
            # Where the log knows that there is one file and no other, it was lost.
            assert all(
                self.files[name] == {None} or len(self.files[name]) > 1
                for name in self.names
            ), event

    def done(self, event):
        for name in self.names:
            if event["kind"] == "put":
                self.files[name] = {event["number"]}
            elif len(self.last[name]) == 1:
                self.files[name] = {None}
        if event["kind"] == "claim":
            self.claims[event["number"]] = (self.last, event["result"])


def check(history, slot):
    """What is stored is what the history allows; what was claimed is not."""
    stored = {name: number_of(row) for name, row in bundle_of(pin_of(slot)).items()}
    for name, possible in history.files.items():
        assert stored.get(name) in possible, (slot, name)
    claimed = Counter()
    for number, (before, lent) in history.claims.items():
        copies = dict(
            group.split("/")[1:]
            for group in Group.objects.filter(name__startswith=number).values_list(
                "name", flat=True
            )
        )
        claimed.update(copies.values())
        if lent is not None:
            assert sorted(copies) == lent, "what was acknowledged is all there"
        for name, possible in before.items():
            if copies or lent:
                assert copies.get(name) in possible, (slot, name)
    assert not claimed.keys() & set(stored.values()), "claimed, and still stored"


def number_of(row):
    """The operation that has stored the file, which is whole."""
    data = read(row)
    assert len(data) == row.size
    assert data[:16] == data[-16:]
    return data[:16].decode()


def check_shared(events):
    """One name for which all visitors contend, and which nobody removes.

    The last one is not known. But it is none that was acknowledged before another one
    began that was acknowledged, too.
    """
    times = defaultdict(dict)
    for event in events:
        times[event["number"]][event["phase"]] = event["time"]
    last = times[number_of(bundle_of(SHARED)["a"])]
    acknowledged = [put for put in times.values() if "done" in put]
    assert acknowledged
    assert not any(
        put["begin"] > last.get("done", put["begin"]) for put in acknowledged
    )
