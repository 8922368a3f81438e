"""What a site is told: after the commit, and once."""

from types import SimpleNamespace

import pytest
from django.contrib.auth import logout
from django.db import transaction

from session_attachments import signals
from session_attachments.exceptions import IncompleteBody
from session_attachments.models import Attachment
from session_attachments.sweep import remove_outdated
from tests.lifecycle import DAY, assert_only, contents, ends_with, new_bundle, put

pytestmark = pytest.mark.django_db(transaction=True)

SIGNALS = {
    "stored": signals.stored,
    "removed": signals.removed,
    "expired": signals.expired,
}


@pytest.fixture
def told():
    """What was told: pairs of a signal's name and a file's name."""
    told, receivers = [], []
    for name, signal in SIGNALS.items():

        def receive(sender, attachment, name=name, **kwargs):
            assert sender is Attachment
            told.append((name, attachment.name))

        signal.connect(receive)
        receivers.append((signal, receive))
    yield told
    for signal, receive in receivers:
        signal.disconnect(receive)


@pytest.fixture
def bundle():
    """A bundle with the file `a`."""
    bundle = new_bundle()
    put(bundle, "a")
    return bundle


def test_stored(told, bundle):
    assert told == [("stored", "a")]


def test_stored__several_and_sorted(told):
    with new_bundle().upload(declared=2) as upload:
        for name in ("b", "a"):
            upload.add(name).finish()
        upload.publish()
    assert told == [("stored", "a"), ("stored", "b")]


def test_stored__in_place_of_another(bundle, told):
    put(bundle, "a")
    assert told == [("removed", "a"), ("stored", "a")]


def test_removed(bundle, told):
    del bundle["a"]
    assert told == [("removed", "a")]


def test_removed__with_its_session(bundle, told):
    """What was never visible is not told of."""
    with ends_with(IncompleteBody), bundle.upload(declared=1, name="b"):
        logout(SimpleNamespace(session=bundle.session))
        raise IncompleteBody
    assert told == [("removed", "a")]
    assert_only()


def test_expired(bundle, told):
    remove_outdated(lifetime=-DAY)
    assert told == [("expired", "a")]


def test_claim__tells_nothing(bundle, told):
    """The site has made it happen."""
    with bundle.claim():
        pass
    assert told == []


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: put(bundle, "a"),
        lambda bundle: bundle.clear(),
        lambda bundle: remove_outdated(lifetime=-DAY),
    ],
    ids=["replace", "clear", "expire"],
)
def test_signals__wait_for_the_commit(bundle, told, change):
    with ends_with(ZeroDivisionError), transaction.atomic():
        change(bundle)
        raise ZeroDivisionError
    assert told == []
    with transaction.atomic():
        change(bundle)
        assert told == []
    assert told


@pytest.mark.parametrize("name", SIGNALS)
def test_signals__receiver_that_raises_changes_nothing(bundle, caplog, name):
    def crash(**kwargs):
        raise ZeroDivisionError

    signal = SIGNALS[name]
    signal.connect(crash)
    try:
        put(bundle, "b")
        del bundle["b"]
        put(bundle, "c")
        assert sorted(contents(bundle)) == ["a", "c"]
        remove_outdated(lifetime=-DAY)
    finally:
        signal.disconnect(crash)
    assert "ZeroDivisionError" in caplog.text
    assert_only()


def test_signals__file_can_be_read_when_it_is_stored():
    seen = []

    def receive(attachment, **kwargs):
        with attachment.open() as file:
            seen.append(file.read())

    signals.stored.connect(receive)
    try:
        put(new_bundle())
    finally:
        signals.stored.disconnect(receive)
    assert seen == [b"spam\n"]
