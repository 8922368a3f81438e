"""What the page of a form says of its attachments, and what is read from one."""

import json
import re

import pytest
from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import QueryDict
from django.urls import NoReverseMatch, include, path
from django.utils.datastructures import MultiValueDict
from django.utils.translation import override

from session_attachments import access
from session_attachments.bundles import Bundle
from session_attachments.forms import AttachmentField, AttachmentsField
from session_attachments.testing import visiting
from session_attachments.widgets import TEXTS, AttachmentsWidget, Submission
from tests.mailbox.models import Application
from tests.visits import Page, clean, element, upload

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = '"><script>alert(1)</script>&amp;'

urlpatterns = [
    path("deep/", include(("session_attachments.urls", "session_attachments"), "files"))
]


@pytest.fixture(autouse=True)
def _visit(client):
    with visiting(client):
        yield


def form_with(field):
    return type("Form", (forms.Form,), {"attachments": field})()


class Plain(forms.Form):
    attachments = AttachmentsField(required=False)
    other = forms.CharField(required=False)


def bundle():
    return Bundle(access.current(), "draft")


def sent(data=None, files=None, field=None):
    """What the widget makes of a request's data and files."""
    form = form_with(field or AttachmentsField())
    widget = form["attachments"].field.widget
    return widget.value_from_datadict(data or {}, files or {}, "attachments")


# -- the page


def test_element__knows_where_its_bundle_is():
    form = Plain()
    (bundle_id,) = Page(form).inputs("attachments-bundle")
    assert element(form)["url"] == f"/attachments/{bundle_id}/"
    assert len(bundle_id) == 32


def test_element__in_a_namespace(settings):
    settings.ROOT_URLCONF = __name__
    with pytest.raises(NoReverseMatch):
        str(Plain())
    settings.SESSION_ATTACHMENTS_URL_NAMESPACE = "files"
    assert element(Plain())["url"].startswith("/deep/")


@pytest.mark.parametrize(("in_sessions", "name"), [(False, "theirs"), (True, "")])
def test_element__knows_the_csrf_cookie(settings, in_sessions, name):
    """Where there is none, one of another site on this host is nothing to go by."""
    settings.CSRF_COOKIE_NAME = "theirs"
    settings.CSRF_HEADER_NAME = "HTTP_X_OWN_TOKEN"
    settings.CSRF_USE_SESSIONS = in_sessions
    assert element(Plain())["csrf-cookie"] == name
    assert element(Plain())["csrf-header"] == "X-Own-Token"


def test_element__knows_the_limits_of_its_field():
    field = AttachmentsField(
        max_files=3, max_size=1.5, allowed_types=["image/*", "text/csv"]
    )
    shown = element(form_with(field))
    assert (shown["max-files"], shown["max-size"]) == ("3", "1572864")
    assert shown["accept"] == "image/*,text/csv"


def test_element__knows_the_limits_of_the_site(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILES = 7
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 2
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = ["image/*"]
    shown = element(Plain())
    assert (shown["max-files"], shown["max-size"]) == ("7", "2097152")
    assert shown["accept"] == "image/*"
    shown = element(form_with(AttachmentsField(max_files=9, max_size=1)))
    assert (shown["max-files"], shown["max-size"]) == ("7", "1048576")


def test_element__without_any_limit(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILES = None
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None
    assert not {"max-files", "max-size", "accept"} & element(Plain()).keys()


def test_element__limits_are_numbers_in_every_language(settings):
    settings.USE_THOUSAND_SEPARATOR = True
    with override("de"):
        assert element(form_with(AttachmentsField(max_size=1.5)))["max-size"] == (
            "1572864"
        )


def test_element__follows_what_a_form_changes_of_its_field():
    form = Plain()
    form.fields["attachments"].max_files = 2
    form.fields["attachments"].bundle = "draft"
    assert element(form)["max-files"] == "2"
    assert element(form)["url"] == "/attachments/draft/"
    assert element(Plain())["url"] != "/attachments/draft/"


def test_element__follows_a_widget_that_a_form_exchanges():
    class Widget(AttachmentsField.widget):
        pass

    form = Plain()
    form.fields["attachments"].widget = Widget()
    assert "url" in element(form)


def test_element__one_or_several():
    assert "multiple" in element(Plain())
    assert "multiple" not in element(form_with(AttachmentField()))
    assert element(form_with(AttachmentField()))["max-files"] == "1"


def test_element__disabled():
    page = Page(form_with(AttachmentsField(disabled=True)))
    assert "disabled" in dict(page.tags)["session-attachments"]
    file_inputs = [a for tag, a in page.tags if a.get("type") == "file"]
    assert all("disabled" in attributes for attributes in file_inputs)


def test_element__has_the_drop_zone_that_the_widget_asks_for():
    """And its plain input, which knows no such attribute, has not."""
    field = AttachmentsField(widget=AttachmentsWidget(attrs={"drop": "form"}))
    page = Page(form_with(field))
    assert [tag for tag, a in page.tags if "drop" in a] == ["session-attachments"]
    assert element(form_with(field))["drop"] == "form"
    assert "drop" not in element(Plain())


def test_element__texts_can_be_replaced_by_field():
    shown = element(form_with(AttachmentsField(texts={"add": "Anhängen"})))
    texts = json.loads(shown["texts"])
    assert texts["add"] == "Anhängen"
    assert texts["remove"] == TEXTS["remove"]


def test_page__is_a_multipart_form_with_the_script_as_a_module():
    form = Plain()
    assert form.is_multipart()
    media = str(form.media)
    assert '<script src="/static/session_attachments/attachments.js" ' in media
    assert 'type="module"' in media
    assert "attachments.css" in media


def test_page__has_no_required_attribute_on_an_input_that_stays_empty():
    page = Page(form_with(AttachmentsField()))
    assert not [a for tag, a in page.tags if tag == "input" and "required" in a]


def test_page__its_label_leads_to_one_thing():
    page = Page(Plain())
    labels = [a["for"] for tag, a in page.tags if tag == "label" and "for" in a]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert ids.count(labels[0]) == 1


def limits(field, **texts):
    """What the page says in words, without a script."""
    field.texts = texts
    [said] = re.findall("<small>(.*)</small>", str(form_with(field)))
    return said


def test_page__says_the_limits_to_visitors_without_a_script(settings):
    several = AttachmentsField(max_files=3, max_size=1.5)
    assert limits(several) == "Up to 3 files · Up to 1.5\xa0MB each"
    assert limits(AttachmentsField(max_files=1)) == (
        "There can be only one file. · Up to 50.0\xa0MB each"
    )
    assert limits(AttachmentField(max_size=0.5)) == "Up to 512.0\xa0KB"
    with override("de"):
        assert limits(several) == "Bis zu 3 Dateien · Jede bis zu 1,5\xa0MB"
    assert limits(several, maxFiles="{limit}, {no} & more", maxSize="small") == (
        "3, {no} &amp; more · small"
    )
    settings.SESSION_ATTACHMENTS_MAX_FILES = 2
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None
    assert limits(AttachmentsField()) == "Up to 2 files"
    settings.SESSION_ATTACHMENTS_MAX_FILES = None
    assert "small" not in str(form_with(AttachmentsField()))


def test_page__lists_the_files_for_visitors_without_a_script():
    row = bundle().save("a.txt", upload("a.txt", b"x" * 2048))
    field = AttachmentsField(bundle="draft")
    html = str(form_with(field))
    page = Page(html)
    assert "a.txt" in html
    assert "2.0\xa0KB" in html
    assert page.inputs("attachments-shown") == [row.public_id]
    assert page.inputs("attachments-remove") == [row.public_id]


def test_page__escapes_what_visitors_name_their_files():
    bundle().save(HOSTILE.replace("/", "."), upload("a.txt"))
    form = form_with(
        AttachmentsField(
            bundle="draft", texts={"add": HOSTILE}, allowed_types=[HOSTILE]
        )
    )
    tags = [tag for tag, _ in Page(form).tags]
    assert "script" not in tags
    assert json.loads(element(form)["texts"])["add"] == HOSTILE


def test_page__escapes_a_bundle_id():
    data = {"attachments-bundle": HOSTILE.replace("/", "")}
    form = clean(Plain, data)
    page = Page(form)
    assert page.inputs("attachments-bundle") == list(data.values())
    assert "script" not in [tag for tag, _ in page.tags]
    assert element(form)["url"].startswith("/attachments/%22%3E%3Cscript")


def test_page__names_the_file_that_an_object_has():
    application = Application(cv=f"cv/{HOSTILE.replace('/', '')}")

    class Form(forms.ModelForm):
        cv = AttachmentField(required=False)

        class Meta:
            model = Application
            fields = ["cv"]

    html = str(Form(instance=application)["cv"])
    assert "Currently: <bdi>&quot;&gt;&lt;script" in html
    assert "cv/" not in html
    assert Page(html).inputs("cv-clear") == ["on"]


def test_page__an_object_with_a_file_needs_no_other():
    class Form(forms.ModelForm):
        cv = AttachmentField()

        class Meta:
            model = Application
            fields = ["cv"]

    assert "required" in element(Form(), "cv")
    form = Form(instance=Application(cv="cv/old.pdf"))
    assert "required" not in element(form, "cv")
    assert Page(form["cv"]).inputs("cv-clear") == []


# -- what is sent


def test_sent__by_a_browser():
    data = QueryDict(
        "attachments-bundle=draft&attachments-shown=a&attachments-shown=b"
        "&attachments-remove=a&attachments-clear=on&attachments=ignored"
    )
    files = MultiValueDict({"attachments": [upload("a.txt"), upload("b.txt")]})
    assert sent(data, files) == Submission(
        "draft",
        frozenset("ab"),
        frozenset("a"),
        tuple(files.getlist("attachments")),
        clear=True,
    )


def test_sent__as_plain_dicts_by_a_test():
    file = SimpleUploadedFile("a.txt", b"content")
    data = {"attachments-bundle": "draft", "attachments-remove": "a"}
    expected = Submission("draft", removals=frozenset("a"), uploads=(file,))
    assert sent(data, {"attachments": file}) == expected
    data["attachments-remove"] = ["a"]
    assert sent(data, {"attachments": [file]}) == expected


def test_sent__a_fixed_bundle_is_not_the_visitors_choice():
    field = AttachmentsField(bundle="draft")
    data = {"attachments-bundle": "other"}
    assert sent(data, field=field).bundle_id == "draft"


@pytest.mark.parametrize("bundle_id", ["", "..", "a/b", "x" * 256, "\0"])
def test_sent__what_cannot_be_a_bundle_is_none(bundle_id):
    assert sent({"attachments-bundle": bundle_id}).bundle_id == ""


def test_sent__without_a_bundle_stays_the_same_while_the_form_lives():
    form = Plain({})
    assert form["attachments"].data == form["attachments"].data
    assert form["attachments"].data.bundle_id in str(form["attachments"])


@pytest.mark.parametrize(
    ("data", "files", "omitted"),
    [
        ({}, {}, True),
        ({"attachments-bundle": "draft"}, {}, False),
        ({}, {"attachments": "file"}, False),
    ],
)
def test_sent__whether_the_field_was_on_the_page(data, files, omitted):
    widget = Plain()["attachments"].field.widget
    assert widget.value_omitted_from_data(data, files, "attachments") is omitted
