"""The same over real connections: gunicorn and uvicorn, curl and sockets."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from contextlib import ExitStack
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection

from session_attachments.models import Attachment
from session_attachments.sweep import remove_outdated
from tests import servers
from tests.wire import (
    CLOSE,
    FORM,
    file_part,
    malformed_forms,
    name_in,
    nasty_names,
    nothing_left,
    on_disk,
    problem,
    visit,
)

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

LIST = "/attachments/foo/"
SPAM = "/attachments/foo/spam.txt/"
MIB = 2**20
CSRF = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]


def eventually(condition, seconds=20):
    """See that the condition comes true soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def no_upload_left():
    return not on_disk() and not Attachment.objects.exists()


@pytest.fixture(scope="module")
def running(django_db_setup):
    """Gives the module's own gunicorn and uvicorn, which it starts once."""
    options = {}
    if connection.vendor == "sqlite":
        # Their commits need not survive the end of the machine.
        options["DATABASES"] = {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(connection.settings_dict["NAME"]),
                "OPTIONS": {"init_command": "PRAGMA synchronous=OFF"},
            }
        }
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(servers.run(kind, **options)))


@pytest.fixture(params=sorted(servers.COMMANDS))
def server(request, running):
    """Each kind of server in turn."""
    return running(request.param)


@pytest.fixture
def visitor(server):
    with visit(server) as wire:
        yield wire


@pytest.fixture(params=["wsgi", "asgi"])
def lasting_visitor(request, live_processes, monkeypatch):
    """The connection stays open after an answer, where its server can do that."""
    threads = "--worker-class=gthread --threads=2"
    monkeypatch.setenv("GUNICORN_CMD_ARGS", threads)
    with visit(live_processes(request.param)) as wire:
        wire.connect()
        yield wire


# -- the documented calls, by curl


@pytest.fixture
def curl(tmp_path):
    """Run curl in a folder with the two files; returns what it prints."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    (tmp_path / "spam.txt").write_bytes(b"spam\n")
    (tmp_path / "egg.txt").write_bytes(b"egg\n")

    def run(*arguments):
        command = ["curl", "-b", "jar", "-c", "jar", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode()

    run.jar = tmp_path / "jar"
    return run


def masked(output):
    """Without what differs from run to run, and what came after version 0.2."""
    created = r'"created": "\d{4}-\d\d-\d\d \d\d:\d\d"'
    output = re.sub(created, '"created": "2026-11-20 04:12"', output)
    return re.sub(r', "uploaded_at"[^}]*', "", output)


EGG = (
    '{"mimetype": "text/plain", "size": 4, "name": "egg.txt", '
    '"created": "2026-11-20 04:12"}'
)
SPAM_ITEM = (
    '{"mimetype": "text/plain", "size": 5, "name": "spam.txt", '
    '"created": "2026-11-20 04:12"}'
)


def documented_calls(curl, url, *token):
    """The calls of the documentation; only those that change something need a token."""
    files = ["-F", "attach1=@spam.txt", "-F", "attach2=@egg.txt"]
    stored = curl(*token, *files, f"{url}/attachments/foo/")
    assert masked(stored) == f"[{EGG}, {SPAM_ITEM}]"
    assert curl(f"{url}/attachments/foo/") == stored
    assert curl(f"{url}/attachments/foo/spam.txt/") == "spam\n"
    removal = [*token, "-X", "POST"]
    assert curl(*removal, f"{url}/attachments/foo/spam.txt/delete/") == "[true]"
    assert masked(curl(f"{url}/attachments/foo/")) == f"[{EGG}]"
    assert curl(*removal, f"{url}/attachments/foo/delete/") == "[[true]]"
    assert curl(f"{url}/attachments/foo/") == "[]"
    assert nothing_left()


def test_curl__documented_calls(curl, server):
    documented_calls(curl, server.url)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_curl__documented_calls_with_the_csrf_check(curl, live_processes, kind):
    url = live_processes(kind, MIDDLEWARE=CSRF).url
    assert curl(f"{url}/attachments/foo/") == "[]"
    token = re.search(r"csrftoken\t(\w+)", curl.jar.read_text())[1]
    documented_calls(curl, url, "-H", f"X-CSRFToken: {token}")
    answer = json.loads(curl("-T", "spam.txt", f"{url}/attachments/foo/"))
    assert answer["code"] == "csrf"
    assert nothing_left()


def test_curl__raw_upload(curl, running):
    """Without a slash, since it appends the name to the path by itself."""
    url = f"{running('wsgi').url}/attachments/foo/"
    item = curl("-T", "spam.txt", url)
    assert masked(item) == SPAM_ITEM
    status = ["-s", "-o", "/dev/null", "-w", "%{http_code}"]
    assert curl(*status, "-T", "egg.txt", f"{url}spam.txt") == "200"
    assert curl(f"{url}spam.txt") == "egg\n"
    assert curl("-X", "DELETE", f"{url}spam.txt") == "[true]"


# -- bad input, the same answer on both


@pytest.fixture
def both(running):
    """A visitor of each kind of server, both with a session."""
    with visit(running("wsgi")) as wsgi, visit(running("asgi")) as asgi:
        for wire in (wsgi, asgi):
            wire.request("PUT", "/attachments/first/file", b"x")
        yield wsgi, asgi


def answered(answer):
    """What is left of an answer when everything random is taken away."""
    body = answer.json()
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/problem+json"
        return answer.status_code, body["code"]
    if isinstance(body, dict):
        body = [body]
    return answer.status_code, {item["name"]: item["size"] for item in body}


def stored_only_in_the_folder():
    """As many files as rows, each of them where its row says; see also conftest."""
    keys = Attachment.objects.values_list("key", flat=True)
    return on_disk() == sorted(f"attachments/{key}" for key in keys)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_name__nasty(both, method):
    stored = {}
    for number, (raw, *expected) in enumerate(nasty_names()):
        for wire in both:
            if method == "POST":
                path = f"/attachments/{number}/"
                body = file_part(raw, b"spam") + CLOSE
                answer = wire.request("POST", path, body, Content_Type=FORM)
            else:
                path = f"/attachments/{number}/{quote(raw, safe='')}/"
                answer = wire.request("PUT", path, b"spam")
                if answer.status_code == 414:
                    # gunicorn reads no longer path, and says so by itself.
                    assert len(path) > 4000
                    continue
            expected_answer = expected[method == "PUT"]
            if isinstance(expected_answer, dict):
                code = expected_answer["code"]
                status = 404 if code == "not_found" else 400
                assert answered(answer) == (status, code), raw
            else:
                status = 201 if method == "PUT" else 200
                answer_status, sizes = answered(answer)
                assert (answer_status, [*sizes]) == (status, [expected_answer]), raw
                item = answer.json()
                item = item if method == "PUT" else item[0]
                stored.setdefault(expected_answer, (wire, item["url"]))
    assert stored_only_in_the_folder()
    for name, (wire, url) in stored.items():
        download = wire.request("GET", url)
        assert download.status_code == 200
        assert download.content.endswith(b"spam")
        assert name_in(download["Content-Disposition"]) == name
    assert len(stored) > 150


def test_form__malformed(both):
    for entry in malformed_forms():
        method, body = entry["method"], entry["body"]
        path = LIST if method == "POST" else f"{LIST}a.txt/"
        for wire in both:
            before = on_disk()
            answer = wire.request(
                method, path, body, Content_Type=entry["content_type"]
            )
            status, found = answered(answer)
            assert found == entry["answer"], entry["note"]
            assert status < 500
            if status >= 400:
                assert on_disk() == before
                continue
            [item] = answer.json()
            download = wire.request("GET", item["url"])
            if entry["id"] == "crlf-dense":
                assert download.content == b"\r\n" * 200_000
            else:
                assert download.content == b"hello"
            assert download["Content-Type"] in (
                "text/plain",
                "application/octet-stream",
            )
            assert wire.request("DELETE", LIST).json() == [[True]]
    assert stored_only_in_the_folder()


def test_path__not_utf_8(both):
    for wire in both:
        for path in ("%FF/", "%FF/a/", "foo/%FF/", "foo/%C3/", "foo/%ED%A0%80"):
            answer = wire.request("GET", f"/attachments/{path}")
            assert answered(answer) == (400, "bad_name"), path
        answer = wire.request("POST", "/attachments/foo/%FF/delete/")
        assert answered(answer) == (400, "bad_name")


STRANGE_PATHS = {
    "foo/a%2Fb/": "not_found",
    "foo/..%2F..%2Fetc%2Fpasswd": "not_found",
    "foo/../": "bad_name",
    "../foo/": "bad_bundle",
    "foo/%2E%2E/": "bad_name",
    "foo/..%5Cpasswd/": "not_found",
    "/": "not_found",
    "foo//": "not_found",
    "foo/a//": "not_found",
    "foo?x=%FF": "not_found",
    "foo/a?x=/../%FF": "not_found",
    "a%00b/": "bad_bundle",
    "%0d%0aX:%20y/": "bad_bundle",
    "foo/%0d%0a/": "bad_name",
    "e%CC%81/": "bad_bundle",
}


def test_path__strange(both):
    for path, code in STRANGE_PATHS.items():
        for wire in both:
            answer = wire.request("GET", f"/attachments/{path}")
            assert answered(answer)[1] == code, path


# -- lengths


BODIES = {
    "PUT": (SPAM, b"spam", "text/plain"),
    "POST": (LIST, file_part("a") + CLOSE, FORM),
}


def test_length__missing(visitor):
    for method, (path, body, content_type) in BODIES.items():
        headers = {"Content_Type": content_type}
        visitor.connect()
        visitor.send(visitor.head(method, path, **headers))
        problem(visitor.answer(method), 411, "length_required")
        visitor.connect()
        headers["Transfer_Encoding"] = "chunked"
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        visitor.send(visitor.head(method, path, **headers) + chunks)
        problem(visitor.answer(method), 411, "length_required")
    assert nothing_left()


def test_length__nonsense(visitor):
    """Whether the server answers that, or we."""
    for length in ("-1", "x", "1, 2", "9" * 5000, "+4", "0x4"):
        for method, (path, _, content_type) in BODIES.items():
            headers = {"Content_Type": content_type, "Content_Length": length}
            visitor.connect()
            visitor.send(visitor.head(method, path, **headers))
            assert 400 <= visitor.answer(method).status_code < 500
    assert nothing_left()


def test_length__body_longer_than_declared(visitor):
    """The rest is no part of the request (RFC 9112, section 6.3)."""
    visitor.connect()
    visitor.send(visitor.head("PUT", SPAM, Content_Length=4) + b"spam and egg")
    assert visitor.answer("PUT").status_code == 201
    assert visitor.request("GET", SPAM).content == b"spam"


@pytest.mark.parametrize("end", ["shutdown", "close", "reset"])
def test_body__client_goes_away(visitor, end):
    half = bytes(MIB)
    for method, (path, body, content_type) in BODIES.items():
        body = half if method == "PUT" else body.removesuffix(CLOSE) + half
        headers = {"Content_Type": content_type, "Content_Length": 2 * MIB}
        visitor.connect()
        visitor.send(visitor.head(method, path, **headers) + body)
        if visitor.kind == "wsgi":
            eventually(lambda: on_disk() and Attachment.objects.exists())
        if end == "shutdown":
            visitor.socket.shutdown(socket.SHUT_WR)
            if visitor.kind == "wsgi":
                problem(visitor.answer(method), 400, "incomplete_body")
        elif end == "reset":
            linger = struct.pack("ii", 1, 0)
            visitor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        visitor.close()
        eventually(no_upload_left)
        assert visitor.request("GET", LIST).json() == []


def test_body__slow_and_steady(live_processes, settings):
    """It is no upload to give up, though it takes many leases for a MiB."""
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 3
    server = live_processes("wsgi", SESSION_ATTACHMENTS_UPLOAD_LEASE=3)
    data = bytes(20 * 2**14)
    bodies = {"PUT": data, "POST": file_part("a", data) + CLOSE}
    with visit(server) as put, visit(server) as post:
        wires = {"PUT": put, "POST": post}
        for method, wire in wires.items():
            path, _, kind = BODIES[method]
            length = len(bodies[method])
            wire.connect()
            wire.send(wire.head(method, path, Content_Type=kind, Content_Length=length))
        for start in range(0, max(map(len, bodies.values())), 2**14):
            for method, wire in wires.items():
                wire.send(bodies[method][start : start + 2**14])
            time.sleep(0.3)
            remove_outdated()
        for method, wire in wires.items():
            assert wire.answer(method).status_code in (200, 201)


def test_body__waits_for_the_server_to_agree(visitor):
    """`Expect: 100-continue`, as curl sends it with what is large."""
    visitor.connect()
    head = visitor.head("PUT", SPAM, Content_Length=4, Expect="100-continue")
    visitor.send(head)
    assert visitor.socket.recv(1000).startswith(b"HTTP/1.1 100")
    visitor.send(b"spam")
    assert visitor.answer("PUT").status_code == 201


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_file_size__50_mib_to_the_byte(curl, running, tmp_path, method):
    url = f"{running('wsgi').url}/attachments/foo/"
    for size, status in ((50 * MIB, "20"), (50 * MIB + 1, "413")):
        sparse(tmp_path / "big", size)
        upload = ["-T", "big"] if method == "PUT" else ["-F", "f=@big"]
        answer = ["-s", "-o", "/dev/null", "-w", "%{http_code}"]
        assert curl(*answer, *upload, url).startswith(status)
        items = json.loads(curl(url))
        assert [item["size"] for item in items] == [50 * MIB]
    assert len(on_disk()) == Attachment.objects.count() == 1


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_refusal__is_read_while_a_big_body_is_sent(curl, server, tmp_path, method):
    sparse(tmp_path / "big", 60 * MIB)
    upload = ["-T", "big"] if method == "PUT" else ["-F", "f=@big"]
    answer = json.loads(curl(*upload, f"{server.url}/attachments/foo/"))
    assert (answer["code"], answer["limit"]) == ("too_large", 50 * MIB)
    assert nothing_left()


def test_refusal__is_there_for_a_client_that_looks_late(server):
    client = HTTPConnection(server.host, server.port, timeout=60)
    client.putrequest("PUT", SPAM)
    client.putheader("Content-Length", str(60 * MIB))
    client.endheaders()
    try:
        for _ in range(60):
            client.send(bytes(MIB))
    except OSError:
        # gunicorn has answered, and reads no more.
        assert server.kind == "wsgi"
    response = client.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["code"] == "too_large"
    client.close()


# -- downloads, and connections that stay


def test_head__leaves_the_connection_usable(lasting_visitor):
    visitor = lasting_visitor
    visitor.send(visitor.head("PUT", SPAM, Content_Length=4) + b"spam")
    etag = visitor.answer("PUT").json()["etag"]
    for path in (LIST, SPAM, f"{LIST}nope/", "/attachments/nothing"):
        visitor.send(visitor.head("GET", path))
        get = visitor.answer("GET")
        visitor.send(visitor.head("HEAD", path))
        head = visitor.answer("HEAD")
        assert head.content == b""
        assert (head.status_code, head["Content-Length"]) == (
            get.status_code,
            str(len(get.content)),
        )
    for headers, status in (
        ({"If_None_Match": etag}, 304),
        ({"If_Match": '"x"'}, 412),
        ({"Range": "bytes=9-"}, 416),
        ({"Range": "bytes=1-2"}, 206),
    ):
        visitor.send(visitor.head("GET", SPAM, **headers))
        assert visitor.answer("GET").status_code == status
    visitor.send(visitor.head("GET", SPAM))
    assert visitor.answer("GET").content == b"spam"


def test_download__of_many_blocks(visitor):
    data = os.urandom(3 * MIB + 1)
    visitor.request("PUT", SPAM, data)
    assert visitor.request("GET", SPAM).content == data
    part = visitor.request("GET", SPAM, Range=f"bytes={MIB}-{3 * MIB}")
    assert part.status_code == 206
    assert part.content == data[MIB : 3 * MIB + 1]


def open_files(server):
    """The attachments that the server's processes have open."""
    links = []
    for pid in server.pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                links.append(os.readlink(link))
            except FileNotFoundError:
                continue
    return [link for link in links if str(settings.FOLDERS["attachments"]) in link]


def store_sparse(visitor, size):
    """Let the visitor's file be this large, without sending it."""
    visitor.request("PUT", SPAM, b"x")
    row = Attachment.objects.stored().get()
    sparse(settings.FOLDERS["attachments"] / row.key, size)
    Attachment.objects.update(size=size)


def test_download__client_goes_away(server, visitor):
    store_sparse(visitor, 200 * MIB)
    visitor.connect()
    visitor.send(visitor.head("GET", SPAM))
    assert visitor.socket.recv(10)
    eventually(lambda: open_files(server))
    visitor.close()
    eventually(lambda: not open_files(server))
    part = visitor.request("GET", SPAM, Range="bytes=0-9")
    assert part.content == bytes(10)
    eventually(lambda: not open_files(server))
