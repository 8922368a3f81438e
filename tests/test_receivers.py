"""What in the rest of the site ends files: deletes through the ORM, and logout."""

from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.deletion import Collector
from django.utils import timezone

from session_attachments import access, limits, sweep
from session_attachments.bundles import Bundle
from session_attachments.models import Attachment, State
from session_attachments.sweep import remove_outdated
from tests.lifecycle import (
    DAY,
    LOCAL,
    MEMORY,
    OLD_AGE,
    assert_only,
    contents,
    elsewhere,
    ends_with,
    files,
    new_bundle,
    put,
    states,
    sweep_all,
    use_storage,
    visitor,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[LOCAL, "tests.lifecycle.Cabinet", MEMORY])
def any_storage(request, settings):
    use_storage(settings, request.param)


def cascade():
    """As the deletion of an owner deletes what it owns."""
    collector = Collector(using="default")
    collector.collect(Attachment.objects.filter(name="a"))
    collector.delete()


def in_the_admin():
    model_admin = admin.site._registry[Attachment]
    model_admin.delete_queryset(None, Attachment.objects.filter(name="a"))


DELETIONS = {
    "instance": lambda: Attachment.objects.get(name="a").delete(),
    "queryset": lambda: Attachment.objects.filter(name="a").delete(),
    "cascade": cascade,
    "admin": in_the_admin,
}


@pytest.fixture(params=DELETIONS)
def delete(request):
    """One of the ways in which a row is deleted through the ORM: that of file `a`."""
    return DELETIONS[request.param]


@pytest.fixture
def bundle():
    """A bundle with the files `a` and `b`."""
    bundle = new_bundle()
    put(bundle, "a", b"a")
    put(bundle, "b", b"b")
    return bundle


# -- deletion of rows


def test_delete__removes_the_file(any_storage, bundle, delete):
    delete()
    assert contents(bundle) == {"b": b"b"}
    assert_only(bundle["b"])


def test_delete__rollback_keeps_the_file(any_storage, bundle, delete):
    with ends_with(ZeroDivisionError), transaction.atomic():
        delete()
        assert len(files()) == 2
        raise ZeroDivisionError
    assert contents(bundle) == {"a": b"a", "b": b"b"}
    sweep_all()
    assert_only(*bundle.values())


def test_delete__killed_before_the_commit_is_through(bundle, delete, monkeypatch):
    """P3: the row that is gone has left one that tells where its file is."""
    with monkeypatch.context() as context:
        context.setattr(sweep, "remove", lambda *args: None)
        delete()
    assert contents(bundle) == {"b": b"b"}
    assert states() == {"stored": 1, "doomed": 1}
    assert len(files()) == 2
    remove_outdated(lifetime=OLD_AGE, now=timezone.now() + DAY)
    assert_only(bundle["b"])


def test_delete__what_is_not_removed_yet_still_counts(bundle, settings, monkeypatch):
    """P8."""
    monkeypatch.setattr(sweep, "remove", lambda *args: None)
    Attachment.objects.all().delete()
    reserved = Attachment.objects.values_list("session_key", "reserved")
    key = access.pin(bundle.session)
    assert list(reserved) == [(key, limits.BLOCK)] * 2


def test_delete__of_an_upload_in_flight(any_storage, bundle):
    """P3: its writer may be alive, so that its file is looked after for longer."""
    kept = bundle.values()
    upload = bundle.upload(declared=4, name="c")
    upload.__enter__()
    Attachment.objects.filter(state=State.UPLOADING).delete()
    remove_outdated()
    writer = upload.add("c")
    writer.write(b"late")
    writer.finish()  # and its process is killed
    assert states() == {"stored": 2, "doomed": 1}
    assert len(files()) == 3
    sweep_all()
    assert_only(*kept)


def test_delete__of_a_tombstone_is_in_vain():
    bundle = new_bundle()
    put(bundle, data=b"1")
    row = put(bundle, data=b"2")
    old = files() - {row.key}
    with transaction.atomic():
        Attachment.objects.filter(state=State.DOOMED).delete()
        assert states() == {"stored": 1, "doomed": 1}
        assert old < files()
    assert_only(row)


def test_delete__name_is_free_at_once(bundle):
    with transaction.atomic():
        Attachment.objects.all().delete()
        put(bundle, "a", b"new")
    assert contents(bundle) == {"a": b"new"}
    assert_only(bundle["a"])


def test_delete__of_what_is_being_replaced(bundle, monkeypatch):
    upload = bundle.upload(declared=3, name="a")
    with upload:
        writer = upload.add("a")
        writer.write(b"new")
        writer.finish()
        elsewhere(Attachment.objects.filter(name="a", state=State.STORED).delete)
        upload.publish()
    assert contents(bundle) == {"a": b"new", "b": b"b"}
    assert_only(*bundle.values())


# -- logout


def request_of(session):
    return SimpleNamespace(session=session)


def test_logout__ends_all_of_the_session(any_storage, bundle):
    """P4."""
    put(Bundle(bundle.session, "bar"))
    stranger = new_bundle()
    row = put(stranger)
    logout(request_of(bundle.session))
    assert contents(stranger) == {"spam.txt": b"spam\n"}
    assert_only(row)


def test_logout__waits_for_its_transaction(bundle):
    with transaction.atomic():
        logout(request_of(bundle.session))
        assert len(files()) == states()["stored"] == 2
    assert_only()


def test_logout__that_is_rolled_back_ends_nothing(bundle):
    with ends_with(ZeroDivisionError), transaction.atomic():
        user_logged_out.send(None, request=request_of(bundle.session), user=None)
        raise ZeroDivisionError
    assert contents(bundle) == {"a": b"a", "b": b"b"}


def test_logout__keeps_what_an_object_owns(bundle):
    Attachment.objects.filter(name="a").update(state=State.CLAIMED, name_digest=None)
    logout(request_of(bundle.session))
    assert states() == {"claimed": 1}


@pytest.mark.parametrize("broken", ["doom", "remove"])
def test_logout__is_not_broken_by_a_failure(bundle, monkeypatch, caplog, broken):
    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(sweep, broken, fail)
    logout(request_of(bundle.session))
    assert "ZeroDivisionError" in caplog.text
    assert bundle.session.is_empty()


@pytest.mark.parametrize("request_", [None, SimpleNamespace()])
def test_logout__without_a_session(request_):
    user_logged_out.send(None, request=request_, user=None)


def test_logout__of_somebody_without_files(django_assert_num_queries):
    session = visitor()
    with django_assert_num_queries(1):
        user_logged_out.send(None, request=request_of(session), user=None)


def test_logout__of_somebody_without_a_session(django_assert_num_queries):
    session = type(visitor())()
    with django_assert_num_queries(0):
        user_logged_out.send(None, request=request_of(session), user=None)
    assert session.session_key is None
    assert not session.modified
