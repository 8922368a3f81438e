"""Files that belong to an object of the site, which decides who may have them."""

from datetime import timedelta
from functools import partial

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.deletion import Collector
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from session_attachments import limits, storage, sweep, views
from session_attachments.exceptions import ClaimConflict
from session_attachments.models import Attachment, State
from session_attachments.sweep import remove_outdated
from tests.lifecycle import (
    before,
    crash_with,
    elsewhere,
    ends_with,
    files,
    in_parallel,
    new_bundle,
    put,
    read,
)
from tests.mailbox.models import Mail, Ticket
from tests.wire import content, problem

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.owned_urls"),
]


@pytest.fixture
def ticket():
    return Ticket.objects.create(title="Broken")


@pytest.fixture
def owned(ticket):
    attachment = put(new_bundle())
    attachment.claim_for(ticket, "attachments")
    return attachment


def url(attachment):
    return f"/files/{attachment.public_id}/"


def sweep_later(days=2):
    return remove_outdated(now=timezone.now() + timedelta(days=days))


@pytest.fixture
def allow(monkeypatch):
    def decide(answer):
        def check_access(self, request, field):
            assert field == "attachments"
            assert request.path.startswith("/files/")
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(Ticket, "check_access", check_access)

    return decide


# -- claiming


def test_claim_for__leaves_the_session(ticket):
    bundle = new_bundle()
    attachment = put(bundle)
    attachment.claim_for(ticket, "attachments")
    assert list(bundle) == []
    [row] = ticket.attachments.all()
    assert (row, row.owner, row.field) == (attachment, ticket, "attachments")
    assert (row.state, row.session_key, row.reserved) == (State.CLAIMED, "", 0)
    assert attachment.state == State.CLAIMED
    assert read(row) == b"spam\n"
    put(bundle)  # its name is free again


def test_claim_for__inside_a_claim(ticket):
    bundle = new_bundle()
    put(bundle, "copied")
    kept = put(bundle, "kept")
    with bundle.claim() as lent:
        for file in lent:
            if file.name == "kept":
                file.attachment.claim_for(ticket, "attachments")
    assert list(ticket.attachments.all()) == [kept]
    assert files() == {kept.key}


def test_claim_for__is_undone_with_the_claim(ticket):
    bundle = new_bundle()
    put(bundle)
    with ends_with(ZeroDivisionError), bundle.claim() as [file]:
        file.attachment.claim_for(ticket, "attachments")
        raise ZeroDivisionError
    assert list(bundle) == ["spam.txt"]
    assert not ticket.attachments.exists()


def test_claim_for__never_expires(owned):
    far = timezone.now() + timedelta(days=10_000)
    report = remove_outdated(lifetime=timedelta(), now=far)
    assert (report.expired, report.removed) == (0, 0)
    assert read(owned) == b"spam\n"


def test_claim_for__counts_for_no_limit(settings, ticket):
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 4096 / 2**20
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = 4096 / 2**20
    bundle = new_bundle()
    for _ in range(3):
        put(bundle).claim_for(ticket, "attachments")
    assert ticket.attachments.count() == 3


def test_claim_for__what_is_gone(ticket):
    bundle = new_bundle()
    attachment = put(bundle)
    bundle.clear()
    with pytest.raises(ClaimConflict):
        attachment.claim_for(ticket, "attachments")


def test_claim_for__two_at_once(ticket):
    """P6: one of them has it."""
    attachment = put(new_bundle())
    other = Ticket.objects.create(title="Another")

    def claim(owner):
        def run():
            Attachment.objects.get(pk=attachment.pk).claim_for(owner, "attachments")

        return run

    results = in_parallel(claim(ticket), claim(other))
    assert sorted(type(result).__name__ for result in results) == [
        "ClaimConflict",
        "NoneType",
    ]
    assert ticket.attachments.count() + other.attachments.count() == 1


@pytest.mark.parametrize(
    "make",
    [Ticket, lambda: Ticket(pk=4711), lambda: Mail.objects.create(subject="a")],
    ids=["unsaved", "unsaved with a key", "without a relation"],
)
def test_claim_for__object_that_cannot_own(make):
    attachment = put(new_bundle())
    with pytest.raises(TypeError, match="GenericRelation"):
        attachment.claim_for(make(), "attachments")


def test_claim_for__while_it_expires(ticket, monkeypatch):
    """P5: found by the sweep while it was the visitor's, and claimed before it went."""
    row = put(new_bundle())
    claim = partial(row.claim_for, ticket, "attachments")
    before(monkeypatch, sweep, "_take", lambda: elsewhere(claim))
    report = remove_outdated(now=timezone.now() + timedelta(days=365))
    assert (report.expired, report.removed) == (0, 0)
    assert [*ticket.attachments.all()] == [row]
    assert read(row) == b"spam\n"


# -- the object's deletion


def test_delete__object_takes_its_files_along(ticket, owned):
    ticket.delete()
    assert not Attachment.objects.exists()
    assert files() == set()


def test_delete__queryset_too(ticket, owned):
    Ticket.objects.all().delete()
    assert not Attachment.objects.exists()
    assert files() == set()


def test_delete__on_commit_and_not_before(ticket, owned):
    with transaction.atomic():
        ticket.delete()
        assert files() == {owned.key}
    assert files() == set()


def test_delete__that_fails_keeps_the_files(ticket, owned):
    with ends_with(ZeroDivisionError), transaction.atomic():
        ticket.delete()
        raise ZeroDivisionError
    assert [*Ticket.objects.get().attachments.all()] == [owned]
    assert read(owned) == b"spam\n"


def test_delete__what_the_storage_keeps_counts_until_a_sweep(
    ticket, owned, monkeypatch
):
    """Its bytes are there, though nobody's any more; the command tells of them."""
    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", crash_with(OSError("gone fishing")))
        ticket.delete()
    left = Attachment.objects.get()
    assert (left.state, left.reserved) == (State.DOOMED, limits.BLOCK)
    assert files() == {owned.key}
    report = remove_outdated(now=timezone.now() + timedelta(days=1))
    assert (report.removed, report.size) == (1, 5)
    assert files() == set()


def test_orphan__of_a_deletion_that_has_not_seen_the_claim(ticket, monkeypatch):
    """It has collected what it takes along; then the file is claimed."""
    attachment = put(new_bundle())

    def claim():
        attachment.claim_for(ticket, "attachments")

    before(monkeypatch, Collector, "delete", lambda: in_parallel(claim))
    ticket.delete()
    assert not Ticket.objects.exists()
    remove_outdated()
    assert Attachment.objects.get().state == State.CLAIMED
    assert sweep_later().removed == 1
    assert not Attachment.objects.exists()
    assert files() == set()


def test_orphan__not_while_its_object_is_there(ticket, owned):
    other = Ticket.objects.create()
    lost = put(new_bundle())
    lost.claim_for(other, "attachments")
    Ticket.objects.filter(pk=other.pk)._raw_delete("default")
    assert sweep_later().removed == 1
    assert [*Attachment.objects.all()] == [owned]
    assert read(owned) == b"spam\n"


def test_orphan__not_for_the_way_in_which_a_key_is_written(ticket, owned):
    Attachment.objects.update(object_id=f"0{ticket.pk}")
    assert sweep_later().removed == 0
    assert read(owned) == b"spam\n"


def test_orphan__not_before_the_claims_transaction_must_have_ended(ticket, owned):
    Ticket.objects.all()._raw_delete("default")
    assert sweep_later(days=0.9).removed == 0
    assert sweep_later(days=1.1).removed == 1


def test_orphan__not_while_nobody_can_tell(owned):
    """The object's app is not installed, or its table is not there, at the moment."""
    gone = ContentType.objects.create(app_label="mailbox", model="gone")
    Attachment.objects.update(content_type=gone)
    assert sweep_later().failed == 0
    kind = ContentType.objects.get_for_model(Ticket)
    Attachment.objects.update(content_type=kind, object_id="no number")
    assert sweep_later().failed == 1
    assert read(owned) == b"spam\n"


def test_orphan__whose_bytes_cannot_be_removed_is_left_for_later(owned, monkeypatch):
    Ticket.objects.all()._raw_delete("default")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", crash_with(OSError("gone fishing")))
        sweep_later()
    assert files() == {owned.key}
    sweep_later(days=4)
    assert files() == set()


# -- who may have it


def test_view__object_says_yes(client, owned, allow):
    allow(True)
    response = client.get(url(owned))
    assert content(response) == b"spam\n"
    assert response["Content-Disposition"] == 'attachment; filename="spam.txt"'
    assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
    head = client.head(url(owned))
    assert (head["Content-Length"], head.content) == ("5", b"")


def test_view__has_at_once_what_was_claimed(client, owned, allow, settings):
    settings.DATABASE_ROUTERS = ["tests.test_bundles.Lagging"]
    allow(True)
    assert content(client.get(url(owned))) == b"spam\n"


@pytest.mark.parametrize(
    "answer",
    [False, None, 1, "yes", PermissionDenied("secret"), Http404("secret")],
    ids=repr,
)
def test_view__anything_else_is_as_if_it_never_was(client, owned, allow, answer):
    never = problem(client.get(f"/files/{'0' * 32}/"), 404, "not_found")
    allow(answer)
    assert problem(client.get(url(owned)), 404, "not_found") == never


def test_view__object_without_a_say(client, owned, monkeypatch):
    monkeypatch.delattr(Ticket, "check_access")
    problem(client.get(url(owned)), 404, "not_found")


def test_view__object_that_is_gone(client, owned, allow):
    allow(True)
    Attachment.objects.filter(pk=owned.pk).update(object_id="999")
    problem(client.get(url(owned)), 404, "not_found")


@pytest.mark.parametrize("model", ["gone", None])
def test_view__object_whose_model_is_gone(client, owned, allow, model):
    allow(True)
    if model is None:
        Attachment.objects.update(content_type=None)
    else:
        other = ContentType.objects.create(app_label="mailbox", model=model)
        Attachment.objects.update(content_type=other)
    problem(client.get(url(owned)), 404, "not_found")


def test_view__object_whose_content_type_is_gone(client, owned, allow):
    allow(True)
    Attachment.objects.update(content_type=1_000_000)
    problem(client.get(url(owned)), 404, "not_found")


def test_view__file_that_is_to_be_removed(client, owned, allow):
    allow(True)
    Attachment.objects.filter(pk=owned.pk).update(state=State.DOOMED)
    problem(client.get(url(owned)), 404, "not_found")


def test_view__bytes_that_are_gone(client, owned, allow):
    allow(True)
    Attachment.objects.filter(pk=owned.pk).update(key="gone")
    problem(client.get(url(owned)), 404, "not_found")


def test_view__file_of_a_session_is_nobodys(client, allow):
    """P4: its public id is no key to it."""
    allow(True)
    client.put("/attachments/foo/a", b"a")
    problem(client.get(url(Attachment.objects.get())), 404, "not_found")


def test_view__session_that_had_it_has_it_no_more(client, ticket, allow):
    client.put("/attachments/foo/a", b"a")
    Attachment.objects.get().claim_for(ticket, "attachments")
    problem(client.get("/attachments/foo/a"), 404, "not_found")


@pytest.mark.parametrize(
    "public_id",
    [
        *("%00", "%0A", "x", "é", "%F0%9F%98%80", "%ED%A0%80", "0" * 31, "0" * 33),
        *("A" * 32, "g" * 32, "0" * 32 + "%0A", "%00" + "0" * 31, "a" * 5000),
    ],
)
@pytest.mark.parametrize("slash", ["/", ""])
def test_view__what_can_be_no_id(client, public_id, slash):
    """PostgreSQL refuses to be asked for some of them."""
    url = f"/files/{public_id}{slash}"
    problem(client.get(url), 404, "not_found")
    assert client.get(url).resolver_match.func.view_class is views.NothingView


def test_view__works_without_the_slash(client, owned, allow):
    allow(True)
    assert content(client.get(url(owned)[:-1])) == b"spam\n"
    assert reverse("owned-attachment", args=[owned.public_id]) == url(owned)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_view__slash_is_never_appended_by_a_redirect(
    client, owned, settings, debug, method
):
    settings.DEBUG = debug
    code = (404, "not_found") if method == "GET" else (405, "method_not_allowed")
    problem(client.generic(method, url(owned)[:-1], b"x"), *code)
    for path in ("", "x", "x/y", f"{owned.public_id}/x"):
        problem(client.generic(method, f"/files/{path}", b"x"), 404, "not_found")


def test_view__only_reads(client, owned, allow):
    allow(True)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        response = client.generic(method, url(owned))
        problem(response, 405, "method_not_allowed")
        assert response["Allow"] == "GET, HEAD"


def test_view__is_part_of_the_workflow(client, owned, allow, settings):
    allow(True)
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    problem(client.get(url(owned)), 503, "maintenance")
