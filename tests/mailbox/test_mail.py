"""How a site tests its forms."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from session_attachments.testing import attach, attached, form_data, visiting

from . import settings as site
from .forms import MailForm
from .models import Mail

pytestmark = pytest.mark.urls("tests.mailbox.urls")


@pytest.fixture(autouse=True)
def _site(settings):
    settings.MIDDLEWARE = site.MIDDLEWARE


@pytest.mark.django_db(transaction=True)
def test_send_mail(client):
    page = client.get(reverse("mail"))
    data = form_data(client, page.context["form"])
    attach(client, data["attachments-bundle"], "notes.txt", b"Read me")

    client.post(reverse("mail"), data | {"subject": "Hello"})

    with Mail.objects.get().files.get().document.open() as file:
        assert file.read() == b"Read me"
    assert attached(client, data["attachments-bundle"]) == {}


@pytest.mark.django_db(transaction=True)
def test_send_mail__without_javascript(client):
    notes = SimpleUploadedFile("notes.txt", b"Read me")

    client.post(reverse("mail"), {"subject": "Hello", "attachments": notes})

    assert Mail.objects.get().files.count() == 1


@pytest.mark.django_db
def test_form__without_a_request(client):
    attach(client, "draft", "notes.txt")

    with visiting(client):
        form = MailForm({"subject": "Hello", "attachments-bundle": "draft"})
        assert form.is_valid()
