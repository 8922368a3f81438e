"""Collisions in the database: all of it again, a few times."""

import time
from types import SimpleNamespace

import pytest
from django.db import (
    DataError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)

from session_attachments import contention
from session_attachments.contention import ATTEMPTS, Collision, retrying
from session_attachments.exceptions import Busy
from tests.lifecycle import assert_only, elsewhere, new_bundle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The seconds that were waited, which take no time."""
    waited = []
    clock = SimpleNamespace(sleep=waited.append, monotonic=time.monotonic)
    monkeypatch.setattr(contention, "time", clock)
    return waited


class Colliding:
    """An operation that comes through after some attempts."""

    def __init__(self, times, error=OperationalError):
        self.times, self.error, self.calls = times, error, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


def test_retrying__returns_what_the_operation_returns(pauses):
    operation = Colliding(0)
    assert retrying(operation, using="default") == "done"
    assert (operation.calls, pauses) == (1, [])


@pytest.mark.parametrize("error", [Collision, IntegrityError, OperationalError])
def test_retrying__until_it_does_not_collide(pauses, error):
    operation = Colliding(ATTEMPTS - 1, error)
    assert retrying(operation, using="default") == "done"
    assert operation.calls == ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1


def test_retrying__gives_up(pauses, caplog):
    operation = Colliding(ATTEMPTS, OperationalError("no such table"))
    with pytest.raises(Busy) as busy:
        retrying(operation, using="default")
    assert isinstance(busy.value.__cause__, OperationalError)
    assert operation.calls == ATTEMPTS
    assert caplog.text.count("OperationalError: no such table") == 1


def test_retrying__not_after_an_attempt_that_has_waited_long(monkeypatch):
    """For a lock, as long as the database lets it. A server ends its worker at 30 s."""
    now = [0]
    clock = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: now[0])
    monkeypatch.setattr(contention, "time", clock)

    class Locked(Colliding):
        def __call__(self):
            now[0] += 2
            super().__call__()

    operation = Locked(ATTEMPTS, OperationalError("database is locked"))
    with pytest.raises(Busy):
        retrying(operation, using="default")
    assert operation.calls == 3


def test_retrying__waits_at_random_and_never_long(pauses):
    for _ in range(2):
        with pytest.raises(Busy):
            retrying(Colliding(ATTEMPTS), using="default")
    assert all(0 <= seconds <= 0.32 for seconds in pauses)
    assert max(pauses[:2]) <= 0.04
    assert pauses[: ATTEMPTS - 1] != pauses[ATTEMPTS - 1 :]


@pytest.mark.parametrize("error", [DataError, ZeroDivisionError, KeyboardInterrupt])
def test_retrying__leaves_other_errors_alone(error):
    operation = Colliding(1, error)
    with pytest.raises(error):
        retrying(operation, using="default")
    assert operation.calls == 1


def test_retrying__never_inside_a_transaction_of_the_callers():
    """What has collided there, MariaDB has rolled back to its very beginning."""
    operation = Colliding(1)
    with transaction.atomic(), pytest.raises(Busy):
        retrying(operation, using="default")
    assert operation.calls == 1


def disconnect():
    """Let the database end this thread's connection, as a restart does."""
    if connection.vendor == "sqlite":
        return
    ask, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%d)"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL %d"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(ask)
        [pid] = cursor.fetchone()

    def end():
        with connection.cursor() as cursor:
            cursor.execute(kill % pid)

    elsewhere(end)


def test_retrying__connects_again():
    """A database that is restarted during an upload costs an attempt."""
    bundle = new_bundle()
    with bundle.upload(declared=1, name="a") as upload:
        writer = upload.add("a")
        writer.write(b"a")
        writer.finish()
        disconnect()
        [row] = upload.publish()
    assert_only(row)
