"""One row is one file."""

import gc

import pytest
from django.core.signals import request_finished
from django.db import IntegrityError, close_old_connections, transaction
from django.http import FileResponse
from django.utils import timezone

from session_attachments.bundles import Bundle
from session_attachments.exceptions import StorageFailed
from session_attachments.models import Attachment, State, new_public_id
from tests.lifecycle import contents, new_bundle, put, visitor

pytestmark = pytest.mark.django_db(transaction=True)


class Replicas:
    """Reads come from a copy that lags behind."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


def add(**values):
    return Attachment.objects.create(modified=timezone.now(), **values)


def test_doom__takes_rows_out_of_use_once():
    put(new_bundle())
    put(new_bundle())
    now = timezone.now()
    assert Attachment.objects.doom(now) == 2
    assert Attachment.objects.doom(timezone.now()) == 0
    assert set(Attachment.objects.values_list("state", "name_digest", "modified")) == {
        (State.DOOMED, None, now)
    }


def test_stored__is_what_is_complete_and_visible():
    row = put(new_bundle())
    for state in set(State) - {State.STORED}:
        add(state=state)
    assert list(Attachment.objects.stored()) == [row]


def test_primary__is_where_rows_are_written(settings):
    settings.DATABASE_ROUTERS = ["tests.test_models.Replicas"]
    assert Attachment.objects.all().db == "replica"
    assert Attachment.objects.primary().db == "default"
    assert Attachment.objects.none().primary().db == "default"


def test_name__is_taken_once_while_stored():
    row = put(new_bundle())
    same = {"bundle_digest": row.bundle_digest, "name": row.name}
    add(state=State.DOOMED, **same)
    add(**same)
    with pytest.raises(IntegrityError), transaction.atomic():
        add(state=State.STORED, name_digest=row.name_digest, **same)


@pytest.mark.parametrize(
    "names",
    [("a", "A"), ("e", "é"), ("🍳", "🥚"), ("ß", "ss"), ("straße", "STRASSE")],
    ids=ascii,
)
def test_look_up__tells_apart_what_some_databases_take_for_one(names):
    session = visitor()
    for bundle_id in (*names, f"{names[0]} "):
        bundle = Bundle(session, bundle_id)
        for name in names:
            put(bundle, name, f"{bundle_id}/{name}".encode())
    for bundle_id in (*names, f"{names[0]} "):
        assert contents(Bundle(session, bundle_id)) == {
            name: f"{bundle_id}/{name}".encode() for name in names
        }


def test_public_id__is_random():
    ids = {new_public_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(public_id) for public_id in ids} == {32}


def test_etag__is_strong_and_another_for_each_upload():
    bundle = new_bundle()
    old, new = put(bundle), put(bundle)
    assert old.etag == f'"{old.public_id}"'
    assert old.etag != new.etag


def test_str__is_the_name():
    assert str(put(new_bundle(), "egg.txt")) == "egg.txt"


def test_open__is_a_file_that_knows_what_it_is():
    row = put(new_bundle())
    with row.open() as file:
        assert (file.name, file.size, file.content_type) == (
            "spam.txt",
            5,
            "text/plain",
        )
        assert b"".join(file.chunks()) == b"spam\n"
    assert file.closed


def test_open__a_file_that_is_forgotten_ends_no_request():
    """Django lets the file of a response end the request, once: when it is closed."""
    file = put(new_bundle()).open()
    response = FileResponse(file)
    file.close = response.close  # as WSGIHandler does
    ended = []
    receiver = lambda **kwargs: ended.append(1)  # noqa: E731
    request_finished.disconnect(close_old_connections)
    request_finished.connect(receiver)
    try:
        file.close()
        assert file.closed
        del file, response
        gc.collect()
    finally:
        request_finished.disconnect(receiver)
        request_finished.connect(close_old_connections)
    assert ended == [1]


def test_open__file_is_gone():
    row = put(new_bundle())
    Attachment.objects.all().delete()
    with pytest.raises(FileNotFoundError):
        row.open()


def test_open__storage_is_gone(settings, caplog):
    row = put(new_bundle())
    row.storage = "attic"
    with pytest.raises(StorageFailed):
        row.open()
    assert "attic" in caplog.text
