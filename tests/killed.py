"""A program that has itself killed: at a given step, or at any moment.

    python -m tests.killed

It reads orders from its standard input, one JSON object a line, and answers each with
one. What is to be killed happens in a child, so that a kill costs no start of Python.

`{"do": "act", "act": NAME, "pin": PIN, "at": N}` lets the child do one thing for the
visitor who has that pin, and killed before its Nth effect on the database or the disk.
Answer: whether it was `killed`, and whether it `acknowledged`.

`{"do": "storm", "seconds": S, "seed": SEED, "slot": SLOT, "log": PATH}` lets children
do whatever comes to mind, each killed after a random time. They note in the log what
they begin, and what was acknowledged. Answer: the number of `kills`.
"""

import json
import logging
import os
import random
import signal
import sys
import time
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace

BUNDLE = "foo"
SHARED = "shared" * 10
NAMES = ["a", "b", "c", "d"]
# What changes the database, and the audit events of what changes a folder.
WRITES = ("INSERT", "UPDATE", "DELETE")
EFFECTS = {"open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename"}


def main():
    import django

    django.setup()
    warm_up()
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps({"act": act, "storm": storm}[order.pop("do")](**order)))
        sys.stdout.flush()


def warm_up():
    """Load, once for all children, what takes long; but connect to nothing."""
    from django.db import connections

    from session_attachments.sniffing import sniff

    for module in ("session_attachments.bundles", "tests.lifecycle"):
        import_module(module)
    assert connections["default"].connection is None
    sniff(b"")


def fork(work):
    """Start a child that does it; its process id, and where it says that it is done."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    status = 1
    try:
        os.close(ours)
        random.seed()
        work()
        os.write(theirs, b"done")
        status = 0
    finally:
        os._exit(status)


def bundle_of(pin):
    from django.contrib.sessions.backends.base import SessionBase

    from session_attachments.access import PIN
    from session_attachments.bundles import Bundle

    session = SessionBase()
    session._session_cache = {PIN: pin}
    return Bundle(session, BUNDLE)


def put(bundle, name, data):
    from django.core.files.base import ContentFile

    return bundle.save(name, ContentFile(data))


# -- one thing, killed at one step


class Fuse:
    """Kills this process before its nth effect on the database or the disk."""

    def __init__(self, at):
        self.left = at

    def burn(self):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def lay(self):
        """Along each statement, commit, change of a folder, and half of a write."""
        from django.conf import settings
        from django.db import connection
        from django.db.backends.base.base import BaseDatabaseWrapper

        from session_attachments.storage import Sink

        def execute(run, sql, *args):
            if sql.startswith(WRITES):
                self.burn()
            return run(sql, *args)

        commit, write = BaseDatabaseWrapper._commit, Sink.write

        def burning_commit(wrapper):
            self.burn()
            commit(wrapper)
            self.burn()

        def burning_write(sink, data):
            self.burn()
            write(sink, data[: len(data) // 2])
            self.burn()
            write(sink, data[len(data) // 2 :])

        folders = tuple(
            os.fspath(settings.FOLDERS[name]) for name in ("attachments", "uploads")
        )

        def ours(path):
            return path.startswith(folders)

        def audit(event, args):
            if event not in EFFECTS:
                return
            reads = event == "open" and args[2] & os.O_ACCMODE == os.O_RDONLY
            # A descriptor is that of a file of ours.
            if not reads and (isinstance(args[0], int) or ours(str(args[0]))):
                self.burn()

        connection.execute_wrappers.append(execute)
        BaseDatabaseWrapper._commit = burning_commit
        Sink.write = burning_write
        sys.addaudithook(audit)


def use(backend):
    """Let attachments go to this storage."""
    from django.conf import settings
    from django.db import connection

    settings.STORAGES["session_attachments"]["BACKEND"] = backend
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA synchronous = OFF")


def act(act, pin, at, backend):
    def work():
        use(backend)
        bundle = bundle_of(pin)
        fuse = Fuse(at)
        fuse.lay()
        ACTS[act](bundle)
        fuse.burn()

    pid, pipe = fork(work)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(pipe, "rb") as file:
        acknowledged = file.read() == b"done"
    return {"killed": os.WIFSIGNALED(status), "acknowledged": acknowledged}


def put_form(bundle):
    with bundle.upload(declared=10) as upload:
        for name in ("a", "c"):
            writer = upload.add(name)
            writer.write(b"new")
            writer.finish()
        upload.publish()


def put_refused(bundle):
    from django.conf import settings

    from session_attachments.exceptions import Invalid

    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.killed.refuse"]
    with suppress(Invalid):
        put(bundle, "a", b"new")


def put_falling_back(bundle):
    from django.conf import settings

    ours = settings.STORAGES["session_attachments"]
    settings.STORAGES["down"] = ours | {"BACKEND": "tests.lifecycle.Down"}
    settings.SESSION_ATTACHMENTS_STORAGES = ["down", "session_attachments"]
    logging.disable()
    row = put(bundle, "a", b"new")
    assert row.storage == "session_attachments"


def refuse(file):
    from django.core.exceptions import ValidationError

    raise ValidationError("No.")


def put_joined(bundle):
    from django.db import transaction

    with transaction.atomic():
        put(bundle, "a", b"new")
        put(bundle, "c", b"new")


def put_rolled_back(bundle):
    with suppress(ZeroDivisionError):
        from django.db import transaction

        with transaction.atomic():
            put(bundle, "a", b"new")
            raise ZeroDivisionError


def claim(bundle):
    from django.contrib.auth.models import Group

    with bundle.claim() as files:
        for file in files:
            Group.objects.create(name=f"{bundle_pin(bundle)}/{file.name}")


def claim_by_moving(bundle):
    from tests.mailbox.models import Mail, MailFile

    with bundle.claim() as files:
        mail = Mail.objects.create()
        for file in files:
            MailFile.objects.create(mail=mail, document=file)


def claim_for_an_object(bundle):
    from tests.mailbox.models import Ticket

    with bundle.claim() as files:
        ticket = Ticket.objects.create()
        for file in files:
            file.attachment.claim_for(ticket, "attachments")


def bundle_pin(bundle):
    from session_attachments.access import PIN

    return bundle.session[PIN]


def delete_rows(bundle):
    bundle.attachments().delete()


def logout(bundle):
    from session_attachments.receivers import end_session

    end_session(SimpleNamespace(session=bundle.session))


def sweep(days):
    def sweep(bundle):
        from django.utils import timezone

        from session_attachments.sweep import remove_outdated

        remove_outdated(
            lifetime=timedelta(days=100), now=timezone.now() + timedelta(days=days)
        )

    return sweep


ACTS = {
    "put": lambda bundle: put(bundle, "a", b"new"),
    "put a form": put_form,
    "put, refused": put_refused,
    "put, joined": put_joined,
    "put, rolled back": put_rolled_back,
    "put, falling back": put_falling_back,
    "remove": lambda bundle: bundle.remove("a"),
    "clear": lambda bundle: bundle.clear(),
    "claim": claim,
    "claim by moving": claim_by_moving,
    "claim for an object": claim_for_an_object,
    "delete rows": delete_rows,
    "log out": logout,
    "expire": sweep(0),
    "sweep": sweep(0.5),
    "sweep late": sweep(10),
}


# -- anything, killed at any moment


def storm(seconds, seed, slot, log, backend):
    rng = random.Random(f"{seed}/{slot}")
    end, kills = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        life, child_seed = rng.uniform(0.02, 0.5), rng.random()
        pid, pipe = fork(lambda s=child_seed: Child(s, slot, log, backend).live())
        time.sleep(life)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pipe)
        kills += 1
    return {"kills": kills}


class Child:
    """One visitor, after another with the same session; does things until it is killed.

    Every file begins with the number of the operation that has stored it.
    """

    def __init__(self, seed, slot, log, backend):
        use(backend)
        self.rng, self.slot = random.Random(seed), slot
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.bundle = bundle_of(pin_of(slot))
        self.shared = bundle_of(SHARED)

    def live(self):
        kinds = {
            self.put: 40,
            self.put_form: 10,
            self.put_shared: 15,
            self.remove: 8,
            self.clear: 3,
            self.claim: 8,
            self.delete_rows: 4,
            self.sweep: 12,
        }
        while True:
            [operation] = self.rng.choices(list(kinds), list(kinds.values()))
            operation()

    def note(self, phase, number, kind, **more):
        event = {
            "slot": self.slot,
            "time": time.monotonic(),
            "phase": phase,
            "number": number,
            "kind": kind,
        }
        os.write(self.log, json.dumps(event | more).encode() + b"\n")

    def run(self, kind, names, work):
        from session_attachments.exceptions import AttachmentError

        number = os.urandom(8).hex()
        self.note("begin", number, kind, names=names)
        try:
            result = work(number)
        except AttachmentError as error:
            self.note("failed", number, kind, error=type(error).__name__)
        except BaseException as error:
            self.note("crashed", number, kind, error=repr(error))
            raise
        else:
            self.note("done", number, kind, result=result)

    def content(self, number):
        return number.encode() + bytes(self.rng.randrange(40_000)) + number.encode()

    def put(self):
        name = self.rng.choice(NAMES)

        def work(number):
            put(self.bundle, name, self.content(number))

        self.run("put", [name], work)

    def put_shared(self):
        def work(number):
            put(self.shared, "a", self.content(number))

        self.run("put shared", ["a"], work)

    def put_form(self):
        names = self.rng.sample(NAMES, 2)

        def work(number):
            data = self.content(number)
            with self.bundle.upload(declared=2 * len(data)) as upload:
                for name in names:
                    writer = upload.add(name)
                    writer.write(data)
                    writer.finish()
                upload.publish()

        self.run("put", names, work)

    def remove(self):
        name = self.rng.choice(NAMES)
        self.run("remove", [name], lambda number: self.bundle.remove(name))

    def clear(self):
        self.run("remove", NAMES, lambda number: self.bundle.clear())

    def delete_rows(self):
        def work(number):
            self.bundle.attachments().delete()

        self.run("remove", NAMES, work)

    def claim(self):
        from django.contrib.auth.models import Group

        def work(number):
            with self.bundle.claim() as files:
                stored = [file.read(16).decode() for file in files]
                for file, content in zip(files, stored, strict=True):
                    Group.objects.create(name=f"{number}/{file.name}/{content}")
            return [file.name for file in files]

        self.run("claim", NAMES, work)

    def sweep(self):
        from session_attachments.sweep import remove_outdated

        self.run("sweep", [], lambda number: remove_outdated().failed)


def pin_of(slot):
    """The pin of the visitor who has this place."""
    return f"{slot:064}"


if __name__ == "__main__":
    main()
