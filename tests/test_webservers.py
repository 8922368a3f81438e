"""Downloads as a visitor gets them: one contract for every way to send a file."""

import base64
import email.policy
import functools
import gzip
import json
import os
import pkgutil
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import django_sendfile.backends
import pytest
from django.utils.http import http_date, parse_http_date

from session_attachments import downloads
from tests import services, webservers
from tests.webservers import Address, Page, Server
from tests.wire import Wire, problem, visit

pytestmark = pytest.mark.once

NGINX = Page("nginx.md")
XSENDFILE = Page("apache.md", "mod_xsendfile")
MOD_WSGI = Page("apache.md", "mod_wsgi")
LIGHTTPD = Page("lighttpd.md")
S3 = Page("storages.md", "S3")

CORPORA = Path(__file__).parent / "corpora"
LIST = "/attachments/foo/"
#: Fills several buffers, and could well be compressed.
SPAM = b"".join(b"%07d spam\n" % n for n in range(50_000))
SIZE = len(SPAM)
MIB = 2**20
NAMES = sorted(
    {
        name
        for entry in json.loads((CORPORA / "names.json").read_text("utf-8"))["names"]
        if isinstance(name := entry.get("both", entry.get("post")), str)
    }
)
#: What a web server is told, and what a visitor must not be.
INTERNAL = {"x-accel-redirect", "x-sendfile", "location"}
PROTECTION = ("Content-Security-Policy", "X-Content-Type-Options", "ETag")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Case:
    """One way to send files: what the site sets, and the server in front of Django."""

    downloads: str
    settings: str
    server: Server | None = None
    #: Django runs inside the server.
    is_inside: bool = False
    #: Where files are, if not in the site's folder: more settings, while it is there.
    storage: Callable[[], AbstractContextManager[str]] = lambda: nullcontext("")
    #: What the answers do not have, as the documentation says.
    lacks: frozenset[str] = frozenset()


def by_django(downloads, *lacks, settings=""):
    settings += f'\nSESSION_ATTACHMENTS_DOWNLOADS = "{downloads}"\n'
    return Case(downloads, settings, lacks=frozenset(lacks))


def by_sendfile(name):
    settings = f"""
SENDFILE_BACKEND = "django_sendfile.backends.{name}"
SENDFILE_ROOT = "/srv/example/attachments"
"""
    return by_django("sendfile", "refusal of links", settings=settings)


def by_server(server, page, *lacks, is_inside=False):
    server = partial(server, page=page)
    settings = page["python"]
    return Case("sendfile", settings, server, is_inside, lacks=frozenset(lacks))


CASES = {
    "stream": by_django("stream", "refusal of links"),
    "logged": by_django("mysite.downloads.logged", "refusal of links"),
    "simplest": by_django("mysite.downloads.simplest", "ranges", "refusal of links"),
    "simple": by_sendfile("simple"),
    "development": by_sendfile("development"),
    "nginx": by_server(webservers.nginx, NGINX),
    "xsendfile": by_server(
        webservers.apache, XSENDFILE, "size on 416", "look at links"
    ),
    "mod_wsgi": by_server(webservers.apache, MOD_WSGI, "size on 416", is_inside=True),
    "lighttpd": by_server(
        webservers.lighttpd, LIGHTTPD, "size on 416", "refusal of several ranges"
    ),
    "redirect": Case(
        "redirect",
        S3["python"],
        storage=partial(webservers.s3, "my-private-bucket"),
        lacks=frozenset(
            {"local files", "own tag", "protection", "refusal of links", "size on 416"}
        ),
    ),
}
SERVERS = [name for name, case in CASES.items() if case.server]


@contextmanager
def running(name, environment, settings="") -> Iterator[webservers.Site]:
    """A site of this case."""
    case = CASES[name]
    with case.storage() as more:
        settings = f"{case.settings}{more}{settings}"
        try:
            inside = environment() if case.is_inside else None
            with webservers.serve(settings, case.server, inside) as site:
                yield site
        except services.MissingError as missing:
            pytest.skip(str(missing))


def each(names):
    """Run with each of these cases; those of one in the same process."""
    return pytest.mark.parametrize(
        "case",
        [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names],
        indirect=True,
    )


def where_there_are(*features):
    """Run with the cases that lack none of these."""
    return each(name for name, case in CASES.items() if not case.lacks & {*features})


class Browser(Wire):
    """Takes JSON compressed, and follows a redirect, without the cookies of here."""

    def request(self, method, target, body=b"", **headers):
        headers = {"Accept_Encoding": "gzip", **headers}
        answer = super().request(method, target, body, **headers)
        if answer.status_code == 302:
            url = urlsplit(answer["Location"])
            with visit(Address(url.hostname, url.port)) as other:
                return other.request(method, f"{url.path}?{url.query}", **headers)
        kind, encoding = (answer[f"Content-{name}"] for name in ("Type", "Encoding"))
        if encoding == "gzip" and "json" in kind:
            answer.content = gzip.decompress(answer.content)
        return answer


@pytest.fixture(scope="module")
def environment():
    """Returns a virtual environment of the system's Python, made when it is needed."""
    with services.temporary_folder() as folder:

        @functools.cache
        def made():
            webservers.environment(folder)
            return folder

        yield made


@pytest.fixture(scope="module")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def site(case, environment):
    with running(case, environment) as site:
        yield site


@pytest.fixture
def visitor(site):
    with closing(Browser(site.visitors)) as visitor:
        yield visitor


@pytest.fixture
def stranger(site):
    """Somebody else, who has files too."""
    with closing(Browser(site.visitors)) as stranger:
        store(stranger, b"mine", "mine.txt")
        yield stranger


def store(visitor, content=SPAM, name="spam.txt"):
    """Store a file, and return its item."""
    answer = visitor.request("PUT", f"{LIST}{quote(name, safe='')}/", content)
    assert answer.status_code in (200, 201), answer.content
    return answer.json()


def path_of(site, content):
    """Where the last file with this content is."""
    found = [path for path in site.files() if path.read_bytes() == content]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def key_of(site, content):
    return path_of(site, content).relative_to(site.attachments)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def disposition(answer):
    """How a client is to save it, and under which name (RFC 6266)."""
    parse = email.policy.HTTP.header_factory
    header = parse("Content-Disposition", answer["Content-Disposition"])
    assert not header.defects
    return header.content_disposition, header.params["filename"]


def test_contract__every_backend_has_a_case():
    assert {case.downloads for case in CASES.values()} >= {*downloads.BACKENDS}


def test_contract__every_backend_of_sendfile_has_a_case():
    backends = {
        name for _, name, _ in pkgutil.iter_modules(django_sendfile.backends.__path__)
    }
    used = {
        re.search(r'^SENDFILE_BACKEND = "(.*)"$', case.settings, re.M)[1]
        for case in CASES.values()
        if case.downloads == "sendfile"
    }
    assert used == {f"django_sendfile.backends.{name}" for name in backends}


# -- the contract


@pytest.fixture(params=["visitor's", "owned"])
def url(request, visitor):
    """Where a file is, as its visitor's or as that of an object, which says yes."""
    item = store(visitor)
    if request.param == "owned":
        [owned] = visitor.request("POST", "/own/foo/").json()
        return owned
    return item["url"]


@each(CASES)
def test_get__the_file(visitor, url):
    answer = visitor.request("GET", url)
    assert answer.status_code == 200
    assert answer["Content-Length"] == str(SIZE)
    assert answer["Content-Encoding"] in (None, "identity")
    assert answer.content == SPAM


@each(CASES)
def test_get__empty_file(visitor):
    answer = visitor.request("GET", store(visitor, b"")["url"])
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["Content-Length"] == "0"


CONTENTS = {
    "text/plain": SPAM,
    "text/html": b"<!DOCTYPE html><script>alert(1)</script>",
    "image/png": PNG,
    "application/octet-stream": b"\0\1\2",
}


@each(CASES)
def test_get__type_and_name(visitor):
    for mimetype, content in CONTENTS.items():
        for name in ["x.svg", "x.html", "x.tar.gz", "x"]:
            item = store(visitor, content, name)
            answer = visitor.request("GET", item["url"])
            assert answer.content == content
            assert answer["Content-Type"] == item["mimetype"] == mimetype
            assert disposition(answer) == ("attachment", name)


@each(["stream", *SERVERS, "redirect"])
def test_get__every_name_comes_back(visitor):
    for number, name in enumerate(NAMES):
        sent = f"/attachments/{number}/{quote(name, safe='')}/"
        item = visitor.request("PUT", sent, b"spam").json()
        assert item["name"] == name
        answer = visitor.request("GET", item["url"])
        assert (answer.status_code, answer.content) == (200, b"spam"), name
        assert disposition(answer) == ("attachment", name)


@where_there_are("protection")
def test_get__protection(visitor, url):
    for headers in [{}, {"Range": "bytes=0-3"}]:
        answer = visitor.request("GET", url, **headers)
        assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers.get_all("Content-Security-Policy") == [
            "sandbox; default-src 'none'"
        ]
        assert answer.headers.get_all("Cross-Origin-Resource-Policy") == ["same-origin"]
        assert answer.headers.get_all("Cache-Control") == ["private, no-cache"]


@each(CASES)
def test_get__nobody_else_may_keep_it(visitor):
    answer = visitor.request("GET", store(visitor)["url"])
    assert "private" in answer["Cache-Control"]
    assert "no-" in answer["Cache-Control"]


@where_there_are("local files")
def test_get__tells_nothing_of_where_the_file_is(site, visitor, url):
    key = path_of(site, SPAM).name
    for method, headers in [("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=9-"})]:
        answer = visitor.request(method, url, **headers)
        assert not [answer[name] for name in INTERNAL if answer[name]]
        assert key not in str(answer.headers)
        assert str(site.folder) not in str(answer.headers)


@each(CASES)
def test_head__has_no_body(visitor):
    url = store(visitor)["url"]
    visitor.connect()
    visitor.send(visitor.head("HEAD", url, Connection="close"))
    answer = visitor.answer("HEAD")
    assert (answer.status_code, answer["Content-Length"]) == (200, str(SIZE))
    assert visitor.reader.read() == b""


@where_there_are("own tag")
def test_head__has_the_headers_of_get(visitor):
    url = store(visitor)["url"]
    head, get = (visitor.request(method, url) for method in ("HEAD", "GET"))
    missing = {*get.headers.keys()} - {*head.headers.keys()}
    assert missing <= {"Content-Encoding"}
    changing = {"Date"}
    assert [
        name
        for name in head.headers
        if head[name] != get[name] and name not in changing
    ] == []


RANGES = {
    "bytes=0-9": slice(0, 10),
    "bytes=1000-600000": slice(1000, 600_001),
    f"bytes={SIZE - 1}-": slice(SIZE - 1, SIZE),
    "bytes=7-99999999": slice(7, SIZE),
    "bytes=-10": slice(SIZE - 10, SIZE),
}


@where_there_are("ranges")
def test_get__range(visitor, url):
    for sent, part in RANGES.items():
        answer = visitor.request("GET", url, Range=sent)
        assert answer.status_code == 206
        assert answer["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{SIZE}"
        assert answer["Content-Length"] == str(part.stop - part.start)
        assert answer["Content-Type"] == "text/plain"
        assert disposition(answer) == ("attachment", "spam.txt")
        assert answer.content == SPAM[part]


@where_there_are("ranges")
def test_get__range_outside_of_the_file(visitor):
    answer = visitor.request("GET", store(visitor)["url"], Range=f"bytes={SIZE}-")
    assert answer.status_code == 416
    assert SPAM[:9] not in answer.content


@where_there_are("ranges", "size on 416")
def test_get__range_outside_of_the_file_tells_its_size(visitor):
    answer = visitor.request("GET", store(visitor)["url"], Range=f"bytes={SIZE}-")
    assert answer["Content-Range"] == f"bytes */{SIZE}"


@where_there_are("ranges", "own tag")
def test_get__range_of_the_version_that_is_there(visitor):
    item = store(visitor)
    answer = visitor.request(
        "GET", item["url"], Range="bytes=-4", If_Range=item["etag"]
    )
    assert (answer.status_code, answer.content) == (206, SPAM[-4:])
    assert answer["ETag"] == item["etag"]


@where_there_are("own tag")
def test_get__range_of_another_version_is_the_whole_file(visitor):
    url = store(visitor)["url"]
    for version in ['"another"', 'W/"weak"', http_date(1), http_date(2**32)]:
        answer = visitor.request("GET", url, Range="bytes=0-3", If_Range=version)
        assert (answer.status_code, answer.content) == (200, SPAM), version


@where_there_are("ranges", "refusal of several ranges")
def test_get__several_ranges_are_the_whole_file(visitor):
    url = store(visitor)["url"]
    answer = visitor.request("GET", url, Range="bytes=0-3, 10-12")
    assert (answer.status_code, answer.content) == (200, SPAM)


@each(name for name, case in CASES.items() if "ranges" in case.lacks)
def test_get__range_is_ignored(visitor):
    answer = visitor.request("GET", store(visitor)["url"], Range="bytes=0-3")
    assert (answer.status_code, answer.content) == (200, SPAM)


@where_there_are("own tag")
def test_get__tag_and_time_are_those_of_the_item(visitor):
    item = store(visitor)
    answer = visitor.request("GET", item["url"])
    assert answer.headers.get_all("ETag") == [item["etag"]]
    uploaded_at = datetime.fromisoformat(item["uploaded_at"]).timestamp()
    [modified] = answer.headers.get_all("Last-Modified")
    assert parse_http_date(modified) == uploaded_at


@where_there_are("own tag")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get__nothing_new(visitor, method):
    item = store(visitor)
    modified = visitor.request("GET", item["url"])["Last-Modified"]
    for condition in [
        {"If_None_Match": item["etag"]},
        {"If_None_Match": f'"another", W/{item["etag"]}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": modified},
        {"If_Modified_Since": http_date(2**32)},
        {"If_None_Match": item["etag"], "If_Modified_Since": http_date(1)},
        {"If_None_Match": item["etag"], "Range": "bytes=0-3"},
    ]:
        answer = visitor.request(method, item["url"], **condition)
        assert (answer.status_code, answer.content) == (304, b""), condition
        assert answer["ETag"] == item["etag"]
        assert answer["Cache-Control"] == "private, no-cache"


@where_there_are("own tag")
def test_get__something_new(visitor):
    item = store(visitor)
    modified = visitor.request("GET", item["url"])["Last-Modified"]
    before = http_date(parse_http_date(modified) - 1)
    for condition in [
        {"If_None_Match": '"another"'},
        {"If_None_Match": '"another"', "If_Modified_Since": modified},
        {"If_Modified_Since": before},
        {"If_Match": item["etag"]},
        {"If_Match": f'"another", {item["etag"]}'},
        {"If_Match": "*"},
        {"If_Match": item["etag"], "If_Unmodified_Since": before},
        {"If_Unmodified_Since": modified},
    ]:
        answer = visitor.request("GET", item["url"], **condition)
        assert (answer.status_code, answer.content) == (200, SPAM), condition
        assert answer["ETag"] == item["etag"]


@where_there_are("own tag")
def test_get__condition_that_does_not_hold(visitor):
    url = store(visitor)["url"]
    for condition in [
        {"If_Match": '"another"'},
        {"If_Match": '"another"', "Range": "bytes=0-3"},
        {"If_Unmodified_Since": http_date(1)},
    ]:
        problem(visitor.request("GET", url, **condition), 412, "precondition_failed")


@where_there_are("own tag", "local files")
def test_get__the_files_own_time_does_not_count(site, visitor):
    """The bytes may be older than the row: an upload takes its time."""
    item = store(visitor)
    modified = visitor.request("GET", item["url"])["Last-Modified"]
    an_hour_ago = time.time() - 3600
    os.utime(path_of(site, SPAM), (an_hour_ago, an_hour_ago))
    for condition in [
        {},
        {"If_Modified_Since": http_date(an_hour_ago + 60)},
        {"If_Unmodified_Since": modified},
    ]:
        answer = visitor.request("GET", item["url"], **condition)
        assert (answer.status_code, answer.content) == (200, SPAM), condition
        assert answer["Last-Modified"] == modified


@where_there_are("own tag")
def test_get__replaced_in_the_same_second_by_the_same_size(visitor):
    first = store(visitor, b"old\n")
    second = store(visitor, b"new\n")
    for condition in [
        {"If_None_Match": first["etag"]},
        {"Range": "bytes=0-0", "If_Range": first["etag"]},
    ]:
        answer = visitor.request("GET", first["url"], **condition)
        assert (answer.status_code, answer.content) == (200, b"new\n")
        assert answer["ETag"] == second["etag"]


@each(CASES)
def test_get__stranger(visitor, stranger):
    item = store(visitor)
    for headers in [{}, {"Range": "bytes=0-3"}, {"If_None_Match": item["etag"]}]:
        answer = stranger.request("GET", item["url"], **headers)
        nothing = stranger.request("GET", f"{LIST}never-there/", **headers)
        problem(answer, 404, "not_found")
        assert answer.status_code == nothing.status_code
        assert answer.content == nothing.content


@where_there_are("local files")
def test_get__bytes_are_gone(site, visitor):
    content = uuid.uuid4().bytes
    item = store(visitor, content)
    path_of(site, content).unlink()
    problem(visitor.request("GET", item["url"]), 404, "not_found")


@where_there_are("refusal of links")
@pytest.mark.parametrize("part", ["file", "folder"])
def test_get__link_in_place_of(site, visitor, part):
    item = store(visitor)
    problem(get_by_link(site, visitor, item, SPAM, part), 404, "not_found")


def get_by_link(site, visitor, item, content, part):
    """Ask for a file after it, or a folder around it, was replaced by a link.

    The link leads out of the storage, to another file of this name.
    """
    path = path_of(site, content)
    replaced = path if part == "file" else path.parent
    elsewhere = site.folder / "elsewhere" / uuid.uuid4().hex
    elsewhere.mkdir(parents=True)
    (elsewhere / path.name).write_bytes(b"secret")
    replaced.rename(site.folder / uuid.uuid4().hex)
    replaced.symlink_to(elsewhere / path.name if part == "file" else elsewhere)
    return visitor.request("GET", item["url"])


# -- what the web server is told, and what it does


@pytest.fixture
def directly(site, visitor):
    """The same visitor, at Django's own door."""
    with visit(site.django) as same:
        same.cookies = visitor.cookies
        yield same


@each(name for name in SERVERS if not CASES[name].is_inside)
def test_django__tells_the_server_where_the_visitors_file_is(site, visitor, directly):
    item = store(visitor)
    answer = directly.request("GET", item["url"])
    [path] = [answer[name] for name in INTERNAL if answer[name]]
    assert path.endswith(f"/{path_of(site, SPAM).name}")
    assert (answer["Content-Length"], answer.content) == ("0", b"")


@each(name for name in SERVERS if not CASES[name].is_inside)
def test_django__tells_the_server_nothing_for_a_stranger(
    visitor, stranger, directly, site
):
    item = store(visitor)
    directly.cookies = stranger.cookies
    for method in ("GET", "HEAD"):
        answer = directly.request(method, item["url"])
        assert answer.status_code == 404
        assert not [answer[name] for name in INTERNAL if answer[name]]
        assert path_of(site, SPAM).name not in f"{answer.headers}{answer.content}"


@each(["nginx", "mod_wsgi"])
def test_server__lets_nobody_in_by_the_inner_address(site, visitor):
    store(visitor)
    path = f"/session-attachments-files/{key_of(site, SPAM)}"
    for method in ("GET", "HEAD", "POST"):
        for sent in (path, f"{path}?etag=x", f"/{path}", path.replace("ss", "%73s")):
            answer = visitor.request(method, sent)
            assert answer.status_code in (403, 404, 405)
            assert SPAM[:9] not in answer.content


@each(SERVERS)
def test_server__takes_no_path_from_a_visitor(site, visitor, stranger):
    item = store(visitor)
    for sent in (
        path_of(site, SPAM),
        f"/session-attachments-files/{key_of(site, SPAM)}",
    ):
        headers = {"X_Accel_Redirect": sent, "X_Sendfile": sent, "Location": sent}
        for url in (item["url"], "/", LIST):
            answer = stranger.request("GET", url, **headers)
            assert SPAM[:9] not in answer.content


@pytest.mark.parametrize("part", ["file", "folder"])
@each(SERVERS)
def test_server__follows_no_link_that_django_overlooks(case, part, environment):
    settings = '\nSESSION_ATTACHMENTS_DOWNLOADS = "mysite.downloads.careless"\n'
    with running(case, environment, settings) as site, visit(site.visitors) as visitor:
        item = store(visitor)
        assert visitor.request("GET", item["url"]).content == SPAM
        answer = get_by_link(site, visitor, item, SPAM, part)
        if "look at links" in CASES[case].lacks:
            assert answer.content == b"secret"
        else:
            assert answer.status_code in (403, 404)
            assert b"secret" not in answer.content


@each(["xsendfile", "lighttpd"])
def test_server__opens_nothing_outside_of_its_folder(case, environment):
    settings = '\nSESSION_ATTACHMENTS_DOWNLOADS = "mysite.downloads.reckless"\n'
    with running(case, environment, settings) as site, visit(site.visitors) as visitor:
        answer = visitor.request("GET", store(visitor)["url"])
        assert answer.status_code in (403, 404)
        assert b"def " not in answer.content


@each(["mod_wsgi"])
def test_mod_wsgi__saves_a_file_under_any_name(case, environment):
    settings = '\nSESSION_ATTACHMENTS_DOWNLOADS = "mysite.downloads.copied"\n'
    with running(case, environment, settings) as site, visit(site.visitors) as visitor:
        answer = visitor.request("GET", store(visitor, name="résumé 😀.pdf")["url"])
        assert (answer.status_code, answer.content) == (200, SPAM)


@each(["nginx"])
def test_nginx__passes_an_upload_on_while_it_arrives(site, visitor):
    content = bytes(2 * MIB)
    visitor.connect()
    visitor.send(visitor.head("PUT", f"{LIST}x/", Content_Length=len(content)))
    visitor.send(content[:MIB])
    wait_until(lambda: any(path.stat().st_size > MIB // 4 for path in site.files()))
    visitor.send(content[MIB:])
    assert visitor.answer("PUT").status_code == 201


@each(SERVERS)
def test_server__passes_every_name_on(visitor):
    """Also what a server keeps to itself in other folders."""
    for name in ("x.inc", "backup~", ".htaccess", "r%C3%A9sum%C3%A9.pdf"):
        for path in (f"{LIST}{name}", f"{LIST}{name}/"):
            assert visitor.request("PUT", path, b"x").status_code in (200, 201), path
            assert visitor.request("GET", path).content == b"x"


@each(SERVERS)
def test_server__has_no_limit_below_that_of_the_site(visitor):
    item = store(visitor, bytes(2 * MIB))
    assert len(visitor.request("GET", item["url"]).content) == 2 * MIB
