"""The table of download backends: who is asked, who steps in, what is put around it."""

from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from django.core.files.storage import FileSystemStorage
from django.http import FileResponse, HttpResponse, HttpResponseRedirect

from session_attachments.models import Attachment
from tests.wire import content, problem

pytestmark = pytest.mark.django_db(transaction=True)

SPAM = "/attachments/foo/spam.txt/"
DATA = b"spam and eggs\n"
PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


#: S3's response parameters, by boto3's names for them and by those in an address.
SIGNED = {
    "ResponseContentType": "response-content-type",
    "ResponseContentDisposition": "response-content-disposition",
    "ResponseCacheControl": "response-cache-control",
}


class Bucket(FileSystemStorage):
    """A storage whose addresses tell what was signed."""

    def url(self, name, parameters=None, expire=None):
        assert expire == 60
        query = {SIGNED[key]: value for key, value in parameters.items()}
        return f"https://bucket.example/{name}?" + urlencode(
            {**query, "X-Amz-Signature": "abc"}
        )


def careless(request, attachment):
    headers = {
        "Content-Type": "text/html",
        "Content-Disposition": "inline",
        "Cache-Control": "public",
        "ETag": '"mine"',
        "X-Mine": attachment.name,
    }
    return FileResponse(attachment.open(), headers=headers)


def elsewhere(request, attachment):
    return HttpResponseRedirect("https://elsewhere.example/", status=307)


def gone(request, attachment):
    raise FileNotFoundError


def unable(request, attachment):
    raise NotImplementedError


def unexpected(request, attachment):
    raise AssertionError("nobody was to ask")


def by(settings, function):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = f"{__name__}.{function.__name__}"


@pytest.fixture
def spam(client):
    client.put(SPAM, DATA)
    return Attachment.objects.get()


# -- a callable of the site's own


def test_callable__has_safety_put_around_it(client, settings, spam):
    by(settings, careless)
    response = client.get(SPAM)
    assert content(response) == DATA
    assert response.headers.items() >= PROTECTION.items()
    assert response["Content-Type"] == "text/plain"
    assert response["Content-Disposition"] == 'attachment; filename="spam.txt"'
    assert response["Cache-Control"] == "private, no-cache"
    assert response["Content-Encoding"] == "identity"
    assert response["ETag"] == spam.etag
    assert response["X-Mine"] == "spam.txt"


def test_callable__is_not_asked_when_there_is_nothing_to_send(client, settings, spam):
    by(settings, unexpected)
    for condition, status in [("If-None-Match", 304), ("If-Match", 412)]:
        tag = spam.etag if status == 304 else '"another"'
        assert client.get(SPAM, headers={condition: tag}).status_code == status
    client.logout()
    assert client.get(SPAM).status_code == 404


@pytest.mark.usefixtures("spam")
def test_callable__finds_no_file(client, settings):
    by(settings, gone)
    problem(client.get(SPAM), 404, "not_found")


@pytest.mark.usefixtures("spam")
def test_callable__that_cannot_send_this_one_lets_django_stream(client, settings):
    by(settings, unable)
    response = client.get(SPAM, headers={"Range": "bytes=0-3"})
    assert (response.status_code, content(response)) == (206, DATA[:4])


@pytest.mark.usefixtures("spam")
def test_callable__that_redirects(client, settings):
    by(settings, elsewhere)
    response = client.get(SPAM)
    assert response.status_code == 307
    assert response["Cache-Control"] == "private, no-store"
    assert not {"ETag", "Content-Disposition", "Content-Encoding"} & {*response.headers}


# -- redirect


@pytest.fixture
def bucket(settings):
    options = {"location": settings.FOLDERS["attachments"]}
    storage = {"BACKEND": f"{__name__}.Bucket", "OPTIONS": options}
    settings.STORAGES = settings.STORAGES | {"session_attachments": storage}
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "redirect"


@pytest.mark.usefixtures("bucket")
def test_redirect__tells_type_and_name_and_that_nobody_may_keep_it(client, spam):
    response = client.get(SPAM)
    assert response.status_code == 302
    address = urlsplit(response["Location"])
    assert (address.hostname, address.path) == ("bucket.example", f"/{spam.key}")
    assert dict(parse_qsl(address.query)) == {
        "response-content-type": "text/plain",
        "response-content-disposition": 'attachment; filename="spam.txt"',
        "response-cache-control": "private, no-store",
        "X-Amz-Signature": "abc",
    }
    assert response["Cache-Control"] == "private, no-store"
    assert response.headers.items() >= PROTECTION.items()


@pytest.mark.usefixtures("bucket", "spam")
def test_redirect__of_head_is_answered_here(client):
    """What is signed is good for GET only."""
    response = client.head(SPAM)
    assert response.status_code == 200
    assert response["Content-Length"] == str(len(DATA))


@pytest.mark.usefixtures("spam")
def test_redirect__from_a_folder_is_streamed(client, settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "redirect"
    assert content(client.get(SPAM)) == DATA


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?response-content-disposition=attachment",
        "?ResponseContentDisposition=attachment&Signature=abc",
        "?sp=r&sig=abc",
    ],
)
@pytest.mark.usefixtures("bucket", "spam")
def test_redirect__to_an_address_without_signature_or_name_is_streamed(
    client, monkeypatch, query
):
    """A public bucket's, that of a domain in front of it, or another product's."""

    def url(self, name, parameters=None, expire=None):
        return f"https://bucket.example/{name}{query}"

    monkeypatch.setattr(Bucket, "url", url)
    assert content(client.get(SPAM)) == DATA


@pytest.mark.usefixtures("bucket", "spam")
def test_redirect__by_a_storage_that_cannot_sign(client, monkeypatch, caplog):
    def url(self, name, parameters=None, expire=None):
        raise RuntimeError("Unable to locate credentials")

    monkeypatch.setattr(Bucket, "url", url)
    problem(client.get(SPAM), 503, "storage")
    assert "Unable to locate credentials" in caplog.text


# -- a storage that is no more


@pytest.mark.parametrize("backend", ["stream", "redirect", "sendfile"])
def test_storage__has_vanished_from_the_settings(client, settings, spam, backend):
    """Its files come back with it."""
    settings.SESSION_ATTACHMENTS_DOWNLOADS = backend
    settings.SENDFILE_BACKEND = "django_sendfile.backends.nginx"
    settings.SENDFILE_ROOT = settings.FOLDERS["attachments"]
    Attachment.objects.update(storage="attic")
    problem(client.get(SPAM), 503, "storage")
    problem(client.get(f"{SPAM}?meta"), 503, "storage")
    assert Attachment.objects.stored().get() == spam


# -- what has no body


def hint(request, attachment):
    return HttpResponse(headers={"X-Reproxy-URL": "http://inside/"})


@pytest.mark.usefixtures("spam")
def test_encoding__of_nothing_is_not_told(client, settings):
    """A server that puts the file in would take it for encoded."""
    by(settings, hint)
    response = client.get(SPAM)
    assert "Content-Encoding" not in response
    assert response["Content-Type"] == "text/plain"
