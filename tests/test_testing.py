"""The helpers for the tests of sites."""

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client, TestCase, override_settings

from session_attachments import access
from session_attachments.bundles import Bundle
from session_attachments.exceptions import TooLarge
from session_attachments.models import Attachment
from session_attachments.testing import attach, attached, form_data, visiting
from tests.mailbox import settings as site
from tests.mailbox.forms import MailForm
from tests.mailbox.models import Mail

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.mailbox.urls"),
]

ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


@pytest.fixture(autouse=True)
def _site(settings):
    settings.MIDDLEWARE = site.MIDDLEWARE


@pytest.mark.parametrize("engine", ENGINES)
def test_attach__is_seen_by_the_clients_requests(settings, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    client = Client()
    attach(client, "draft", "a.txt", b"a")
    attach(client, "draft", "b.txt")
    listed = client.get("/attachments/draft/").json()
    assert [item["name"] for item in listed] == ["a.txt", "b.txt"]
    assert attached(client, "draft") == {"a.txt": b"a", "b.txt": b"content"}


@pytest.mark.parametrize("engine", ENGINES)
def test_attached__sees_what_the_clients_requests_stored(settings, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    client = Client()
    client.put("/attachments/draft/a.txt/", b"a")
    assert attached(client, "draft") == {"a.txt": b"a"}
    assert attached(Client(), "draft") == {}


def test_attach__keeps_the_clients_session(client):
    client.get("/mail/")
    session = client.session
    session["basket"] = 7
    session.save()
    attach(client, "draft", "a.txt")
    assert client.session["basket"] == 7
    assert client.session.session_key == session.session_key


def test_attach__obeys_the_limits(client, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0.00001
    with pytest.raises(TooLarge):
        attach(client, "draft", "a.txt", b"x" * 99)
    assert attached(client, "draft") == {}


def test_visiting__lets_forms_be_tested_without_a_request(client):
    attach(client, "draft", "a.txt")
    with visiting(client) as session:
        form = MailForm({"subject": "Hello", "attachments-bundle": "draft"})
        assert form.is_valid()
        session["seen"] = True
        assert access.current() is session
    assert client.session["seen"] is True


def test_form_data__is_what_the_page_says(client):
    row = attach(client, "draft", "a.txt")
    response = client.post("/mail/", {"attachments-bundle": "draft"})
    data = form_data(client, response.context["form"])
    assert data == {
        "attachments-bundle": "draft",
        "attachments-shown": [row.public_id],
    }
    html = response.content.decode()
    assert f'name="attachments-shown" value="{row.public_id}"' in html


def test_reading__creates_no_session(client):
    assert attached(client, "draft") == {}
    form_data(client, client.get("/mail/").context["form"])
    assert "sessionid" not in client.cookies
    assert not Session.objects.exists()


def test_form_data__of_a_fresh_form_is_what_its_page_says(client):
    response = client.get("/mail/")
    data = form_data(client, response.context["form"])
    assert f'value="{data["attachments-bundle"]}"' in response.content.decode()


@override_settings(MIDDLEWARE=site.MIDDLEWARE, ROOT_URLCONF="tests.mailbox.urls")
class DjangosTestCase(TestCase):
    """All in one transaction, which is rolled back."""

    def test_a_form_from_its_page_to_its_object(self):
        page = self.client.get("/mail/")
        data = form_data(self.client, page.context["form"])
        bundle = data["attachments-bundle"]
        attach(self.client, bundle, "a.txt", b"a")
        assert attached(self.client, bundle) == {"a.txt": b"a"}
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post("/mail/", data | {"subject": "Hello"})
        assert response.status_code == 302
        assert attached(self.client, bundle) == {}
        with Mail.objects.get().files.get().document.open() as file:
            assert file.read() == b"a"
        assert not Attachment.objects.exists()

    def test_leaves_nothing_for_the_next(self):
        assert not Attachment.objects.exists()
        assert len(Bundle(SessionStore(), "draft")) == 0
