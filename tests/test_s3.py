"""Attachments in S3, by its real protocol over HTTP."""

import urllib.request
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from botocore.config import Config
from django.core.files.storage import storages

from session_attachments.models import Attachment
from session_attachments.sweep import remove_outdated
from tests import services, webservers
from tests.lifecycle import contents, new_bundle, put, read
from tests.wire import content, form, name_in, problem

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

LIST = "/attachments/foo/"
BUCKET = "my-private-bucket"
PAGE = webservers.Page("storages.md", "S3")["python"]


@pytest.fixture(scope="module")
def storage():
    """What the documentation sets, for a server of our own that speaks S3."""
    with webservers.s3(BUCKET) as more:
        found = {}
        exec(PAGE + more, found)
        yield found["STORAGES"]["session_attachments"]


@pytest.fixture(autouse=True)
def bucket(storage, settings):
    settings.STORAGES = settings.STORAGES | {"session_attachments": storage}
    bucket = storages["session_attachments"].bucket
    yield bucket
    bucket.objects.all().delete()


def keys(bucket):
    return {found.key for found in bucket.objects.all()}


def test_upload__is_kept_under_its_key(client, bucket, settings):
    client.put(f"{LIST}a.txt", b"first")
    client.post(LIST, **form(("b.txt", b"second"), ("a.txt", b"third")))
    rows = Attachment.objects.stored()
    assert {row.name: read(row) for row in rows} == {
        "a.txt": b"third",
        "b.txt": b"second",
    }
    assert keys(bucket) >= {row.key for row in rows}
    assert not list(settings.FOLDERS["uploads"].iterdir())


def test_upload__larger_than_one_part(bucket):
    data = bytes(range(256)) * 4 * 9 * 1024  # 9 MiB, sent in parts by threads
    assert read(put(new_bundle(), data=data)) == data


def test_download__is_streamed_with_its_ranges(client):
    client.put(f"{LIST}a.txt", b"0123456789")
    assert content(client.get(f"{LIST}a.txt")) == b"0123456789"
    response = client.get(f"{LIST}a.txt", headers={"range": "bytes=3-5"})
    assert (response.status_code, content(response)) == (206, b"345")


def test_download__that_the_bucket_has_lost(client, bucket):
    client.put(f"{LIST}a.txt", b"a")
    bucket.objects.all().delete()
    problem(client.get(f"{LIST}a.txt"), 404, "not_found")


@pytest.mark.parametrize("name", ["spam.txt", 'a "b" ü 😀.txt', "100%.txt"])
def test_redirect__to_a_signed_address_of_the_file(client, settings, name):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "redirect"
    url = f"{LIST}{quote(name)}"
    client.put(url, b"spam\n")
    response = client.get(url)
    assert response.status_code == 302
    assert response["Cache-Control"] == "private, no-store"
    query = parse_qs(urlsplit(response["Location"]).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["60"]
    with urllib.request.urlopen(response["Location"]) as answer:
        assert answer.read() == b"spam\n"
        assert answer.headers["Content-Type"] == "text/plain"
        assert name_in(answer.headers["Content-Disposition"]) == name


def test_redirect__is_for_nobody_else(client, settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "redirect"
    client.put(f"{LIST}a.txt", b"a")
    problem(type(client)().get(f"{LIST}a.txt"), 404, "not_found")


def test_remove__takes_the_bytes_along(client, bucket):
    client.put(f"{LIST}a.txt", b"a")
    client.delete(f"{LIST}a.txt")
    assert keys(bucket) == set()


def test_expiry__takes_the_bytes_along(client, bucket):
    client.put(f"{LIST}a.txt", b"a")
    report = remove_outdated(lifetime=timedelta())
    assert (report.expired, report.failed) == (1, 0)
    assert keys(bucket) == set()


def test_claim__copies_from_the_bucket(bucket):
    bundle = new_bundle()
    put(bundle, data=b"spam\n")
    with bundle.claim() as [file]:
        name = storages["default"].save("copy.txt", file)
    with storages["default"].open(name) as copy:
        assert copy.read() == b"spam\n"
    assert contents(bundle) == {}
    assert keys(bucket) == set()


@pytest.fixture
def down(storage):
    """The same at an address where nobody answers."""
    options = {
        "endpoint_url": f"http://127.0.0.1:{services.free_port()}",
        "client_config": Config(connect_timeout=2, retries={"total_max_attempts": 1}),
    }
    return storage | {"OPTIONS": storage["OPTIONS"] | options}


def test_fallback__when_the_server_is_down(down, settings):
    settings.STORAGES = settings.STORAGES | {
        "down": down,
        "local": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": settings.FOLDERS["attachments"]},
        },
    }
    settings.SESSION_ATTACHMENTS_STORAGES = {
        "down": ["botocore.exceptions.BotoCoreError"],
        "local": [],
    }
    row = put(new_bundle(), data=b"spam\n")
    assert row.storage == "local"
    assert read(row) == b"spam\n"


def test_down__is_a_503(client, down, settings):
    settings.STORAGES = settings.STORAGES | {"session_attachments": down}
    problem(client.put(f"{LIST}a", b"a"), 503, "storage")
    assert not list(settings.FOLDERS["uploads"].iterdir())
