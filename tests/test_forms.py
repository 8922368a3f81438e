"""The form fields: what a visitor sends, what the form makes of it, what is kept."""

import gc

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import (
    ImproperlyConfigured,
    PermissionDenied,
    ValidationError,
)
from django.core.validators import FileExtensionValidator
from django.test import Client

from session_attachments import access, storage
from session_attachments.bundles import Bundle
from session_attachments.exceptions import AccessRefused, BadName, Busy, Maintenance
from session_attachments.forms import AttachmentField, AttachmentsField, claiming
from session_attachments.models import Attachment
from session_attachments.testing import attach, attached, visiting
from tests.mailbox import settings as site
from tests.mailbox.forms import ApplicationForm, ApplicationFormSet
from tests.mailbox.models import Application, Mail, Ticket
from tests.visits import (
    Page,
    bundle_in,
    clean,
    codes,
    element,
    errors,
    formset_data,
    open_page,
    sent_files,
    shown_again,
    upload,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.mailbox.urls"),
]

PDF = b"%PDF-1.4\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0"
MIB = 2**20


@pytest.fixture(autouse=True)
def _site(settings):
    settings.MIDDLEWARE = site.MIDDLEWARE


@pytest.fixture
def visit(client):
    """The request of a visitor, for forms that are made without one."""
    with visiting(client):
        yield


class Plain(forms.Form):
    attachments = AttachmentsField(required=False)


class Required(forms.Form):
    attachments = AttachmentsField()
    text = forms.CharField()


class One(forms.Form):
    file = AttachmentField(required=False)


# -- cleaned data


def test_clean__files_that_were_uploaded_before(client):
    data = open_page(client, "/mail/")
    attach(client, bundle_in(data), "b.txt", b"bb")
    attach(client, bundle_in(data), "a.txt", b"a")
    with visiting(client):
        form = clean(Plain, data)
    files = form.cleaned_data["attachments"]
    assert [file.name for file in files] == ["a.txt", "b.txt"]
    assert [file.size for file in files] == [1, 2]
    assert [file.content_type for file in files] == [
        "application/octet-stream",
        "text/plain",
    ]


@pytest.mark.usefixtures("visit")
def test_clean__files_are_djangos():
    form = clean(Plain, files={"attachments": [upload("a.txt", b"one\ntwo\n")]})
    (file,) = form.cleaned_data["attachments"]
    assert file.closed
    assert file.seekable()
    assert file.readable()
    assert not file.writable()
    with file.open() as opened:
        assert opened.read() == b"one\ntwo\n"
        assert opened.seekable()
        opened.seek(4)
        assert opened.read() == b"two\n"
        assert b"".join(opened.chunks(3)) == b"one\ntwo\n"
        assert list(opened) == [b"one\n", b"two\n"]
    assert file.closed
    assert len(file) == 8
    assert bool(file)


@pytest.mark.usefixtures("visit")
def test_clean__a_file_that_nobody_closes_leaves_no_warning():
    form = clean(Plain, files={"attachments": [upload("a.txt")]})
    assert form.cleaned_data["attachments"][0].read() == b"content"
    inner = form.cleaned_data["attachments"][0].file
    del form
    gc.collect()
    assert inner.closed


@pytest.mark.usefixtures("visit")
def test_clean__nothing_sent():
    form = clean(Plain)
    assert form.cleaned_data == {"attachments": []}


@pytest.mark.usefixtures("visit")
def test_clean__required():
    form = clean(Required, {"text": "Hello"})
    assert form.errors == {"attachments": ["This field is required."]}


@pytest.mark.usefixtures("visit")
def test_clean__required_reaches_the_page_when_a_form_changes_it():
    class Form(Plain):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.fields["attachments"].required = True

    assert "required" in element(Form())
    assert "required" not in element(Plain())
    assert codes(clean(Form)) == ["required"]


@pytest.mark.usefixtures("visit")
def test_clean__prefix():
    uploads = {"b-attachments": [upload("a.txt")]}
    a, b = (clean(Plain, files=uploads, prefix=prefix) for prefix in "ab")
    assert a.cleaned_data["attachments"] == []
    assert len(b.cleaned_data["attachments"]) == 1
    assert 'name="b-attachments-bundle"' in str(b["attachments"])


@pytest.mark.usefixtures("visit")
def test_clean__initial_means_nothing():
    form = clean(Plain, initial={"attachments": ["a.txt"]})
    assert form.cleaned_data["attachments"] == []


@pytest.mark.usefixtures("visit")
def test_clean__disabled_takes_nothing_from_the_visitor():
    class Form(forms.Form):
        attachments = AttachmentsField(disabled=True, required=False)

    Bundle(access.current(), "draft").save("old.txt", upload("old.txt"))
    data = {"attachments-bundle": "draft"}
    form = clean(Form, data, {"attachments": [upload("a.txt")]})
    assert form.cleaned_data["attachments"] == []
    assert not form.has_changed()
    assert len(Bundle(access.current(), "draft")) == 1


@pytest.mark.usefixtures("visit")
def test_clean__disabled_with_a_fixed_bundle_has_its_files():
    class Form(forms.Form):
        attachments = AttachmentsField(disabled=True, bundle="draft")

    row = Bundle(access.current(), "draft").save("old.txt", upload("old.txt"))
    data = {"attachments-remove": row.public_id}
    form = clean(Form, data, {"attachments": [upload("a.txt")]})
    assert [file.name for file in form.cleaned_data["attachments"]] == ["old.txt"]


@pytest.mark.usefixtures("visit")
def test_clean__a_refused_upload_leaves_the_file_of_its_name():
    class Form(forms.Form):
        attachments = AttachmentsField(bundle="draft", allowed_types=["text/*"])

    Bundle(access.current(), "draft").save("a.txt", upload("a.txt", b"old"))
    form = clean(Form, files={"attachments": [upload("a.txt", PDF)]})
    assert codes(form) == ["type_not_allowed"]
    with Bundle(access.current(), "draft")["a.txt"].open() as file:
        assert file.read() == b"old"


@pytest.mark.usefixtures("visit")
def test_clean__two_uploads_of_one_name():
    """The second is not stored in place of the first without a word."""
    uploads = [upload("a.txt", b"1"), upload("x/a.txt", b"2")]
    form = clean(Plain, files={"attachments": uploads})
    assert codes(form) == ["duplicate_name"]
    [row] = Bundle(access.current(), form["attachments"].data.bundle_id).values()
    with row.open() as file:
        assert file.read() == b"1"


@pytest.mark.usefixtures("visit")
@pytest.mark.parametrize("value", [5, ["a"], [["x"]], {"a": 1}, True])
@pytest.mark.parametrize("name", ["bundle", "shown", "remove"])
def test_clean__data_that_is_no_text(name, value):
    """As a form gets it that is made of JSON."""
    data = {"attachments-bundle": "draft", f"attachments-{name}": value}
    form = clean(Plain, data)
    assert codes(form) in ([], ["gone"], ["missing"])
    assert "session-attachments" in str(form)


@pytest.mark.parametrize("draft", ["x" * 250, "%07", "e%CC%81"])
def test_bundle__of_an_address_that_cannot_be_one(client, draft):
    """A form's own bundle may be named by what a visitor has typed."""
    assert client.get(f"/tickets/{draft}/").status_code == 400


@pytest.mark.usefixtures("visit")
def test_options__are_the_forms_own():
    """What one form changes in place, the next one does not have."""

    class Form(forms.Form):
        attachments = AttachmentsField(texts={"add": "X"}, allowed_types=["text/*"])

    first = Form()
    first.fields["attachments"].texts["add"] = "Files of Grace"
    first.fields["attachments"].allowed_types.append("image/*")
    assert "Grace" in str(first)
    assert "Grace" not in str(Form())
    assert element(Form())["accept"] == "text/*"


class Replica:
    """Reads go to a database that is behind: so far that it is not there."""

    def db_for_read(self, model, **hints):
        return "replica" if model is Attachment else None


def test_clean__sees_what_was_stored_a_moment_ago(client, settings):
    attach(client, "draft", "a.txt")
    with visiting(client):
        settings.DATABASE_ROUTERS = [f"{__name__}.Replica"]
        form = clean(Plain, {"attachments-bundle": "draft"})
        assert form.has_changed()
        settings.DATABASE_ROUTERS = []
    assert len(form.cleaned_data["attachments"]) == 1


# -- limits of the field


@pytest.mark.usefixtures("visit")
def test_max_files__counts_what_is_there():
    class Form(forms.Form):
        attachments = AttachmentsField(max_files=1)

    uploads = {"attachments": [upload("a.txt"), upload("b.txt")]}
    form = clean(Form, files=uploads)
    assert form.errors == {"attachments": ["Attach at most 1 file."]}
    assert len(Bundle(access.current(), form["attachments"].data.bundle_id)) == 2
    Form.base_fields["attachments"].max_files = 2
    assert clean(Form, files=uploads).is_valid()


@pytest.mark.usefixtures("visit")
def test_max_size__refuses_before_storing():
    class Form(forms.Form):
        attachments = AttachmentsField(max_size=0.001)  # 1048 bytes

    uploads = [upload("big.txt", b"x" * 1049), upload("fits.txt", b"x" * 1048)]
    form = clean(Form, files={"attachments": uploads})
    assert form.errors == {"attachments": ["big.txt is larger than 1.0\xa0KB."]}
    assert codes(form) == ["too_large"]
    assert list(Bundle(access.current(), form["attachments"].data.bundle_id)) == [
        "fits.txt"
    ]


@pytest.mark.usefixtures("visit")
def test_max_length__is_of_names_and_in_characters():
    class Form(forms.Form):
        attachments = AttachmentsField(max_length=6)

    uploads = [upload("éé.txt"), upload("ééé.txt")]
    form = clean(Form, files={"attachments": uploads})
    assert form.errors == {
        "attachments": ["Ensure this filename has at most 6 characters (it has 7)."]
    }
    assert codes(form) == ["max_length"]


def test_max_size__holds_for_what_a_script_has_uploaded(client):
    attach(client, "draft", "big.txt", b"x" * (MIB + 1))
    data = {"subject": "Hello", "attachments-bundle": "draft"}
    response = client.post("/mail/", data)
    assert errors(response) == {
        "attachments": ["big.txt is larger than 1.0\xa0MB."],
    }
    assert not Mail.objects.exists()


@pytest.mark.usefixtures("visit")
def test_allowed_types__refuses_by_content_and_keeps_the_others():
    class Form(forms.Form):
        attachments = AttachmentsField(allowed_types=["image/*", "text/csv"])

    uploads = [upload("a.png", PNG), upload("b.png", PDF), upload("c.csv", b"a,b\n1,2")]
    form = clean(Form, files={"attachments": uploads})
    assert form.errors == {
        "attachments": ["b.png is of a type that is not accepted here."]
    }
    bundle = Bundle(access.current(), form["attachments"].data.bundle_id)
    assert list(bundle) == ["a.png", "c.csv"]
    form = clean(Form, {"attachments-bundle": bundle.id})
    assert form.is_valid()


def test_allowed_types__hold_for_what_a_script_has_uploaded(client):
    attach(client, "draft", "cv.txt", PDF)
    data = {"subject": "Hello", "attachments-bundle": "draft"}
    assert errors(client.post("/mail/", data)) == {
        "attachments": ["cv.txt is of a type that is not accepted here."]
    }


@pytest.mark.usefixtures("visit")
def test_validators__see_each_file_and_their_errors_name_it():
    def no_x(file):
        if b"x" in file.read():
            raise ValidationError("There is an x.", code="x")

    class Form(forms.Form):
        attachments = AttachmentsField(
            validators=[FileExtensionValidator(["txt"]), no_x]
        )

    uploads = [upload("a.txt", b"x"), upload("b.exe"), upload("c.txt")]
    form = clean(Form, files={"attachments": uploads})
    assert form.errors["attachments"] == [
        "a.txt: There is an x.",
        "b.exe: File extension “exe” is not allowed. Allowed extensions are: txt.",
    ]
    assert codes(form) == ["x", "invalid_extension"]


@pytest.mark.usefixtures("visit")
def test_validators__leave_the_file_closed():
    seen = []

    class Form(forms.Form):
        file = AttachmentField(validators=[lambda file: seen.append(file.read())])

    form = clean(Form, files={"file": upload("a.txt")})
    assert seen == [b"content"]
    assert form.cleaned_data["file"].closed
    with form.cleaned_data["file"].open() as file:
        assert file.read() == b"content"


@pytest.mark.usefixtures("visit")
def test_validators__a_file_whose_bytes_are_lost_is_an_error_of_the_form():
    class Form(forms.Form):
        attachments = AttachmentsField(validators=[lambda file: file.read()])

    row = Bundle(access.current(), "draft").save("a.txt", upload("a.txt"))
    storage.remove(row.storage, row.key)
    form = clean(Form, {"attachments-bundle": "draft"})
    assert form.errors == {
        "attachments": ["a.txt is lost. Remove it, and attach it again."]
    }


@pytest.mark.usefixtures("visit")
def test_messages__can_be_replaced():
    class Form(forms.Form):
        attachments = AttachmentsField(
            max_files=1, error_messages={"too_many": "One is enough, not %(limit)d."}
        )

    uploads = {"attachments": [upload("a.txt"), upload("b.txt")]}
    assert clean(Form, files=uploads).errors == {
        "attachments": ["One is enough, not 1."]
    }


def test_limits_of_the_site__name_the_file_and_keep_the_others(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.001
    settings.SESSION_ATTACHMENTS_MAX_FILES = 2
    data = open_page(client, "/mail/")
    long = "é" * 130
    uploads = [upload("a.txt"), upload("b.txt", b"x" * 2000), upload(long)]
    uploads += [upload("d.txt"), upload("e.txt")]
    response = client.post("/mail/", data | {"subject": "", "attachments": uploads})
    assert errors(response) == {
        "subject": ["This field is required."],
        "attachments": [
            "b.txt: The file is larger than 1.0\xa0KB.",
            f"{long}: {BadName.message}",
            "e.txt: There are more than 2 files.",
        ],
    }
    assert list(attached(client, bundle_in(data))) == ["a.txt", "d.txt"]


# -- which bundle


def test_bundle__fresh_for_every_form_that_is_rendered(client):
    tabs = [bundle_in(open_page(client, "/mail/")) for _ in range(2)]
    assert tabs[0] != tabs[1]
    attach(client, tabs[0], "a.txt")
    data = {"subject": "Hello", "attachments-bundle": tabs[1]}
    client.post("/mail/", data)
    assert sent_files() == []
    assert list(attached(client, tabs[0])) == ["a.txt"]


@pytest.mark.usefixtures("visit")
def test_bundle__the_same_for_one_form_however_often_it_is_rendered():
    form = Plain()
    assert str(form["attachments"]) == str(form["attachments"])


def test_bundle__kept_when_the_form_is_shown_again(client):
    data = open_page(client, "/mail/")
    attach(client, bundle_in(data), "a.txt")
    response = client.post("/mail/", data)
    assert errors(response) == {"subject": ["This field is required."]}
    again = shown_again(client, response)
    assert bundle_in(again) == bundle_in(data)
    response = client.post("/mail/", again | {"subject": "Hello"})
    assert response.status_code == 302
    assert len(sent_files()) == 1


def test_bundle__fixed_is_shared_by_all_forms(client):
    for number in range(2):
        data = open_page(client, "/tickets/7/")
        assert bundle_in(data, "files") == "ticket-7"
        uploads = {"files": upload(f"{number}.txt")}
        client.post("/tickets/7/", data | uploads)
    assert list(attached(client, "ticket-7")) == ["0.txt", "1.txt"]


def test_bundle__fixed_is_not_chosen_by_the_visitor(client):
    attach(client, "ticket-8", "a.txt")
    data = {"title": "Hello", "files-bundle": "ticket-8"}
    assert client.post("/tickets/7/", data).status_code == 302
    assert not Ticket.objects.get().attachments.exists()


def test_bundle__of_another_session_is_empty(client):
    other = Client()
    data = open_page(other, "/mail/")
    attach(other, bundle_in(data), "secret.txt")
    attach(client, "mine", "a.txt")
    forged = {"subject": "Hello", "attachments-bundle": bundle_in(data)}
    assert client.post("/mail/", forged).status_code == 302
    assert sent_files() == []
    assert list(attached(other, bundle_in(data))) == ["secret.txt"]


def test_bundle__of_another_session_with_the_files_it_showed(client):
    other = Client()
    bundle = bundle_in(open_page(other, "/mail/"))
    row = attach(other, bundle, "secret.txt")
    forged = {
        "subject": "Hello",
        "attachments-bundle": bundle,
        "attachments-shown": row.public_id,
        "attachments-remove": row.public_id,
    }
    client.post("/mail/", forged)
    assert list(attached(other, bundle)) == ["secret.txt"]
    assert sent_files() == []


@pytest.mark.parametrize(
    "garbage", ["", ".", "..", "a/b", "\0", "e\u0301", "x" * 256, "\u2028"]
)
def test_bundle__garbage_is_an_error_of_the_form(client, garbage):
    data = {"subject": "Hello", "attachments-bundle": garbage}
    response = client.post("/mail/", data | {"attachments": upload("a.txt")})
    assert errors(response) == {
        "attachments": [
            "This form is too old. Look at your files, and submit it again."
        ]
    }
    again = shown_again(client, response)
    assert client.post("/mail/", again | {"subject": "Hello"}).status_code == 302


@pytest.mark.parametrize("wrong", ["shown", "remove"])
def test_ids__garbage_is_no_500(client, wrong):
    data = open_page(client, "/mail/")
    data |= {"subject": "Hello", f"attachments-{wrong}": ["", "\0", "x" * 9999, "é"]}
    expected = {"shown": 200, "remove": 302}[wrong]
    assert client.post("/mail/", data).status_code == expected


@pytest.mark.usefixtures("visit")
def test_bundle__an_upload_without_one_gets_a_fresh_one():
    form = clean(Required, files={"attachments": [upload("a.txt")]})
    assert form.errors == {"text": ["This field is required."]}
    html = str(form["attachments"])
    assert "a.txt" in html
    assert form["attachments"].data.bundle_id in html


@pytest.mark.usefixtures("visit")
def test_bundle__one_form_class_never_lends_it_to_two_forms():
    a, b = Plain({}), Plain({})
    assert a["attachments"].data.bundle_id != b["attachments"].data.bundle_id


def test_shown__is_one_field_for_each_file(client, settings):
    """As the settings of Django are documented to count them."""
    data = open_page(client, "/mail/")
    for name in ("a.txt", "b.txt", "c.txt"):
        attach(client, bundle_in(data), name)
    again = shown_again(client, client.post("/mail/", data)) | {"subject": "Hello"}
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 4
    assert client.post("/mail/", again).status_code == 400
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 5
    assert client.post("/mail/", again).status_code == 302


# -- the session


def test_middleware__is_missed_with_advice(client, settings):
    settings.MIDDLEWARE = [
        path for path in site.MIDDLEWARE if "session_attachments" not in path
    ]
    with pytest.raises(ImproperlyConfigured, match="visitor_middleware' to MIDDLEWARE"):
        client.get("/mail/")
    with pytest.raises(ImproperlyConfigured, match="visitor_middleware' to MIDDLEWARE"):
        client.post("/mail/", {"subject": "Hello"})


def test_session__is_not_created_by_looking(client):
    client.get("/mail/")
    assert "sessionid" not in client.cookies


def test_session__lost_between_upload_and_submit_loses_nothing_silently(client):
    data = open_page(client, "/mail/")
    attach(client, bundle_in(data), "a.txt")
    response = client.post("/mail/", data)
    again = shown_again(client, response) | {"subject": "Hello"}
    client.logout()
    response = client.post("/mail/", again)
    assert codes(response.context["form"]) == ["missing"]
    assert not Mail.objects.exists()
    again = shown_again(client, response) | {"subject": "Hello"}
    assert client.post("/mail/", again).status_code == 302


def test_session__survives_a_login(client):
    User.objects.create_user("ann", password="x")
    data = open_page(client, "/mail/")
    attach(client, bundle_in(data), "a.txt")
    assert client.login(username="ann", password="x")
    client.post("/mail/", data | {"subject": "Hello"})
    assert len(sent_files()) == 1


@pytest.mark.parametrize(
    "engine", ["db", "cache", "cached_db", "file", "signed_cookies"]
)
def test_session__of_every_engine(settings, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    client = Client()
    data = open_page(client, "/mail/")
    response = client.post("/mail/", data | {"attachments": upload("a.txt")})
    again = shown_again(client, response)
    attach(client, bundle_in(data), "b.txt")
    data = again | {"subject": "Hello"}
    assert client.post("/mail/", data).status_code == 302
    assert len(sent_files()) == 2
    response = client.post("/mail/", {"subject": "Hello"} | again)
    assert codes(response.context["form"]) == ["spent"]


# -- without JavaScript


def test_no_script__stores_and_keeps_when_the_form_has_errors(client):
    data = open_page(client, "/mail/")
    uploads = [upload("a.txt", b"a"), upload("b.txt", b"b")]
    response = client.post("/mail/", data | {"attachments": uploads})
    html = response.content.decode()
    assert "a.txt" in html
    assert "b.txt" in html
    again = shown_again(client, response)
    response = client.post("/mail/", again | {"attachments": upload("c.txt", b"c")})
    again = shown_again(client, response) | {"subject": "Hello"}
    assert client.post("/mail/", again).status_code == 302
    assert [content for _, content in sent_files()] == [b"a", b"b", b"c"]
    assert Attachment.objects.count() == 0


def test_no_script__the_first_upload_of_a_visitor_without_a_session(client):
    data = open_page(client, "/mail/")
    assert "sessionid" not in client.cookies
    response = client.post("/mail/", data | {"attachments": upload("a.txt", b"a")})
    again = shown_again(client, response) | {"subject": "Hello"}
    assert client.post("/mail/", again).status_code == 302
    assert sent_files() == [("mail/a.txt", b"a")]


def test_no_script__remove_boxes(client):
    data = open_page(client, "/mail/")
    uploads = [upload("a.txt"), upload("b.txt")]
    response = client.post("/mail/", data | {"attachments": uploads})
    again = shown_again(client, response)
    first = again["attachments-shown"][0]
    assert f'name="attachments-remove" value="{first}"' in response.content.decode()
    response = client.post("/mail/", again | {"attachments-remove": [first]})
    assert errors(response) == {"subject": ["This field is required."]}
    assert list(attached(client, bundle_in(data))) == ["b.txt"]
    assert "a.txt" not in response.content.decode()


def test_no_script__remove_boxes_are_about_the_file_that_was_shown(client):
    data = open_page(client, "/mail/")
    old = attach(client, bundle_in(data), "a.txt", b"old")
    attach(client, bundle_in(data), "a.txt", b"new")
    data |= {"attachments-shown": old.public_id, "attachments-remove": old.public_id}
    client.post("/mail/", data)
    assert attached(client, bundle_in(data)) == {"a.txt": b"new"}


def test_no_script__removing_and_uploading_one_name_at_once(client):
    data = open_page(client, "/mail/")
    old = attach(client, bundle_in(data), "a.txt", b"old")
    data |= {
        "attachments-shown": old.public_id,
        "attachments-remove": old.public_id,
        "attachments": upload("a.txt", b"new"),
    }
    assert errors(client.post("/mail/", data)) == {
        "subject": ["This field is required."]
    }
    assert attached(client, bundle_in(data)) == {"a.txt": b"new"}


def test_no_script__a_new_file_replaces_one_of_its_name(client):
    data = open_page(client, "/mail/")
    response = client.post("/mail/", data | {"attachments": upload("a.txt", b"old")})
    again = shown_again(client, response) | {"attachments": upload("a.txt", b"new")}
    response = client.post("/mail/", again)
    assert errors(response) == {"subject": ["This field is required."]}
    assert attached(client, bundle_in(data)) == {"a.txt": b"new"}


def test_no_script__a_removal_that_the_database_refuses_names_the_file(
    client, monkeypatch
):
    data = open_page(client, "/mail/")
    row = attach(client, bundle_in(data), "a.txt")

    def busy(*args, **kwargs):
        raise Busy("Busy.")

    monkeypatch.setattr(Bundle, "remove", busy)
    response = client.post("/mail/", data | {"attachments-remove": row.public_id})
    assert errors(response)["attachments"] == ["a.txt: Busy."]


def test_no_script__a_file_that_goes_while_it_is_removed(client, monkeypatch):
    data = open_page(client, "/mail/")
    row = attach(client, bundle_in(data), "a.txt")
    remove = Bundle.remove

    def twice(bundle, *args, **kwargs):
        remove(bundle, *args, **kwargs)
        remove(bundle, *args, **kwargs)

    monkeypatch.setattr(Bundle, "remove", twice)
    data |= {"subject": "Hello", "attachments-remove": row.public_id}
    assert client.post("/mail/", data).status_code == 302


@pytest.mark.usefixtures("visit")
def test_no_script__cleaning_twice_stores_once():
    form = clean(Plain, files={"attachments": [upload("a.txt")]})
    form.full_clean()
    assert form.is_valid()
    assert len(form.cleaned_data["attachments"]) == 1


# -- without JavaScript, while requests are refused


def refuses(request):
    return False


def refuses_with_a_reason(request):
    raise PermissionDenied("Members only.")


def remembers(request):
    asked.append(request.path)


asked: list[str] = []


@pytest.mark.parametrize(
    ("setting", "value", "code", "message"),
    [
        ("MAINTENANCE", True, "maintenance", Maintenance.message),
        ("MAINTENANCE", "read-only", "maintenance", Maintenance.message),
        ("ACCESS_CHECKS", [f"{__name__}.refuses"], "access", AccessRefused.message),
        (
            "ACCESS_CHECKS",
            [f"{__name__}.refuses_with_a_reason"],
            "access",
            "Members only.",
        ),
    ],
)
def test_refused__an_upload_or_a_removal_is_an_error_of_the_field(
    client, settings, setting, value, code, message
):
    data = open_page(client, "/mail/")
    row = attach(client, bundle_in(data), "a.txt", b"a")
    again = shown_again(client, client.post("/mail/", data)) | {"subject": "Hello"}
    setattr(settings, f"SESSION_ATTACHMENTS_{setting}", value)
    for change in (
        {"attachments": [upload("b.txt"), upload("a.txt", b"new")]},
        {"attachments-remove": row.public_id},
    ):
        response = client.post("/mail/", again | change)
        assert codes(response.context["form"]) == [code]
        assert errors(response) == {"attachments": [message]}
        assert shown_again(client, response) | {"subject": "Hello"} == again
    assert attached(client, bundle_in(data)) == {"a.txt": b"a"}
    # The submit is a matter of the site.
    assert client.post("/mail/", again).status_code == 302
    assert sent_files() == [("mail/a.txt", b"a")]


def test_refused__a_form_that_brings_nothing_asks_nobody(client, settings):
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.remembers"]
    asked.clear()
    data = open_page(client, "/mail/") | {"subject": "Hello"}
    assert client.post("/mail/", data).status_code == 302
    assert asked == []
    uploads = {"attachments": [upload("a.txt"), upload("b.txt")]}
    assert client.post("/mail/", data | uploads).status_code == 302
    assert asked == ["/mail/"]


def test_refused__a_removal_by_a_form_that_is_sent_by_get(rf, client, settings):
    """Its request looks like one that reads."""
    row = attach(client, "draft", "a.txt")
    settings.SESSION_ATTACHMENTS_MAINTENANCE = "read-only"
    request = rf.get("/search/")
    request.session = client.session
    data = {"attachments-bundle": "draft", "attachments-remove": row.public_id}
    with access.visit(request):
        assert codes(clean(Plain, data)) == ["maintenance"]
    assert list(attached(client, "draft")) == ["a.txt"]


def test_refused__superusers_pass_maintenance(client, settings):
    client.force_login(User.objects.create_superuser("root"))
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    data = open_page(client, "/mail/") | {"attachments": upload("a.txt")}
    assert client.post("/mail/", data | {"subject": "Hello"}).status_code == 302


@pytest.mark.usefixtures("visit")
def test_refused__where_there_is_no_request_nobody_is_asked(settings):
    """As with all that the site's own code does."""
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.refuses"]
    assert clean(Plain, files={"attachments": upload("a.txt")}).is_valid()


# -- one file


@pytest.mark.usefixtures("visit")
def test_one__none():
    assert clean(One).cleaned_data == {"file": None}


@pytest.mark.usefixtures("visit")
def test_one__is_a_file():
    form = clean(One, files={"file": upload("a.txt")})
    assert form.cleaned_data["file"].name == "a.txt"
    assert 'type="file"' in str(form["file"])
    assert " multiple" not in str(form["file"])


@pytest.mark.usefixtures("visit")
def test_one__the_newest_upload_is_the_one():
    form = clean(One, files={"file": [upload("a.txt"), upload("b.txt")]})
    assert form.cleaned_data["file"].name == "b.txt"
    bundle = form["file"].data.bundle_id
    form = clean(One, {"file-bundle": bundle}, {"file": upload("c.txt")})
    assert form.cleaned_data["file"].name == "c.txt"
    assert list(Bundle(access.current(), bundle)) == ["c.txt"]


@pytest.mark.usefixtures("visit")
def test_one__a_refused_upload_leaves_the_former(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.00001
    form = clean(One, files={"file": upload("a.txt")})
    bundle = form["file"].data.bundle_id
    form = clean(One, {"file-bundle": bundle}, {"file": upload("b.txt", b"x" * 99)})
    assert codes(form, "file") == ["too_large"]
    assert list(Bundle(access.current(), bundle)) == ["a.txt"]


@pytest.mark.usefixtures("visit")
def test_one__is_named_by_the_class_alone():
    class Form(forms.ModelForm):
        class Meta:
            model = Application
            fields = ["cv"]
            field_classes = {"cv": AttachmentField}

    form = clean(Form, files={"cv": upload("a.pdf", b"%PDF-1.4\n")})
    assert form.is_valid()
    form = clean(Form, files={"cv": upload("a" * 101, b"%PDF-1.4\n")})
    assert codes(form, "cv") == ["max_length"]


@pytest.mark.usefixtures("visit")
def test_one__two_by_script_are_too_many():
    for name in ("a.txt", "b.txt"):
        Bundle(access.current(), "draft").save(name, upload(name))
    form = clean(One, {"file-bundle": "draft"})
    assert form.errors == {"file": ["Attach at most 1 file."]}


# -- a ModelForm's FileField


def test_model_form__saves_into_the_models_file_field(client):
    data = open_page(client, "/apply/")
    attach(client, bundle_in(data, "cv"), "cv.pdf", PDF)
    assert client.post("/apply/", data | {"name": "Ann"}).status_code == 302
    application = Application.objects.get()
    assert application.cv.name == "cv/cv.pdf"
    with application.cv.open() as file:
        assert file.read() == PDF
    assert not Attachment.objects.exists()


def test_model_form__in_a_class_based_view(client):
    data = open_page(client, "/apply/view/")
    response = client.post("/apply/view/", data | {"cv": upload("cv.pdf", PDF)})
    again = shown_again(client, response) | {"name": "Ann"}
    assert client.post("/apply/view/", again).status_code == 302
    assert Application.objects.get().cv.size == len(PDF)


@pytest.fixture
def application():
    return Application.objects.create(name="Ann", cv=upload("old.pdf", PDF))


def test_model_form__keeps_the_objects_file_where_nothing_is_attached(
    client, application
):
    url = f"/apply/{application.pk}/"
    assert "Currently: <bdi>old.pdf</bdi>" in client.get(url).content.decode()
    response = client.post(url, open_page(client, url))
    assert errors(response) == {"name": ["This field is required."]}
    assert "Currently: <bdi>old.pdf</bdi>" in response.content.decode()
    again = shown_again(client, response) | {"name": "Bob"}
    assert client.post(url, again).status_code == 302
    application.refresh_from_db()
    assert (application.name, application.cv.name) == ("Bob", "cv/old.pdf")


def test_model_form__replaces_the_objects_file(client, application):
    url = f"/apply/{application.pk}/"
    data = open_page(client, url)
    attach(client, bundle_in(data, "cv"), "new.pdf", PDF + b"new")
    client.post(url, data | {"name": "Ann"})
    application.refresh_from_db()
    assert application.cv.name == "cv/new.pdf"


def test_model_form__clears_where_the_field_is_not_required(client, application):
    class Form(ApplicationForm):
        cv = AttachmentField(required=False)

    with visiting(client):
        form = clean(Form, {"name": "Ann"}, instance=application)
        assert form.changed_data == []
        assert 'name="cv-clear"' in str(form["cv"])
        form = clean(Form, {"name": "Ann", "cv-clear": "on"}, instance=application)
        assert form.changed_data == ["cv"]
        with claiming(form):
            form.save()
    application.refresh_from_db()
    assert application.cv.name == ""


def test_model_form__does_not_clear_a_required_field(client, application):
    data = {"name": "Ann", "cv-clear": "on"}
    with visiting(client):
        form = clean(ApplicationForm, data, instance=application)
        assert 'name="cv-clear"' not in str(form["cv"])
    assert form.cleaned_data["cv"] == application.cv


def test_model_form__disabled_keeps_the_objects_file(client, application):
    class Form(ApplicationForm):
        cv = AttachmentField(disabled=True)

    data = {"name": "Ann", "cv-clear": "on"}
    with visiting(client):
        form = clean(Form, data, {"cv": upload("a.pdf", PDF)}, instance=application)
        assert "cv" not in form.changed_data
        form.save()
    application.refresh_from_db()
    assert application.cv.name == "cv/old.pdf"


# -- formsets


def test_formset__each_form_has_its_own_bundle(client):
    data = formset_data(client)
    attach(client, data["form-0-cv-bundle"], "a.pdf", PDF)
    attach(client, data["form-1-cv-bundle"], "b.pdf", PDF)
    data |= {"form-0-name": "Ann", "form-1-name": "Bob"}
    assert client.post("/applications/", data).status_code == 302
    found = Application.objects.order_by("pk").values_list("name", "cv")
    assert list(found) == [("Ann", "cv/a.pdf"), ("Bob", "cv/b.pdf")]


def test_formset__empty_extra_forms_are_unchanged(client):
    data = formset_data(client)
    assert client.post("/applications/", data).status_code == 302
    assert not Application.objects.exists()


def test_formset__an_object_is_changed_by_what_is_attached(client, application):
    data = formset_data(client)
    with visiting(client):
        assert not any(form.has_changed() for form in ApplicationFormSet(data))
    data |= {"form-0-cv": upload("new.pdf", PDF)}
    assert client.post("/applications/", data).status_code == 302
    application.refresh_from_db()
    assert application.cv.name == "cv/new.pdf"


def test_formset__a_file_alone_is_a_change(client):
    data = formset_data(client)
    attach(client, data["form-1-cv-bundle"], "b.pdf", PDF)
    response = client.post("/applications/", data)
    assert response.context["form"].errors == [
        {},
        {"name": ["This field is required."]},
    ]


def test_formset__a_file_that_is_removed_again_is_no_change(client):
    data = formset_data(client)
    row = attach(client, data["form-1-cv-bundle"], "b.pdf", PDF)
    data |= {"form-1-cv-shown": row.public_id, "form-1-cv-remove": row.public_id}
    assert client.post("/applications/", data).status_code == 302
    assert not Application.objects.exists()


def test_formset__a_file_that_is_gone_is_a_change(client):
    data = formset_data(client) | {"form-1-cv-shown": "0" * 32, "form-1-name": ""}
    response = client.post("/applications/", data)
    assert set(response.context["form"].errors[1]) == {"name", "cv"}


def test_formset__garbage_is_a_change(client):
    data = formset_data(client) | {"form-1-cv-bundle": ".."}
    response = client.post("/applications/", data)
    assert set(response.context["form"].errors[1]) == {"name", "cv"}


def test_formset__uploads_without_a_script(client):
    data = formset_data(client) | {"form-0-cv": upload("a.pdf", PDF)}
    response = client.post("/applications/", data)
    assert response.context["form"].errors[0] == {"name": ["This field is required."]}
    assert "a.pdf" in response.content.decode()
    assert list(attached(client, data["form-0-cv-bundle"])) == ["a.pdf"]


def test_formset__a_second_submit_is_refused(client):
    data = formset_data(client)
    attach(client, data["form-0-cv-bundle"], "a.pdf", PDF)
    data |= {"form-0-name": "Ann"}
    assert client.post("/applications/", data).status_code == 302
    response = client.post("/applications/", data)
    assert "cv" in response.context["form"].errors[0]
    assert Application.objects.count() == 1


def test_formset__deleted_forms_keep_their_files_and_the_others_are_saved(client):
    Application.objects.create(name="Ann", cv=upload("old.pdf", PDF))
    data = formset_data(client)
    attach(client, data["form-0-cv-bundle"], "new.pdf", PDF)
    attach(client, data["form-1-cv-bundle"], "b.pdf", PDF)
    data |= {"form-0-DELETE": "on", "form-1-name": "Bob"}
    assert client.post("/applications/", data).status_code == 302
    assert list(Application.objects.values_list("name", "cv")) == [("Bob", "cv/b.pdf")]
    assert list(attached(client, data["form-0-cv-bundle"])) == ["new.pdf"]


@pytest.mark.usefixtures("visit")
def test_formset__copies_of_the_empty_form_differ_by_their_number():
    form = forms.formset_factory(Plain)().empty_form
    bundle = form["attachments"].field.widget.fresh
    copies = [str(form).replace("__prefix__", number) for number in "12"]
    found = [
        Page(copy).inputs(f"form-{number}-attachments-bundle")
        for copy, number in zip(copies, "12", strict=True)
    ]
    assert found == [[f"{bundle[:32]}-1"], [f"{bundle[:32]}-2"]]
