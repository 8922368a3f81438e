"""Downloads by django-sendfile2: what the web server is told, and when it is not."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.storage import FileSystemStorage
from django.http import FileResponse, HttpResponse
from django.test import Client
from django.utils.http import http_date
from django_sendfile import utils

from session_attachments.models import Attachment
from tests.wire import content, problem, visit

pytestmark = pytest.mark.django_db(transaction=True)

SPAM = "/attachments/foo/spam.txt/"
DATA = b"spam and eggs\n"
BACKENDS = "django_sendfile.backends"


class Encrypted(FileSystemStorage):
    """A folder whose files the web server cannot read."""


@pytest.fixture(autouse=True)
def site(settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    settings.SENDFILE_BACKEND = f"{BACKENDS}.nginx"
    settings.SENDFILE_ROOT = settings.FOLDERS["attachments"]
    settings.SENDFILE_URL = "/files"
    utils._get_sendfile.cache_clear()
    yield settings
    utils._get_sendfile.cache_clear()


@pytest.fixture
def spam(client):
    client.put(SPAM, DATA)
    return Attachment.objects.get()


@pytest.fixture
def path(spam, settings):
    return settings.FOLDERS["attachments"] / spam.key


def get(client, method="get", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return getattr(client, method)(SPAM, headers=headers)


def is_streamed(response):
    return response.streaming and content(response) == DATA


# -- handed over


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize(
    ("backend", "header", "value"),
    [
        ("nginx", "X-Accel-Redirect", "/files/{key}"),
        ("xsendfile", "X-Sendfile", "{root}/{key}"),
    ],
)
def test_server__is_told_the_file(client, site, spam, backend, header, value, method):
    site.SENDFILE_BACKEND = f"{BACKENDS}.{backend}"
    response = get(client, method)
    assert response.status_code == 200
    assert response[header] == value.format(key=spam.key, root=site.SENDFILE_ROOT)
    assert response.content == b""


def test_server__is_told_the_headers_by_the_location(client, site, spam):
    site.SENDFILE_BACKEND = f"{BACKENDS}.mod_wsgi"
    response = get(client)
    location = urlsplit(response["Location"])
    assert location.path == f"/files/{spam.key}"
    assert parse_qs(location.query) == {
        "disposition": [response["Content-Disposition"]],
        "etag": [spam.etag],
        "modified": [response["Last-Modified"]],
    }
    assert "+" not in location.query


def test_mod_wsgi__changes_no_request(client, site, spam):
    site.SENDFILE_BACKEND = f"{BACKENDS}.mod_wsgi"
    request = get(client).wsgi_request
    assert request.get_host() == "testserver"
    assert request.build_absolute_uri() == f"http://testserver{SPAM}"


@pytest.mark.usefixtures("spam")
def test_headers__are_those_of_a_file_but_its_length_and_encoding(client, site):
    streamed = get(client, if_match="*")
    handed_over = get(client)
    content(streamed)
    assert handed_over["Content-Length"] == "0"
    mine = {"X-Accel-Redirect", "Content-Length"}
    theirs = {"Accept-Ranges", "Content-Encoding", "Content-Length"}
    assert {item for item in handed_over.headers.items() if item[0] not in mine} == {
        item for item in streamed.headers.items() if item[0] not in theirs
    }


@pytest.mark.usefixtures("spam")
def test_server__would_be_told_of_a_folder_that_cannot_be_read(client, monkeypatch):
    def hand_over(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr("session_attachments.sendfile.hand_over", hand_over)
    problem(get(client), 503, "storage")


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_answer__is_complete_without_the_file(live_processes, site, kind):
    """Servers wait for, or insist on, the length that an answer announces."""
    names = ("SESSION_ATTACHMENTS_DOWNLOADS", "SENDFILE_BACKEND", "SENDFILE_URL")
    replaced = {name: getattr(site, name) for name in names}
    server = live_processes(kind, SENDFILE_ROOT=str(site.SENDFILE_ROOT), **replaced)
    with visit(server) as visitor:
        visitor.request("PUT", SPAM, DATA)
        for method in ("GET", "HEAD"):
            answer = visitor.request(method, SPAM)
            assert answer["X-Accel-Redirect"]
            assert (answer["Content-Length"], answer.content) == ("0", b"")


@pytest.mark.usefixtures("spam")
def test_range__is_left_to_the_server(client):
    for sent in ("bytes=0-3", "bytes=99-"):
        response = get(client, range=sent)
        assert (response.status_code, response.content) == (200, b"")
        assert "X-Accel-Redirect" in response


def test_conditions__are_decided_here(client, spam):
    assert get(client, if_none_match=spam.etag).status_code == 304
    problem(get(client, if_match='"another"'), 412, "precondition_failed")
    assert "X-Accel-Redirect" in get(client, if_none_match='"another"')


def test_stranger__gets_the_server_told_nothing(spam):
    response = get(Client())
    problem(response, 404, "not_found")
    assert "X-Accel-Redirect" not in response


# -- streamed instead


@pytest.mark.parametrize("backend", ["simple", "development"])
@pytest.mark.usefixtures("spam")
def test_backend__by_which_django_sends_is_streaming(client, site, backend):
    site.SENDFILE_BACKEND = f"{BACKENDS}.{backend}"
    assert is_streamed(get(client))
    response = get(client, range="bytes=0-3")
    assert (response.status_code, content(response)) == (206, DATA[:4])


def test_condition__that_a_server_would_decide_again_is_streamed(client, spam):
    later = http_date(spam.created.timestamp() + 60)
    before = http_date(spam.created.timestamp() - 60)
    for headers in [
        {"if_match": spam.etag},
        {"if_unmodified_since": later},
        {"if_modified_since": before},
    ]:
        assert is_streamed(get(client, **headers)), headers
    both = {"if_modified_since": before, "if_none_match": '"another"'}
    assert "X-Accel-Redirect" in get(client, **both)


@pytest.mark.usefixtures("spam")
def test_storage__outside_of_the_root_is_streamed(client, site):
    site.SENDFILE_ROOT = site.FOLDERS["uploads"]
    assert is_streamed(get(client))


def test_storage__that_only_django_can_read_is_streamed(client, site):
    options = {"location": site.FOLDERS["attachments"]}
    storage = {"BACKEND": f"{__name__}.Encrypted", "OPTIONS": options}
    site.STORAGES = site.STORAGES | {"session_attachments": storage}
    client.put(SPAM, DATA)
    assert is_streamed(get(client))


# -- not there


def test_file__is_gone(client, path):
    path.unlink()
    problem(get(client), 404, "not_found")


def test_file__is_gone_and_nobody_looks(client, site, path):
    """The server finds that out."""
    site.SENDFILE_CHECK_FILE_EXISTS = False
    path.unlink()
    assert "X-Accel-Redirect" in get(client)


@pytest.mark.parametrize("part", ["file", "folder"])
def test_link__in_place_of_a_part_is_not_followed(client, path, tmp_path, part):
    linked = path if part == "file" else path.parent
    linked.rename(tmp_path / "moved")
    linked.symlink_to(tmp_path / "moved")
    assert path.read_bytes() == DATA
    problem(get(client), 404, "not_found")


def test_link__to_itself_is_not_followed(client, path):
    path.unlink()
    path.symlink_to(path)
    problem(get(client), 404, "not_found")


def test_link__to_the_whole_folder_is_the_sites_affair(client, site, tmp_path):
    folder = tmp_path / "link"
    folder.symlink_to(site.FOLDERS["attachments"])
    options = {"location": folder}
    site.STORAGES = site.STORAGES | {
        "session_attachments": site.STORAGES["session_attachments"]
        | {"OPTIONS": options}
    }
    site.SENDFILE_ROOT = folder
    client.put(SPAM, DATA)
    assert "X-Accel-Redirect" in get(client)


# -- a backend of the site's own


def sendfile(request, path, **kwargs):
    """As django-sendfile2 looks for it, in the module that SENDFILE_BACKEND names."""
    kind = FileResponse if "Range" in request.headers else HttpResponse
    return kind(path.open("rb"), headers={"X-Mine": path.name})


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-3"}])
@pytest.mark.usefixtures("spam")
def test_backend__of_the_sites_own_that_has_a_body(client, site, headers):
    site.SENDFILE_BACKEND = __name__
    response = get(client, **headers)
    assert response.status_code == 200
    assert content(response) == DATA
    assert response["Content-Length"] == str(len(DATA))
    assert response["Content-Encoding"] == "identity"
    assert response["X-Mine"]
