"""For the tests of sites: put files into a visitor's bundle, and see what is there.

    def test_send_mail(client):
        attach(client, "draft", "cv.pdf", b"%PDF-")
        client.post("/send/", {"subject": "Hello", "attachments-bundle": "draft"})
        assert attached(client, "draft") == {}

A form that a view has rendered is sent as a browser does by
`client.post(url, {"subject": "Hello"} | form_data(client, response.context["form"]))`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.forms import BaseForm, BaseFormSet
from django.test import Client

from . import access
from .bundles import Bundle
from .models import Attachment


@contextlib.contextmanager
def visiting(client: Client) -> Iterator[access.Session]:
    """Let forms in the block find the session of the test client, and save it.

    A client that has no session gets one.
    """
    session = client.session
    with access.visit(session):
        yield session
    session.save()
    # With signed cookies, the key is the session's content.
    client.cookies[settings.SESSION_COOKIE_NAME] = str(session.session_key)


def attach(
    client: Client, bundle_id: str, name: str, content: bytes = b"content"
) -> Attachment:
    """Store a file in a bundle of the test client's session, as an upload does."""
    with visiting(client) as session:
        return Bundle(session, bundle_id).save(name, ContentFile(content))


def attached(client: Client, bundle_id: str) -> dict[str, bytes]:
    """The files in a bundle of the test client's session: name and content."""
    found = {}
    for name, attachment in Bundle(_session_of(client), bundle_id).items():
        with attachment.open() as file:
            found[name] = file.read()
    return found


def form_data(client: Client, form: BaseForm | BaseFormSet[Any]) -> dict[str, Any]:
    """What a browser sends of a form's attachment fields, without touching them.

    Of a formset, that of all its forms, and its own hidden fields.
    """
    # Not above: a site is taken to have such fields where their module is imported.
    from .forms import AttachmentsField

    data: dict[str, Any] = {}
    if isinstance(form, BaseFormSet):
        data |= {field.html_name: field.value() for field in form.management_form}
        for each in form:
            data |= form_data(client, each)
        return data
    with access.visit(_session_of(client)):
        for bound in form:
            if isinstance(bound.field, AttachmentsField):
                widget: Any = bound.field.widget
                shown = widget.get_context(bound.html_name, bound.value(), {})["widget"]
                data[shown["bundle_name"]] = shown["bundle_id"]
                data[shown["shown_name"]] = [row.public_id for row in shown["files"]]
    return data


def _session_of(client: Client) -> access.Session:
    """The client's session for reading; `client.session` would create one."""
    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    engine = import_module(settings.SESSION_ENGINE)
    session: access.Session = engine.SessionStore(cookie.value if cookie else None)
    return session
