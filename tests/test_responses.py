"""What is answered: the JSON of a file, and its headers."""

from datetime import datetime, timedelta, timezone

import pytest
from django.test import RequestFactory
from django.urls import reverse
from django.utils.timezone import override

from session_attachments import responses
from session_attachments.models import Attachment
from session_attachments.views import NothingView
from tests.test_exceptions import table
from tests.wire import form

CREATED = datetime(2011, 12, 29, 3, 12, 59, 999_999, tzinfo=timezone.utc)
ITEM = {
    "mimetype": "text/plain",
    "size": 5,
    "name": "spam.txt",
    "created": "2011-12-29 04:12",
    "uploaded_at": "2011-12-29T04:12:59+01:00",
    "url": "/attachments/foo/spam.txt/",
    "delete_url": "/attachments/foo/spam.txt/delete/",
    "etag": '"abc"',
    "expires": "2011-12-31T04:12:59+01:00",
}


def row(**kwargs):
    return Attachment(
        **{
            "public_id": "abc",
            "bundle_id": "foo",
            "name": "spam.txt",
            "size": 5,
            "mimetype": "text/plain",
            "created": CREATED,
        }
        | kwargs
    )


@pytest.fixture
def request_(rf):
    return rf.get("/")


def test_item__keys_in_their_order(request_):
    assert list(responses.item(request_, row()).items()) == list(ITEM.items())


def test_item__every_key_is_documented():
    keys = [*ITEM, "meta"]
    assert [key.strip("`") for key, _ in table("## The list", 2)] == keys


def test_item__has_meta_where_the_site_asks_for_it(request_):
    meta = {"sha256": "abc"}
    assert responses.item(request_, row(meta=meta)) == ITEM | {"meta": meta}


def test_item__time_is_the_sites_not_the_visitors(request_, settings):
    with override("Asia/Tokyo"):
        assert responses.item(request_, row()) == ITEM
    settings.TIME_ZONE = "America/New_York"
    item = responses.item(request_, row())
    assert item["created"] == "2011-12-28 22:12"
    assert item["uploaded_at"] == "2011-12-28T22:12:59-05:00"


def test_item__site_without_time_zones(request_, settings):
    settings.USE_TZ = False
    item = responses.item(request_, row(created=datetime(2011, 12, 29, 4, 12, 59)))  # noqa: DTZ001
    assert item == ITEM


def test_item__expires_with_the_lifetime(request_, settings):
    settings.SESSION_ATTACHMENTS_LIFETIME = 0.5
    expires = datetime.fromisoformat(responses.item(request_, row())["expires"])
    assert expires == CREATED.replace(microsecond=0) + timedelta(hours=12)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a b.txt", "a%20b.txt"),
        ("a?b#c%41.txt", "a%3Fb%23c%2541.txt"),
        ("é", "%C3%A9"),
        ("😀", "%F0%9F%98%80"),
        ("delete", "delete"),
        ("a;b=c&d,e", "a;b=c&d,e"),
        ("\"<'>", "%22%3C'%3E"),
        ("...", "..."),
        ("%2e%2e", "%252e%252e"),
        ("http:", "http:"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_item__url_leads_back(client, request_, name, path):
    for bundle, bundle_path in (("foo", "foo"), ("a b?", "a%20b%3F")):
        item = responses.item(request_, row(name=name, bundle_id=bundle))
        kwargs = {"bundle_id": bundle, "file_name": name}
        assert item["url"] == f"/attachments/{bundle_path}/{path}/"
        assert item["url"] == reverse("get-filename-attachment", kwargs=kwargs)
        assert item["delete_url"] == f"/attachments/{bundle_path}/{path}/delete/"
        assert item["delete_url"] == reverse(
            "delete-filename-attachment", kwargs=kwargs
        )
        client.post(f"/attachments/{bundle_path}/", **form((name, b"spam")))
        response = client.get(item["url"])
        assert response.getvalue() == b"spam"
        assert client.post(item["delete_url"]).json() == [True]


def test_data__nobody_may_keep_it():
    response = responses.data([])
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "private, no-store"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("length", [None, "1000"])
def test_without_body__keeps_the_length(length):
    response = responses.data([])
    if length:
        response["Content-Length"] = length
    head = responses.without_body(response)
    assert head.content == b""
    assert head["Content-Length"] == (length or "2")


def test_without_body__is_what_the_views_do():
    """Also where the server and the site's middleware would let a body pass."""
    response = NothingView.as_view()(RequestFactory().head("/"))
    assert response.content == b""
    assert int(response["Content-Length"]) > 100


@pytest.mark.django_db(transaction=True)
def test_listing__is_exactly_the_documented_json(client):
    response = client.post("/attachments/foo/", **form(("spam.txt", b"spam\n")))
    [item] = response.json()
    start = (
        '[{"mimetype": "text/plain", "size": 5, "name": "spam.txt", '
        f'"created": "{item["created"]}", "uploaded_at": "'
    )
    assert response.content.decode().startswith(start)
    assert client.get("/attachments/foo/").content == response.content
