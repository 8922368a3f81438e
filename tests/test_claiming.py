"""Claiming: what the pages of a site make of its visitors' files, once."""

import errno
import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django import forms
from django.conf import settings as project
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, connection, connections, transaction
from django.http import QueryDict
from django.test import AsyncClient, Client
from django.utils import timezone
from django.utils.datastructures import MultiValueDict
from django.utils.http import urlencode

from session_attachments import claims, storage, sweep
from session_attachments.bundles import Bundle
from session_attachments.exceptions import Busy, ClaimConflict, StorageFailed
from session_attachments.forms import (
    SHARED,
    UNUSABLE,
    AttachmentsField,
    claiming,
    step_data,
)
from session_attachments.models import Attachment, State, SubmittedBundle
from session_attachments.store import Upload
from session_attachments.testing import attach, attached, form_data, visiting
from tests.lifecycle import before, crash_with, elsewhere, ends_with, in_parallel
from tests.mailbox import settings as site
from tests.mailbox import views
from tests.mailbox.forms import ApplicationFormSet, MailForm
from tests.mailbox.models import Application, Mail, MailFile, Ticket
from tests.visits import (
    bundle_in,
    clean,
    codes,
    errors,
    formset_data,
    open_page,
    remove,
    sent_files,
    shown_again,
    upload,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.mailbox.urls"),
]

PDF = b"%PDF-1.4\n"

CONFLICT = "The files have been used, replaced or removed in the meantime."


@pytest.fixture(autouse=True)
def _site(settings):
    settings.MIDDLEWARE = site.MIDDLEWARE


class Plain(forms.Form):
    attachments = AttachmentsField(required=False)


def before_claim(monkeypatch, call):
    """Do something between the validation of the next form and its claim."""
    original = claims.claim
    calls = [call]

    def claim(files):
        if calls:
            calls.pop()()
        return original(files)

    monkeypatch.setattr(claims, "claim", claim)


def same_visitor(client):
    """Another request of the client's browser."""
    other = Client()
    other.cookies.load(client.cookies.output(header="", sep=";"))
    return other


def ready_to_send(client, **files):
    """The data of a mail whose visitor has attached files, and has seen them."""
    data = open_page(client, "/mail/")
    for name, content in (files or {"a": b"content"}).items():
        attach(client, bundle_in(data), f"{name}.txt", content)
    return shown_again(client, client.post("/mail/", data)) | {"subject": "Hello"}


def test_claiming__gives_the_files_to_the_site_once(client):
    data = ready_to_send(client, a=b"a", b=b"b")
    assert client.post("/mail/", data).status_code == 302
    assert sent_files() == [("mail/a.txt", b"a"), ("mail/b.txt", b"b")]
    assert not Attachment.objects.exists()
    assert attached(client, bundle_in(data)) == {}
    assert not list(project.FOLDERS["attachments"].rglob("*.*"))


def test_claiming__a_second_submit_says_so(client):
    data = ready_to_send(client)
    client.post("/mail/", data)
    response = client.post("/mail/", data)
    assert errors(response) == {
        "attachments": [
            "This form has been submitted already. Submit it again if you mean it."
        ]
    }
    assert Mail.objects.count() == 1
    again = shown_again(client, response)
    assert bundle_in(again) != bundle_in(data)
    assert client.post("/mail/", again | {"subject": "Again"}).status_code == 302


def test_claiming__a_second_submit_of_a_page_that_showed_nothing_says_so(client):
    """As with a script that does not tell what it shows."""
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    attach(client, bundle_in(data), "a.txt")
    client.post("/mail/", data)
    assert codes(client.post("/mail/", data).context["form"]) == ["spent"]
    assert Mail.objects.count() == 1


def test_claiming__a_second_submit_that_brings_its_file_says_so(client):
    """As a page without JavaScript does. The file is kept, for who means it."""
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    bring = {"attachments": upload("a.txt", b"a")}
    assert client.post("/mail/", data | bring).status_code == 302
    bring = {"attachments": upload("a.txt", b"a")}
    response = client.post("/mail/", data | bring)
    assert codes(response.context["form"]) == ["spent"]
    assert Mail.objects.count() == 1
    again = shown_again(client, response) | {"subject": "Again"}
    assert client.post("/mail/", again).status_code == 302
    assert [content for _, content in sent_files()] == [b"a", b"a"]


def test_claiming__submits_of_one_page_that_bring_their_file_again_and_again(client):
    """None of them has seen what the one before has left in the bundle."""
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    for status in 302, 200, 200, 200:
        bring = {"attachments": upload("a.txt", b"a")}
        assert client.post("/mail/", data | bring).status_code == status
    assert Mail.objects.count() == 1


def test_claiming__two_that_bring_their_file_at_once(client, monkeypatch):
    """A double click without JavaScript: there are bytes enough for both."""
    attach(client, "elsewhere", "b.txt")  # makes the session
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    other = same_visitor(client)

    def first():
        sent = data | {"attachments": upload("a.txt", b"a")}
        assert other.post("/mail/", sent).status_code == 302

    before(monkeypatch, Bundle, "save", lambda: elsewhere(first))
    response = client.post("/mail/", data | {"attachments": upload("a.txt", b"a")})
    assert errors(response) == {"attachments": [CONFLICT]}
    assert Mail.objects.count() == 1
    again = shown_again(client, response) | {"subject": "Again"}
    assert client.post("/mail/", again).status_code == 302


def test_claiming__two_that_bring_their_file_without_a_session(client, monkeypatch):
    """Each gets a session of its own; the page that both come from is the same."""
    data = open_page(client, "/mail/") | {"subject": "Hello"}

    def first():
        sent = data | {"attachments": upload("a.txt", b"a")}
        assert Client().post("/mail/", sent).status_code == 302

    before(monkeypatch, Bundle, "save", lambda: elsewhere(first))
    response = client.post("/mail/", data | {"attachments": upload("a.txt", b"a")})
    assert errors(response) == {"attachments": [CONFLICT]}
    assert Mail.objects.count() == 1


def test_claiming__an_id_that_no_form_has_drawn_is_one_for_each_visitor(client):
    for visitor in client, Client():
        attach(visitor, "draft", "a.txt")
        data = {"subject": "Hello", "attachments-bundle": "draft"}
        assert visitor.post("/mail/", data).status_code == 302
        assert codes(visitor.post("/mail/", data).context["form"]) == ["spent"]


@pytest.mark.parametrize("knows", [True, False])
def test_claiming__a_second_submit_while_the_first_one_takes_the_files(
    client, monkeypatch, knows
):
    """It must not be taken for a mail without files, be it only for a moment."""
    data = ready_to_send(client)
    if not knows:
        del data["attachments-shown"]

    def first():
        assert same_visitor(client).post("/mail/", data).status_code == 302

    before(monkeypatch, AttachmentsField, "_change", lambda: elsewhere(first))
    response = client.post("/mail/", data)
    assert codes(response.context["form"]) == ["spent"]
    assert Mail.objects.count() == 1


def test_claiming__a_second_submit_of_a_fixed_bundle_misses_what_it_showed(client):
    row = attach(client, "ticket-7", "a.txt")
    data = {"title": "Hello", "files-shown": row.public_id}
    assert client.post("/tickets/7/", data).status_code == 302
    response = client.post("/tickets/7/", data)
    assert codes(response.context["form"], "files") == ["missing"]
    assert Ticket.objects.count() == 1


def test_claiming__a_submission_elsewhere_does_not_spend_a_fixed_bundle(client):
    attach(client, "ticket-7", "a.txt")
    data = {"subject": "Hello", "attachments-bundle": "ticket-7"}
    assert client.post("/mail/", data).status_code == 302
    assert client.post("/tickets/7/", {"title": "Hello"}).status_code == 302


def test_claiming__a_form_without_files_can_be_sent_as_often_as_its_visitor_likes(
    client,
):
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    assert [client.post("/mail/", data).status_code for _ in range(2)] == [302, 302]


def test_claiming__remembers_no_bundle_that_is_used_again(client):
    attach(client, "ticket-7", "a.txt")
    client.post("/tickets/7/", {"title": "Hello"})
    assert not SubmittedBundle.objects.exists()


def test_claiming__new_files_after_a_submit_are_kept_when_the_form_has_errors(client):
    data = open_page(client, "/mail/")
    attach(client, bundle_in(data), "a.txt")
    client.post("/mail/", data | {"subject": "Hello"})
    attach(client, bundle_in(data), "b.txt")
    response = client.post("/mail/", data)
    assert bundle_in(shown_again(client, response)) == bundle_in(data)
    assert "b.txt" in response.content.decode()


def test_claiming__a_second_submit_with_new_files_is_a_new_one(client):
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    attach(client, bundle_in(data), "a.txt")
    client.post("/mail/", data)
    data |= {"attachments-shown": attach(client, bundle_in(data), "b.txt").public_id}
    assert client.post("/mail/", data).status_code == 302
    assert [name for name, _ in sent_files()] == ["mail/a.txt", "mail/b.txt"]


@pytest.mark.parametrize("name", ["😀", "???", "漢" * 83 + ".txt"])
def test_claiming__a_name_that_the_sites_storage_cannot_use(client, monkeypatch, name):
    """The visitor is told which field it is in, and the mail waits."""
    if len(name) > 3:
        error = OSError(errno.ENAMETOOLONG, "File name too long")
        monkeypatch.setattr(FileSystemStorage, "_save", crash_with(error))
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    attach(client, bundle_in(data), name)
    response = client.post("/mail/", data)
    assert codes(response.context["form"]) == ["bad_name"]
    assert not Mail.objects.exists()
    assert [*attached(client, bundle_in(data))] == [name]


def test_claiming__a_name_that_the_process_cannot_encode(client, monkeypatch):
    """Python started with LANG=C has paths of ASCII."""
    error = UnicodeEncodeError("ascii", "/media/résumé.pdf", 8, 9, "not in range(128)")
    monkeypatch.setattr(FileSystemStorage, "_save", crash_with(error))
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    attach(client, bundle_in(data), "résumé.pdf")
    assert codes(client.post("/mail/", data).context["form"]) == ["bad_name"]
    attach(client, "other", "resume.pdf")
    data["attachments-bundle"] = "other"
    with pytest.raises(UnicodeEncodeError):
        client.post("/mail/", data)


def test_claiming__in_a_transaction_that_the_database_has_ended(client, monkeypatch):
    """As MariaDB does for a deadlock: there is nothing left to ask."""
    data = ready_to_send(client)
    with visiting(client):
        form = clean(MailForm, data)

        def deadlock(rows):
            connection.needs_rollback = True
            raise Busy

        monkeypatch.setattr(claims, "_doom", deadlock)
        with ends_with(Busy), transaction.atomic(), claiming(form):
            pass
        assert codes(form) == ["busy"]
    assert not Mail.objects.exists()


def test_claiming__a_name_that_is_none_of_the_forms_files(client):
    """What the site itself saves in the block fails as it would without us."""
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    with visiting(client):
        form = clean(MailForm, data)
        with ends_with(SuspiciousFileOperation), claiming(form):
            raise SuspiciousFileOperation
    assert form.is_valid()


def test_claiming__another_failure_of_the_sites_storage_is_its_own(client, monkeypatch):
    error = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(FileSystemStorage, "_save", crash_with(error))
    data = ready_to_send(client)
    with pytest.raises(OSError, match="Input"):
        client.post("/mail/", data)


def test_claiming__in_a_session_that_ends_meanwhile(client):
    data = ready_to_send(client)
    with visiting(client) as session:
        form = clean(MailForm, data)
        with claiming(form):
            form.save()
            SessionStore(session.session_key).delete()
        assert not session.modified
        session.create()
    assert Mail.objects.count() == 1


# In SQLite, a transaction that has read cannot write after another one has.
@pytest.mark.parametrize(
    "atomic", [False] if connection.vendor == "sqlite" else [False, True]
)
def test_claiming__two_that_were_both_valid(client, monkeypatch, atomic):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    data = ready_to_send(client)
    original, barrier = claims.claim, threading.Barrier(2)

    def together(files):
        barrier.wait(timeout=30)
        return original(files)

    monkeypatch.setattr(claims, "claim", together)
    responses = in_parallel(
        lambda: client.post("/mail/", data),
        lambda: same_visitor(client).post("/mail/", data),
    )
    won, lost = sorted(responses, key=lambda response: -response.status_code)
    assert won.status_code == 302
    assert errors(lost) == {"attachments": [CONFLICT]}
    assert sent_files() == [(MailFile.objects.get().document.name, b"content")]
    assert Mail.objects.count() == 1
    assert not Attachment.objects.exists()


@pytest.mark.parametrize(
    "atomic", [False] if connection.vendor == "sqlite" else [False, True]
)
def test_claiming__two_that_both_bring_their_file(client, monkeypatch, atomic):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    attach(client, "elsewhere", "b.txt")  # makes the session
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    stored = threading.Barrier(2)
    original = AttachmentsField._times_submitted

    def together(field, bundle):
        times = original(field, bundle)
        stored.wait(timeout=30)
        return times

    monkeypatch.setattr(AttachmentsField, "_times_submitted", together)

    def submit(visitor):
        with monkeypatch.context():
            bring = {"attachments": upload("a.txt", b"a")}
            return visitor.post("/mail/", data | bring).status_code

    answers = in_parallel(lambda: submit(client), lambda: submit(same_visitor(client)))
    assert sorted(answers) == [200, 302]
    assert Mail.objects.count() == 1


def test_claiming__changes_nothing_in_the_session(client):
    """Another tab may have, since this request has read it."""
    data = ready_to_send(client)
    with visiting(client) as session:
        form = clean(MailForm, data)
        with claiming(form):
            other = SessionStore(session.session_key)
            other["cart"] = ["book"]
            other.save()
        assert not session.modified
        assert SessionStore(session.session_key)["cart"] == ["book"]


def test_sweep__forgets_submissions_when_files_would_have_expired(client):
    data = ready_to_send(client)
    client.post("/mail/", data)
    for days, count in (1, 1), (3, 0):
        sweep.remove_outdated(now=timezone.now() + timedelta(days=days))
        assert SubmittedBundle.objects.count() == count


def expire(row):
    sweep.remove_outdated(now=timezone.now() + timedelta(days=30))


def replace(row):
    with Upload(row.session_key, row.bundle_id, declared=3, name=row.name) as new:
        writer = new.add(row.name)
        writer.write(b"new")
        writer.finish()
        new.publish()


def lose_bytes(row):
    storage.remove(row.storage, row.key)


@pytest.mark.parametrize("event", [remove, expire, replace, lose_bytes])
def test_claiming__a_file_that_goes_after_validation(client, monkeypatch, event):
    data = ready_to_send(client, a=b"a", b=b"b")
    row = Attachment.objects.get(name="a.txt")
    before_claim(monkeypatch, lambda: event(row))
    response = client.post("/mail/", data)
    assert errors(response) == {"attachments": [CONFLICT]}
    assert not Mail.objects.exists()
    kept = attached_safely(client, bundle_in(data))
    assert (
        kept
        == {
            remove: {"b.txt": b"b"},
            expire: {},
            replace: {"a.txt": b"new", "b.txt": b"b"},
            lose_bytes: {"a.txt": None, "b.txt": b"b"},
        }[event]
    )
    again = shown_again(client, response) | {"subject": "Hello"}
    if event is lose_bytes:
        again["attachments-remove"] = row.public_id
    assert client.post("/mail/", again).status_code == 302


def attached_safely(client, bundle):
    found = {}
    for name, row in Bundle(client.session, bundle).items():
        try:
            with row.open() as file:
                found[name] = file.read()
        except FileNotFoundError:
            found[name] = None
    return found


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("event", [remove, expire])
def test_submit__a_file_that_goes_while_the_form_is_checked(
    client, monkeypatch, event, knows
):
    data = ready_to_send(client, a=b"a", b=b"b")
    if not knows:
        del data["attachments-shown"]
    row = Attachment.objects.get(name="a.txt")
    before(monkeypatch, AttachmentsField, "_change", lambda: event(row))
    assert codes(client.post("/mail/", data).context["form"]) == ["missing"]
    assert not Mail.objects.exists()


def test_submit__a_file_that_goes_while_the_form_brings_another(client, monkeypatch):
    """Only what has the other's name took its place."""
    data = ready_to_send(client, a=b"a") | {"attachments": upload("b.txt", b"b")}
    row = Attachment.objects.get(name="a.txt")
    before(monkeypatch, AttachmentsField, "_change", lambda: remove(row))
    assert codes(client.post("/mail/", data).context["form"]) == ["missing"]
    assert attached(client, bundle_in(data)) == {"b.txt": b"b"}
    assert not Mail.objects.exists()


def test_submit__a_file_that_the_form_itself_replaces(client):
    data = ready_to_send(client, a=b"a", b=b"b")
    data |= {"attachments": upload("a.txt", b"new")}
    assert client.post("/mail/", data).status_code == 302
    assert sent_files() == [("mail/a.txt", b"new"), ("mail/b.txt", b"b")]


@pytest.mark.parametrize("event", [remove, expire, replace])
def test_submit__a_file_that_went_before_it(client, event):
    data = ready_to_send(client, a=b"a", b=b"b")
    event(Attachment.objects.get(name="a.txt"))
    response = client.post("/mail/", data | {"attachments": upload("c.txt", b"c")})
    assert errors(response) == {
        "attachments": [
            "Some of the files have been used, replaced or removed, or have expired. "
            "Look at those that are left, and submit the form again."
        ]
    }
    assert "c.txt" in attached(client, bundle_in(data))
    again = shown_again(client, response) | {"subject": "Hello"}
    assert client.post("/mail/", again).status_code == 302


def test_submit__a_box_is_not_about_a_file_that_came_meanwhile(client, monkeypatch):
    data = open_page(client, "/mail/")
    row = attach(client, bundle_in(data), "a.txt", b"old")
    remove_it = Bundle.remove

    def beside_another_tab(*args, **kwargs):
        replace(row)
        return remove_it(*args, **kwargs)

    monkeypatch.setattr(Bundle, "remove", beside_another_tab)
    data |= {"attachments-shown": row.public_id, "attachments-remove": row.public_id}
    response = client.post("/mail/", data)
    assert errors(response) == {"subject": ["This field is required."]}
    assert attached(client, bundle_in(data)) == {"a.txt": b"new"}


def test_submit__a_file_whose_bytes_were_lost_before_it(client):
    data = ready_to_send(client, a=b"a", b=b"b")
    row = Attachment.objects.get(name="a.txt")
    lose_bytes(row)
    response = client.post("/mail/", data)
    assert errors(response) == {
        "attachments": ["a.txt is lost. Remove it, and attach it again."]
    }
    again = shown_again(client, response) | {"subject": "Hello"}
    again["attachments-remove"] = row.public_id
    assert client.post("/mail/", again).status_code == 302
    assert sent_files() == [("mail/b.txt", b"b")]


def test_claiming__only_the_form_whose_files_are_gone_has_the_error(client):
    with visiting(client):
        a, b = (
            clean(
                Plain, files={f"{prefix}-attachments": upload("a.txt")}, prefix=prefix
            )
            for prefix in "ab"
        )
        remove(a.cleaned_data["attachments"][0].attachment)
        with pytest.raises(ClaimConflict), claiming(a, b):
            pass
        assert (a.is_valid(), b.is_valid()) == (False, True)


@pytest.mark.parametrize("when", ["before the validation", "before the claim"])
def test_claiming__the_storage_fails(client, monkeypatch, when):
    data = ready_to_send(client)

    def fail(*args):
        raise StorageFailed

    with monkeypatch.context() as patch:
        if when == "before the claim":
            before_claim(patch, lambda: patch.setattr(storage, "open_key", fail))
        else:
            patch.setattr(storage, "open_key", fail)
        response = client.post("/mail/", data)
    (message,) = errors(response)["attachments"]
    assert message.endswith(str(StorageFailed()))
    assert not Mail.objects.exists()
    assert list(attached(client, bundle_in(data))) == ["a.txt"]
    assert client.post("/mail/", data).status_code == 302


def test_claiming__another_error_leaves_the_form_as_it_is(client):
    data = ready_to_send(client)
    with visiting(client):
        form = clean(MailForm, data)
        with ends_with(ZeroDivisionError), claiming(form):
            form.save()
            raise ZeroDivisionError
        assert form.is_valid()
    assert not Mail.objects.exists()
    assert list(attached(client, bundle_in(data))) == ["a.txt"]
    assert not SubmittedBundle.objects.exists()


def test_claiming__a_rollback_of_the_caller_gives_everything_back(client):
    data = ready_to_send(client)
    with visiting(client):
        form = clean(MailForm, data)
        with ends_with(ZeroDivisionError), transaction.atomic():
            assert views.save_mail(form)
            raise ZeroDivisionError
    assert not SubmittedBundle.objects.exists()
    assert not Mail.objects.exists()
    assert attached(client, bundle_in(data)) == {"a.txt": b"content"}
    assert client.post("/mail/", data).status_code == 302


def test_claiming__a_form_can_be_claimed_again_after_a_rollback(client):
    data = ready_to_send(client)
    with visiting(client):
        form = clean(MailForm, data)
        with ends_with(IntegrityError), claiming(form):
            Mail.objects.create(pk=1)
            Mail.objects.create(pk=1)
        assert views.save_mail(form)
    assert [content for _, content in sent_files()] == [b"content"]


@pytest.mark.parametrize("uploaded", ["by script", "with the form"])
def test_atomic_requests__a_view_that_fails(client, monkeypatch, uploaded):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    client.raise_request_exception = False
    data = ready_to_send(client)
    if uploaded == "with the form":
        data["attachments"] = upload("b.txt", b"b")
    with monkeypatch.context() as patch:
        patch.setattr(views, "redirect", None)
        assert client.post("/mail/", data).status_code == 500
    assert not Mail.objects.exists()
    assert attached(client, bundle_in(data)) == {"a.txt": b"content"}
    assert client.post("/mail/", data).status_code == 302


def test_atomic_requests__without_a_script(client, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    data = open_page(client, "/mail/")
    response = client.post("/mail/", data | {"attachments": upload("a.txt", b"a")})
    again = shown_again(client, response) | {"subject": "Hello"}
    assert client.post("/mail/", again).status_code == 302
    assert sent_files() == [("mail/a.txt", b"a")]
    assert codes(client.post("/mail/", again).context["form"]) == ["spent"]


def test_claiming__what_clean_leaves_out_stays(client):
    class Form(forms.Form):
        attachments = AttachmentsField()

        def clean_attachments(self):
            return self.cleaned_data["attachments"][:1]

    for name in ("a.txt", "b.txt"):
        attach(client, "draft", name)
    with visiting(client):
        form = clean(Form, {"attachments-bundle": "draft"})
        with claiming(form):
            pass
    assert list(attached(client, "draft")) == ["b.txt"]


class Two(forms.Form):
    a = AttachmentsField(bundle="draft")
    b = AttachmentsField(bundle="draft")


def test_claiming__two_fields_with_one_file_are_refused(client):
    """Each would save it."""
    attach(client, "draft", "a.txt")
    with visiting(client):
        form = clean(Two)
        with pytest.raises(ClaimConflict), claiming(form):
            raise AssertionError
        assert form.errors == {"b": [SHARED]}
        assert codes(form, "b") == ["claim_conflict"]
    assert list(attached(client, "draft")) == ["a.txt"]


def test_claiming__two_fields_that_share_out_the_files_of_one_bundle(client):
    class Form(Two):
        def clean(self):
            first, second = self.cleaned_data["a"]
            return {"a": [first], "b": [second]}

    attach(client, "draft", "a.txt")
    attach(client, "draft", "b.txt")
    with visiting(client), claiming(clean(Form)):
        pass
    assert attached(client, "draft") == {}


def test_claiming__for_an_object_keeps_the_rows(client):
    attach(client, "ticket-7", "a.txt", b"a")
    assert client.post("/tickets/7/", {"title": "Hello"}).status_code == 302
    row = Ticket.objects.get().attachments.get()
    assert row.state == State.CLAIMED
    with row.open() as file:
        assert file.read() == b"a"
    assert attached(client, "ticket-7") == {}
    User.objects.create_superuser("root", password="x")
    assert client.get(f"/files/{row.public_id}/").status_code == 404
    client.login(username="root", password="x")
    response = client.get(f"/files/{row.public_id}/")
    assert b"".join(response.streaming_content) == b"a"


# -- formsets


def doom(row):
    """The file goes, and its row is still in the table."""
    sweep.doom(Attachment.objects.filter(pk=row.pk), timezone.now())


@pytest.mark.parametrize("event", [remove, doom])
def test_formset__a_conflict_is_an_error_of_its_form(client, monkeypatch, event):
    data = formset_data(client)
    attach(client, data["form-0-cv-bundle"], "a.pdf", PDF)
    row = attach(client, data["form-1-cv-bundle"], "b.pdf", PDF)
    before_claim(monkeypatch, lambda: event(row))
    data |= {"form-0-name": "Ada", "form-1-name": "Bob"}
    response = client.post("/applications/", data)
    assert response.context["form"].errors[0] == {}
    assert response.context["form"].errors[1] == {"cv": [CONFLICT]}
    assert not Application.objects.exists()


def test_formset__a_row_that_has_the_bundle_of_another_saves_no_copy(client):
    """Forged, or by a script of the site that copies a row as it is."""
    data = formset_data(client) | {"form-0-name": "Ann", "form-1-name": "Bob"}
    data["form-1-cv-bundle"] = data["form-0-cv-bundle"]
    attach(client, data["form-0-cv-bundle"], "a.pdf", PDF)
    response = client.post("/applications/", data)
    assert response.context["form"].errors == [{}, {"cv": [SHARED]}]
    assert not Application.objects.exists()
    data |= {"form-1-DELETE": "on"}
    assert client.post("/applications/", data).status_code == 302
    assert [row.name for row in Application.objects.all()] == ["Ann"]


def test_formset__a_form_that_was_submitted_is_a_change(client):
    attach(client, "draft", "a.txt")
    data = {"attachments-bundle": "draft"}
    with visiting(client):
        with claiming(clean(Plain, data)):
            pass
        assert Plain(data).has_changed()
        assert not Plain({"attachments-bundle": "other"}).has_changed()


# -- the admin


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_superuser("root"))
    return client


def open_admin(client, url="/admin/mailbox/mail/add/"):
    context = client.get(url).context
    [inline] = context["inline_admin_formsets"]
    return form_data(client, context["adminform"].form) | form_data(
        client, inline.formset
    )


def test_admin__adds_an_object_with_its_files(staff):
    data = open_admin(staff)
    attach(staff, bundle_in(data), "a.txt", b"a")
    data |= {"subject": "Hello", "attachments": upload("b.txt", b"b")}
    response = staff.post("/admin/mailbox/mail/add/", data)
    assert response.status_code == 302
    assert sent_files() == [("mail/a.txt", b"a"), ("mail/b.txt", b"b")]
    assert not Attachment.objects.exists()


def test_admin__claims_the_files_of_inlines(staff):
    data = open_admin(staff) | {"subject": "Hello", "files-TOTAL_FORMS": 2}
    for row in range(2):
        data[f"files-{row}-document-bundle"] = f"row-{row}"
        attach(staff, f"row-{row}", "a.txt", b"%d" % row)
    assert staff.post("/admin/mailbox/mail/add/", data).status_code == 302
    assert [content for _, content in sent_files()] == [b"0", b"1"]
    assert not Attachment.objects.exists()


def test_admin__shows_the_form_again_with_its_files(staff):
    data = open_admin(staff) | {"attachments": upload("a.txt")}
    response = staff.post("/admin/mailbox/mail/add/", data)
    assert response.status_code == 200
    assert "a.txt" in response.content.decode()
    assert list(attached(staff, bundle_in(data))) == ["a.txt"]


def test_admin__logs_what_was_changed(staff):
    mail = Mail.objects.create(subject="Hello")
    url = f"/admin/mailbox/mail/{mail.pk}/change/"
    data = open_admin(staff, url)
    attach(staff, bundle_in(data), "a.txt")
    assert staff.post(url, data | {"subject": "Hello"}).status_code == 302
    assert LogEntry.objects.get().get_change_message() == "Changed attachments."


def test_admin__media_are_included(staff):
    html = staff.get("/admin/mailbox/mail/add/").content.decode()
    assert "session_attachments/attachments.js" in html


def test_admin__a_conflict_is_a_form_error_and_loses_no_upload(staff, monkeypatch):
    data = open_admin(staff)
    row = attach(staff, bundle_in(data), "a.txt")
    data |= {
        "subject": "Hello",
        "attachments-shown": row.public_id,
        "attachments": upload("b.txt", b"b"),
    }
    refuse_once(monkeypatch)
    view = ModelAdmin.changeform_view

    def view_beside_another_tab(*args, **kwargs):
        try:
            return view(*args, **kwargs)
        except ClaimConflict:
            remove(row)
            raise

    monkeypatch.setattr(ModelAdmin, "changeform_view", view_beside_another_tab)
    response = staff.post("/admin/mailbox/mail/add/", data)
    assert codes(response.context["adminform"].form) == ["missing"]
    assert not Mail.objects.exists()
    assert attached(staff, bundle_in(data)) == {"b.txt": b"b"}


@pytest.mark.parametrize("name", ["😀", "???"])
@pytest.mark.parametrize("field", ["attachments", "files-0-document"])
def test_admin__a_name_that_the_sites_storage_cannot_use(staff, field, name):
    """Nor can it the second time: the form says so, and keeps what it was sent."""
    data = open_admin(staff) | {"subject": "Hello", "files-TOTAL_FORMS": 1}
    data["files-0-document-bundle"] = "row-0"
    attach(staff, bundle_in(data, field), name)
    response = staff.post("/admin/mailbox/mail/add/", data)
    assert response.context["errors"] == [[UNUSABLE]]
    assert response.context["adminform"].form["subject"].value() == "Hello"
    assert not Mail.objects.exists()
    assert [*attached(staff, bundle_in(data, field))] == [name]


def test_admin__a_database_that_is_busy_again(staff, monkeypatch):
    mail = Mail.objects.create(subject="Old")
    url = f"/admin/mailbox/mail/{mail.pk}/change/"
    data = open_admin(staff, url) | {"subject": "New"}
    attach(staff, bundle_in(data), "a.txt", b"a")
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_doom", crash_with(Busy()))
        response = staff.post(url, data)
    assert response.context["errors"] == [[str(Busy())]]
    assert Mail.objects.get().subject == "Old"
    assert staff.post(url, data).status_code == 302
    assert Mail.objects.get().subject == "New"
    assert [content for _, content in sent_files()] == [b"a"]


def test_admin__what_refused_once_is_not_saved_at_the_second_try(staff, monkeypatch):
    """The visitor has read of it then, and decides."""
    data = open_admin(staff) | {"subject": "Hello"}
    attach(staff, bundle_in(data), "a.txt")
    refuse_once(monkeypatch)
    response = staff.post("/admin/mailbox/mail/add/", data)
    assert response.context["errors"] == [[CONFLICT]]
    assert not Mail.objects.exists()


def refuse_once(monkeypatch):
    def refuse():
        raise ClaimConflict

    before_claim(monkeypatch, refuse)


# -- wizards


def wizard_page(response):
    return response.context["wizard"]["steps"].current


def manage(current):
    return {"mail_wizard-current_step": current}


FINISH = manage("subject") | {"subject-subject": "Hello"}


def test_wizard__keeps_the_files_over_its_steps(client):
    data = open_page(client, "/mail/wizard/")
    attach(client, bundle_in(data, "files-attachments"), "a.txt", b"a")
    response = client.post("/mail/wizard/", data | manage("files"))
    assert wizard_page(response) == "subject"
    assert client.post("/mail/wizard/", FINISH).status_code == 302
    assert sent_files() == [("mail/a.txt", b"a")]
    assert not Attachment.objects.exists()


@pytest.mark.parametrize("atomic", [False, True])
def test_wizard__without_a_script_and_back_again(client, monkeypatch, atomic):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    data = open_page(client, "/mail/wizard/") | manage("files")
    uploads = [upload("a.txt", b"a"), upload("b.txt", b"b")]
    client.post("/mail/wizard/", data | {"files-attachments": uploads})
    response = client.post("/mail/wizard/", {"wizard_goto_step": "files"})
    assert wizard_page(response) == "files"
    again = shown_again(client, response) | manage("files")
    removed = again["files-attachments-shown"][0]
    client.post("/mail/wizard/", again | {"files-attachments-remove": removed})
    assert client.post("/mail/wizard/", FINISH).status_code == 302
    assert sent_files() == [("mail/b.txt", b"b")]


@pytest.mark.parametrize("event", [remove, expire])
def test_wizard__a_file_that_came_with_its_step_and_goes_before_the_end(client, event):
    data = open_page(client, "/mail/wizard/") | manage("files")
    uploads = [upload("a.txt"), upload("b.txt")]
    client.post("/mail/wizard/", data | {"files-attachments": uploads})
    event(Attachment.objects.get(name="a.txt"))
    response = client.post("/mail/wizard/", FINISH)
    assert wizard_page(response) == "files"
    assert "missing" in codes(response.context["form"])
    assert not Mail.objects.exists()


def test_wizard__a_file_that_its_step_replaces_and_removes(client):
    data = open_page(client, "/mail/wizard/") | manage("files")
    bundle = bundle_in(data, "files-attachments")
    old, gone = (attach(client, bundle, name).public_id for name in ("a.txt", "b.txt"))
    data |= {
        "files-attachments-shown": [old, gone],
        "files-attachments-remove": gone,
        "files-attachments": upload("a.txt", b"new"),
    }
    assert wizard_page(client.post("/mail/wizard/", data)) == "subject"
    assert client.post("/mail/wizard/", FINISH).status_code == 302
    assert sent_files() == [("mail/a.txt", b"new")]


def test_wizard__a_step_that_names_no_bundle(client):
    """As of a client that has not read the page."""
    client.get("/mail/wizard/")
    data = manage("files") | {"files-attachments": upload("a.txt", b"a")}
    client.post("/mail/wizard/", data)
    assert client.post("/mail/wizard/", FINISH).status_code == 302
    assert sent_files() == [("mail/a.txt", b"a")]


def test_step_data__of_a_formset_has_the_files_of_its_rows(client):
    data = formset_data(client) | {"form-0-name": "Ann", "form-1-name": "Bob"}
    came = MultiValueDict({f"form-{row}-cv": [upload("a.pdf", PDF)] for row in "01"})
    with visiting(client):
        formset = ApplicationFormSet(QueryDict(urlencode(data, doseq=True)), came)
        assert formset.is_valid()
        kept = step_data(formset)
        for form in ApplicationFormSet(kept):
            assert form.is_valid()
            row = form.cleaned_data["cv"].attachment
            assert kept.getlist(f"{form.prefix}-cv-shown") == [row.public_id]


def test_wizard__a_conflict_at_the_end_goes_back_to_the_files(client, monkeypatch):
    data = open_page(client, "/mail/wizard/")
    row = attach(client, bundle_in(data, "files-attachments"), "a.txt")
    client.post("/mail/wizard/", data | manage("files"))
    before_claim(monkeypatch, lambda: remove(row))
    response = client.post("/mail/wizard/", FINISH)
    assert wizard_page(response) == "files"
    assert errors(response) == {"attachments": [CONFLICT]}
    assert not Mail.objects.exists()


# -- asynchronous views


def test_async_view__of_an_asynchronous_server():
    async def visit():
        client = AsyncClient()
        page = await client.get("/mail/async/")
        data = await sync_to_async(form_data)(client, page.context["form"])
        data |= {"attachments": upload("a.txt", b"a")}
        response = await client.post("/mail/async/", data)
        assert response.status_code == 200
        data = await sync_to_async(form_data)(client, response.context["form"])
        response = await client.post("/mail/async/", data | {"subject": "Hello"})
        assert response.status_code == 302

    async_to_sync(visit)()  # On this thread's connection.
    assert sent_files() == [("mail/a.txt", b"a")]


def test_async_view__while_uploads_are_refused(settings):
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True

    async def visit():
        data = {"subject": "Hello", "attachments": upload("a.txt")}
        response = await AsyncClient().post("/mail/async/", data)
        assert codes(response.context["form"]) == ["maintenance"]

    async_to_sync(visit)()
    assert not Attachment.objects.exists()


def test_async_view__of_a_synchronous_server(client):
    data = open_page(client, "/mail/async/")
    data |= {"attachments": upload("a.txt", b"a")}
    again = shown_again(client, client.post("/mail/async/", data))
    response = client.post("/mail/async/", again | {"subject": "Hello"})
    assert response.status_code == 302
    assert sent_files() == [("mail/a.txt", b"a")]
