"""How a file goes out: whole or in part, on conditions, and never to be run."""

import asyncio
import datetime
import threading
from urllib.parse import quote

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.handlers.asgi import ASGIRequest
from django.test import Client
from django.utils import timezone
from django.utils.http import http_date

from session_attachments import downloads, streaming, sweep
from session_attachments.models import Attachment
from tests.test_sniffing import PNG
from tests.wire import content, name_in, on_disk, problem

pytestmark = pytest.mark.django_db(transaction=True)

SPAM = "/attachments/foo/spam.txt/"
DATA = bytes(range(256)) * 4
SIZE = len(DATA)
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>'


@pytest.fixture
def spam(client):
    """The attachment that the client has stored."""
    client.put(SPAM, DATA)
    return Attachment.objects.get()


def get(client, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(SPAM, headers=headers)


# -- the whole file


@pytest.mark.parametrize(
    ("name", "data", "mimetype"),
    [
        ("a.html", HTML, "text/html"),
        ("a.svg", SVG, "image/svg+xml"),
        ("a.png", PNG, "image/png"),
        ("a.html", PNG, "image/png"),
        ("a.txt", HTML, "text/html"),
        ("a.js", b"alert(1)\n", "text/plain"),
        ("a.pdf", b"", "application/octet-stream"),
    ],
)
def test_headers__safe_for_any_type(client, settings, name, data, mimetype):
    # Django's others have headers of their own, some of them the same.
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    path = f"/attachments/foo/{name}/"
    stored = client.put(
        path, data, content_type="text/html", CONTENT_LENGTH=str(len(data))
    )
    item = stored.json()
    response = client.get(path)
    assert response.headers == {
        "Content-Type": mimetype,
        "Content-Length": str(len(data)),
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Encoding": "identity",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": item["etag"],
        "Last-Modified": http_date(
            datetime.datetime.fromisoformat(item["uploaded_at"]).timestamp()
        ),
        "Vary": "Cookie",
    }
    assert content(response) == data


@pytest.mark.parametrize(
    "name",
    ["a b.txt", 'a"b', "é", "😀.txt", "a;b=c", "100%", "%41", "x" * 255, "=?a?="],
)
def test_disposition__carries_the_name(client, name):
    path = f"/attachments/foo/{quote(name)}/"
    item = client.put(path, b"spam").json()
    assert item["name"] == name
    response = client.get(item["url"])
    assert name_in(response["Content-Disposition"]) == name
    response.close()


def test_content__in_blocks(client, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_WSGI", 100)
    client.put(SPAM, DATA)
    response = client.get(SPAM)
    blocks = list(response.streaming_content)
    assert [len(block) for block in blocks] == [100] * (SIZE // 100) + [SIZE % 100]
    assert b"".join(blocks) == DATA


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened for reading."""
    files = []
    original = Attachment.open

    def spy(self):
        files.append(original(self))
        return files[-1]

    monkeypatch.setattr(Attachment, "open", spy)
    return files


@pytest.mark.usefixtures("spam")
def test_file__is_closed(client, opened):
    for response in (get(client), get(client, range="bytes=1-2")):
        content(response)
    response = get(client)
    next(iter(response.streaming_content))
    assert [file.closed for file in opened] == [True, True, False]
    response.close()
    assert opened[2].closed


@pytest.mark.usefixtures("spam")
def test_file__is_not_opened_for_nothing(client, opened):
    etag = get(client)["ETag"]
    opened.pop().close()
    client.head(SPAM)
    get(client, if_none_match=etag)
    get(client, if_match='"other"')
    get(client, range="bytes=2000-")
    assert opened == []


# -- ranges


@pytest.mark.usefixtures("spam")
@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-299", 100, 300),
        ("bytes=1000-", 1000, SIZE),
        ("bytes=0-", 0, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes=-{SIZE}", 0, SIZE),
        ("bytes=-5000", 0, SIZE),
        ("bytes=1000-5000", 1000, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        ("Bytes=5-6", 5, 7),
        ("bytes= 5-6 ", 5, 7),
        ("bytes=005-006", 5, 7),
        ("bytes=0-999999999999999999", 0, SIZE),
    ],
)
def test_range__part(client, header, start, stop):
    response = get(client, range=header)
    assert response.status_code == 206
    assert response["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert response["Content-Length"] == str(stop - start)
    assert response["ETag"]
    assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert content(response) == DATA[start:stop]


@pytest.mark.usefixtures("spam")
@pytest.mark.parametrize(
    "header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE}", "bytes=-0", "bytes=9999-99999"]
)
def test_range__outside(client, header):
    response = get(client, range=header)
    problem(response, 416, "range_not_satisfiable")
    assert response["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.usefixtures("spam")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=2-1",
        "bytes=0-1,3-4",
        "bytes=0-1,",
        "bytes=1",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1 -2",
        "bytes=٣-٤",
        "lines=0-1",
        "bytes=0x1-2",
        "bytes=1.0-2",
        f"bytes={'9' * 5000}-",
        f"bytes=0-{'9' * 5000}",
        f"bytes=-{'9' * 5000}",
    ],
)
def test_range__not_understood_is_all(client, header):
    response = get(client, range=header)
    assert response.status_code == 200
    assert "Content-Range" not in response
    assert response["Content-Length"] == str(SIZE)
    assert content(response) == DATA


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0"])
def test_range__of_an_empty_file(client, header):
    client.put(SPAM, b"", CONTENT_LENGTH="0")
    response = get(client, range=header)
    problem(response, 416, "range_not_satisfiable")
    assert response["Content-Range"] == "bytes */0"


@pytest.mark.usefixtures("spam")
def test_range__means_nothing_to_head(client):
    response = client.head(SPAM, headers={"range": "bytes=0-1"})
    assert response.status_code == 200
    assert response["Content-Length"] == str(SIZE)


def test_if_range(client, spam):
    """A date is no strong validator: what was replaced may have the same second."""
    modified = spam.created.timestamp()
    other = [
        *('"other"', f"W/{spam.etag}", "nonsense", "", spam.public_id),
        *(http_date(modified + seconds) for seconds in (-1, 0, 3600)),
    ]
    response = get(client, range="bytes=1-2", if_range=spam.etag)
    assert (response.status_code, content(response)) == (206, DATA[1:3])
    for value in other:
        response = get(client, range="bytes=1-2", if_range=value)
        assert (response.status_code, content(response)) == (200, DATA)
        response = get(client, range="bytes=5000-", if_range=value)
        assert (response.status_code, content(response)) == (200, DATA)


# -- conditions


def test_if_none_match(client, spam):
    for value in (spam.etag, f"W/{spam.etag}", f'"a", {spam.etag}', "*"):
        for method in (client.get, client.head):
            response = method(SPAM, headers={"if-none-match": value})
            assert response.status_code == 304
            assert response["ETag"] == spam.etag
            assert response["Cache-Control"] == "private, no-cache"
            assert "Last-Modified" in response
            assert response.content == b""
    response = get(client, if_none_match='"other"')
    assert (response.status_code, content(response)) == (200, DATA)
    client.put(SPAM, b"new")
    response = get(client, if_none_match=spam.etag)
    assert (response.status_code, content(response)) == (200, b"new")


def test_if_modified_since(client, spam):
    modified = spam.created.timestamp()
    for time in (modified, modified + 3600):
        assert get(client, if_modified_since=http_date(time)).status_code == 304
    for value in (http_date(modified - 1), "nonsense"):
        response = get(client, if_modified_since=value)
        assert (response.status_code, content(response)) == (200, DATA)
    response = get(
        client, if_modified_since=http_date(modified), if_none_match='"other"'
    )
    assert (response.status_code, content(response)) == (200, DATA)


def test_if_match(client, spam):
    for value in ('"other"', f"W/{spam.etag}"):
        problem(get(client, if_match=value), 412, "precondition_failed")
    for value in (spam.etag, "*"):
        response = get(client, if_match=value, range="bytes=0-0")
        assert (response.status_code, content(response)) == (206, DATA[:1])


def test_if_unmodified_since(client, spam):
    modified = spam.created.timestamp()
    response = get(client, if_unmodified_since=http_date(modified - 1))
    problem(response, 412, "precondition_failed")
    response = get(client, if_unmodified_since=http_date(modified))
    assert (response.status_code, content(response)) == (200, DATA)


def test_conditions__come_before_the_range(client, spam):
    response = get(client, if_none_match=spam.etag, range="bytes=5000-")
    assert response.status_code == 304


# -- around other middleware


def test_gzip_middleware__spoils_nothing(client, settings):
    gzip = "django.middleware.gzip.GZipMiddleware"
    settings.MIDDLEWARE = [gzip, *settings.MIDDLEWARE]
    etag = client.put(SPAM, b"spam " * 1000).json()["etag"]
    response = get(client, accept_encoding="gzip")
    assert response["Content-Length"] == "5000"
    assert response["ETag"] == etag
    assert response["Content-Encoding"] == "identity"
    assert content(response) == b"spam " * 1000
    response = get(client, accept_encoding="gzip", range="bytes=0-999")
    assert response["Content-Range"] == "bytes 0-999/5000"
    assert response["ETag"] == etag
    assert content(response) == b"spam " * 200


def test_conditional_get_middleware__agrees(client, settings):
    conditional = "django.middleware.http.ConditionalGetMiddleware"
    settings.MIDDLEWARE = [conditional, *settings.MIDDLEWARE]
    etag = client.put(SPAM, DATA).json()["etag"]
    response = get(client, range="bytes=0-9")
    assert (response.status_code, content(response)) == (206, DATA[:10])
    assert get(client, if_none_match=etag).status_code == 304
    assert client.get("/attachments/foo/").status_code == 200


# -- when the file is not where it was


def test_file__replaced_before_it_was_opened(client, spam, settings, monkeypatch):
    settings.SESSION_ATTACHMENTS_GRACE = 0.000001
    second = Client()
    second.cookies = client.cookies
    original = Attachment.open

    def slow(row):
        if row.pk == spam.pk:
            second.put(SPAM, b"new")
            sweep.clean(Attachment.objects.all(), timezone.now(), sweep.Report())
            assert len(on_disk()) == 1
        return original(row)

    monkeypatch.setattr(Attachment, "open", slow)
    response = get(client)
    assert response.status_code == 200
    assert response["ETag"] != spam.etag
    assert response["Content-Length"] == "3"
    assert content(response) == b"new"


def test_file__replaced_before_it_was_opened_on_condition(client, spam, monkeypatch):
    """The conditions are asked again, of the new file."""
    second = Client()
    second.cookies = client.cookies
    original = Attachment.open

    def slow(row):
        if row.pk == spam.pk:
            second.put(SPAM, b"new")
            raise FileNotFoundError
        return original(row)

    monkeypatch.setattr(Attachment, "open", slow)
    problem(get(client, if_match=spam.etag), 412, "precondition_failed")


def test_file__replaced_while_it_is_read(client, spam, monkeypatch, settings):
    settings.SESSION_ATTACHMENTS_GRACE = 0.000001
    monkeypatch.setattr(streaming, "BLOCK_WSGI", 100)
    response = get(client)
    blocks = response.streaming_content
    first = next(blocks)
    client.put(SPAM, b"new")
    sweep.clean(Attachment.objects.all(), timezone.now(), sweep.Report())
    assert first + b"".join(blocks) == DATA
    response.close()


def test_file__missing(client, spam, settings):
    (settings.FOLDERS["attachments"] / spam.key).unlink()
    problem(get(client), 404, "not_found")
    problem(get(client, range="bytes=0-1"), 404, "not_found")
    assert Attachment.objects.stored().count() == 1


@pytest.mark.parametrize("error", [PermissionError(13, "no"), RuntimeError("no")])
def test_storage__fails_to_open(client, spam, monkeypatch, caplog, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(FileSystemStorage, "_open", fail)
    response = get(client)
    problem(response, 503, "storage")
    assert response["Retry-After"] == "30"
    assert "The attachment storage failed" in caplog.text


# -- ASGI


def asgi_request(**headers):
    return ASGIRequest(
        {
            "type": "http",
            "method": "GET",
            "path": SPAM,
            "query_string": b"",
            "headers": [
                (name.encode(), value.encode()) for name, value in headers.items()
            ],
        },
        None,
    )


class Spy:
    """A file that knows who has read it, and how much at once."""

    def __init__(self, file):
        self.file, self.threads, self.sizes = file, set(), []

    def read(self, size):
        self.threads.add(threading.current_thread())
        self.sizes.append(size)
        return self.file.read(size)

    def close(self):
        self.file.close()


async def collect(response):
    return [block async for block in response]


def test_asgi__blocks_are_read_in_a_thread(spam, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_ASGI", 100)
    response = downloads.download(asgi_request(), spam)
    spy = response.file._file = Spy(response.file.file)
    assert b"".join(asyncio.run(collect(response))) == DATA
    assert spy.sizes == [100] * (SIZE // 100) + [SIZE % 100]
    assert threading.main_thread() not in spy.threads
    response.close()
    assert spy.file.closed


def test_asgi__range(spam):
    response = downloads.download(asgi_request(range="bytes=5-9"), spam)
    assert asyncio.run(collect(response)) == [DATA[5:10]]
    assert response.status_code == 206
    response.close()
    assert response.file.closed


@pytest.mark.parametrize("size", [0, 5])
def test_asgi__file_shorter_than_its_row_ends(spam, settings, size):
    (settings.FOLDERS["attachments"] / spam.key).write_bytes(DATA[:size])
    response = downloads.download(asgi_request(), spam)
    assert b"".join(asyncio.run(collect(response))) == DATA[:size]
    response.close()
