"""The HTTP API, by the test client: what each resource does and refuses."""

import errno
from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    ValidationError,
)
from django.core.handlers.asgi import ASGIRequest
from django.db import OperationalError, connection
from django.http import Http404
from django.test import Client
from django.utils import timezone
from django.utils.http import http_date

from session_attachments.models import Attachment, State
from session_attachments.views import FileView
from tests.wire import (
    FORM,
    Stream,
    content,
    file_part,
    form,
    nothing_left,
    on_disk,
    problem,
    visit,
)

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/attachments/foo/"
SPAM = "/attachments/foo/spam.txt/"
#: The test client announces no length for an empty body.
EMPTY = {"CONTENT_LENGTH": "0"}
LIMIT = 100
LIMIT_IN_MIB = LIMIT / 2**20


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch):
    """What is read of a body is read before it is refused."""
    monkeypatch.setattr("session_attachments.bodies.LINGER", 0)


@pytest.fixture
def stranger():
    return Client()


def names(client, path=LIST):
    return [item["name"] for item in client.get(path).json()]


def sees(client, name, path=LIST):
    return content(client.get(f"{path}{name}/"))


def refuse_spam(file):
    if b"spam" in file.read():
        raise ValidationError("No spam, please.")


def crash(file):
    raise RuntimeError("no")


# -- the list, and uploads by form


def test_get__nothing_there(client):
    assert client.get(LIST).json() == []


def test_post__answers_what_it_stored_sorted_by_code_points(client):
    client.post(LIST, **form(("old", b"")))
    sent = [("é", b"1"), ("b", b"22"), ("a", b""), ("Z", b"4444"), ("😀", b"55555")]
    response = client.post(LIST, **form(*sent))
    assert response.status_code == 200
    items = response.json()
    assert [(item["name"], item["size"]) for item in items] == [
        ("Z", 4),
        ("a", 0),
        ("b", 2),
        ("é", 1),
        ("😀", 5),
    ]
    assert names(client) == ["Z", "a", "b", "old", "é", "😀"]
    assert all(sees(client, name) == data for name, data in sent)


def test_post__several_files_in_one_field_and_over_fields(client, tmp_path):
    for name in "abcd":
        (tmp_path / name).write_text(name)
    a, b, c, d = ((tmp_path / name).open("rb") for name in "abcd")
    with a, b, c, d:
        client.post(LIST, {"one": [b, a], "two": [c], "three": d, "title": "ignored"})
    assert names(client) == ["a", "b", "c", "d"]
    assert sees(client, "c") == b"c"


def test_post__replaces_by_name(client):
    first = client.post(LIST, **form(("spam.txt", b"spam"), ("egg.txt", b"egg"))).json()
    second = client.post(LIST, **form(("spam.txt", b"more spam"))).json()
    assert names(client) == ["egg.txt", "spam.txt"]
    assert sees(client, "spam.txt") == b"more spam"
    assert second[0]["etag"] != first[1]["etag"]


def test_post__bundles_are_apart(client):
    client.post(LIST, **form(("spam.txt", b"one")))
    client.post("/attachments/bar/", **form(("spam.txt", b"two")))
    client.delete(LIST)
    assert sees(client, "spam.txt", "/attachments/bar/") == b"two"


REFUSED = {
    "type": (
        {"SESSION_ATTACHMENTS_ALLOWED_TYPES": ["text/*"]},
        ("b.pdf", b"%PDF-1.7\n"),
        (415, "type_not_allowed", {}),
    ),
    "size": (
        {"SESSION_ATTACHMENTS_MAX_FILE_SIZE": LIMIT_IN_MIB},
        ("b", bytes(LIMIT + 1)),
        (413, "too_large", {"limit": LIMIT}),
    ),
    "validator": (
        {"SESSION_ATTACHMENTS_VALIDATORS": ["tests.test_views.refuse_spam"]},
        ("b", b"spam"),
        (422, "invalid", {"detail": "No spam, please."}),
    ),
    "count": (
        {"SESSION_ATTACHMENTS_MAX_FILES": 1},
        ("b", b""),
        (413, "bundle_full", {"limit": 1}),
    ),
    "count_of_django": (
        {"DATA_UPLOAD_MAX_NUMBER_FILES": 1},
        ("b", b""),
        (413, "bundle_full", {"limit": 1}),
    ),
    "name": ({}, ("..", b"b"), (400, "bad_name", {})),
    "encoding": ({}, (b"\xff", b"b"), (400, "bad_name", {})),
    "same_name": ({}, ("a", b"b"), (400, "duplicate_name", {})),
    "same_canonical_name": ({}, ("x/a\u200b", b"b"), (400, "duplicate_name", {})),
}


@pytest.mark.parametrize(("conf", "second", "answer"), REFUSED.values(), ids=REFUSED)
def test_post__second_file_refused__nothing_kept(
    client, settings, conf, second, answer
):
    for name, value in conf.items():
        setattr(settings, name, value)
    status, code, more = answer
    response = client.post(LIST, **form(("a", b"first"), second))
    problem(response, status, code, **more)
    assert client.get(LIST).json() == []
    assert nothing_left()


def test_post__second_file_refused__old_files_stay(client):
    client.post(LIST, **form(("a", b"old")))
    files = on_disk()
    problem(client.post(LIST, **form(("a", b"new"), ("..", b""))), 400, "bad_name")
    assert sees(client, "a") == b"old"
    assert on_disk() == files
    assert Attachment.objects.count() == 1


def test_post__nfc_and_nfd_are_one_name(client):
    response = client.post(LIST, **form(("caf\u00e9", b""), ("cafe\u0301", b"")))
    problem(response, 400, "duplicate_name")


def test_post__validator_that_crashes_refuses(client, settings, caplog):
    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_views.crash"]
    problem(client.post(LIST, **form(("a", b"a"))), 422, "invalid")
    assert "tests.test_views.crash failed" in caplog.text
    assert nothing_left()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"data": {}}, "no_file"),
        ({"data": {"title": "no file"}}, "no_file"),
        (form(title="no file"), "no_file"),
        (form(("", b"")), "no_file"),
        (form(("", b"data")), "bad_name"),
        ({"CONTENT_TYPE": FORM, **EMPTY}, "no_file"),
        ({"data": b"a=b", "content_type": "application/x-www-form-urlencoded"}, None),
        ({"data": b"{}", "content_type": "application/json"}, None),
        ({"data": b"spam", "content_type": ""}, None),
        ({"data": b"spam", "content_type": "multipart/form-data"}, None),
    ],
)
def test_post__no_file(client, body, code):
    problem(client.post(LIST, **body), 400, code or "malformed")
    assert nothing_left()


def test_delete__bundle(client):
    client.post(LIST, **form(("a", b"a"), ("b", b"b")))
    assert client.delete(LIST).json() == [[True], [True]]
    assert client.delete(LIST).json() == []
    assert nothing_left()


def test_post_delete__bundle(client):
    client.post(LIST, **form(("a", b"a"), ("delete", b"b")))
    assert client.post(f"{LIST}delete/").json() == [[True], [True]]
    assert client.post(f"{LIST}delete").json() == []
    assert nothing_left()


# -- one file


def test_put__new_then_replaced(client):
    created = client.put(SPAM, b"spam\n", content_type="image/png")
    assert created.status_code == 201
    item = created.json()
    assert (item["name"], item["size"]) == ("spam.txt", 5)
    assert item["mimetype"] == "text/plain"
    assert client.get(LIST).json() == [item]
    replaced = client.put(SPAM, b"more")
    assert replaced.status_code == 200
    assert replaced.json()["etag"] != item["etag"]
    assert client.get(LIST).json() == [replaced.json()]
    assert sees(client, "spam.txt") == b"more"


def test_put__empty_file(client):
    assert client.put(SPAM, b"", **EMPTY).status_code == 201
    assert sees(client, "spam.txt") == b""


def test_put__without_slash(client):
    assert client.put(SPAM.rstrip("/"), b"spam").status_code == 201
    assert content(client.get(SPAM.rstrip("/"))) == b"spam"
    assert client.delete(SPAM.rstrip("/")).json() == [True]


def test_put__name_is_made_canonical(client):
    item = client.put("/attachments/foo/ cafe%CC%81%E2%80%8B /", b"spam").json()
    assert item["name"] == "caf\u00e9"
    assert sees(client, "cafe\u0301") == b"spam"
    assert client.delete(item["url"]).json() == [True]


def test_put__form_is_not_content(client):
    problem(client.put(SPAM, b"spam", content_type=FORM), 400, "malformed")
    assert nothing_left()


def test_put__part_of_a_file_is_not_the_file(client):
    """RFC 9110, section 14.5: what `curl -C 5 -T` sends."""
    response = client.put(SPAM, b"spam", headers={"content-range": "bytes 5-8/9"})
    problem(response, 400, "malformed")
    assert nothing_left()


@pytest.mark.parametrize("name", ["%20", "..", ".", "x" * 256, "%00", "%C2%85"])
def test_file__bad_name(client, name):
    path = f"/attachments/foo/{name}/"
    for method in ("GET", "PUT", "DELETE"):
        problem(client.generic(method, path), 400, "bad_name")
    problem(client.post(f"{path}delete/"), 400, "bad_name")


@pytest.mark.parametrize("name", ["%20%00", "..", ".", "x" * 256, "%00", "e%CC%81"])
def test_bundle__bad_id(client, name):
    path = f"/attachments/{name}/"
    for method in ("GET", "POST", "DELETE"):
        problem(client.generic(method, path), 400, "bad_bundle")
    for method in ("GET", "PUT", "DELETE", "POST"):
        problem(client.generic(method, f"{path}delete/"), 400, "bad_bundle")
        if method != "POST":
            problem(client.generic(method, f"{path}a/"), 400, "bad_bundle")
    problem(client.post(f"{path}a/delete/"), 400, "bad_bundle")


def test_bundle__id_is_not_altered(client):
    for bundle in ("foo", "Foo", "%20foo", "foo%20", "f%C3%B6o", "a%5Cb"):
        client.put(f"/attachments/{bundle}/spam.txt/", bundle.encode())
    for bundle in ("foo", "Foo", "%20foo", "foo%20", "f%C3%B6o", "a%5Cb"):
        path = f"/attachments/{bundle}/"
        assert names(client, path) == ["spam.txt"]
        [item] = client.get(path).json()
        assert content(client.get(item["url"])) == bundle.encode()


def test_names__case_accents_and_spaces_differ(client):
    for name in ("a", "A", "á", "a.", "a\u0323"):
        assert client.put(f"/attachments/foo/{name}/", name.encode()).status_code == 201
    assert len(names(client)) == 5
    assert sees(client, "A") == b"A"


def test_delete__file(client):
    client.put(SPAM, b"spam")
    assert client.delete(SPAM).json() == [True]
    problem(client.delete(SPAM), 404, "not_found")
    problem(client.get(SPAM), 404, "not_found")
    assert nothing_left()


def test_post_delete__file(client):
    client.put(SPAM, b"spam")
    assert client.post(f"{SPAM}delete/").json() == [True]
    assert client.post(f"{SPAM}delete/").json() == [False]
    assert nothing_left()


@pytest.mark.parametrize("path", [f"{LIST}delete/", f"{LIST}delete"])
def test_file_called_delete(client, path):
    problem(client.get(path), 404, "not_found")
    created = client.put(path, b"spam")
    assert created.status_code == 201
    assert created.json()["name"] == "delete"
    assert content(client.get(path)) == b"spam"
    assert client.head(path).status_code == 200
    client.put(SPAM, b"spam")
    assert client.post(created.json()["delete_url"]).json() == [True]
    assert names(client) == ["spam.txt"]
    client.put(path, b"spam")
    assert client.delete(path).json() == [True]
    assert names(client) == ["spam.txt"]
    assert client.post(path).json() == [[True]]
    assert nothing_left()


# -- conditions


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_if_match(client, method):
    etag = client.put(SPAM, b"old").json()["etag"]
    wrong = ['"other"', f"W/{etag}", etag.strip('"'), '"a", "b"', "", "x" * 40]
    for value in wrong:
        response = client.generic(method, SPAM, b"new", headers={"if-match": value})
        problem(response, 412, "precondition_failed")
        assert sees(client, "spam.txt") == b"old"
    right = f'"other", {etag}'
    response = client.generic(method, SPAM, b"new", headers={"if-match": right})
    assert response.status_code == 200


def test_if_match__any(client):
    response = client.put(SPAM, b"new", headers={"if-match": "*"})
    problem(response, 412, "precondition_failed")
    assert nothing_left()
    client.put(SPAM, b"old")
    assert client.put(SPAM, b"new", headers={"if-match": "*"}).status_code == 200


def test_if_none_match__any(client):
    headers = {"if-none-match": "*"}
    assert client.put(SPAM, b"old", headers=headers).status_code == 201
    response = client.put(SPAM, b"new", headers=headers)
    problem(response, 412, "precondition_failed")
    assert sees(client, "spam.txt") == b"old"


@pytest.mark.parametrize("weak", ["", "W/"])
def test_if_none_match__etag(client, weak):
    etag = client.put(SPAM, b"old").json()["etag"]
    headers = {"if-none-match": f'"other", {weak}{etag}'}
    problem(client.put(SPAM, b"new", headers=headers), 412, "precondition_failed")
    headers = {"if-none-match": '"other"'}
    assert client.put(SPAM, b"new", headers=headers).status_code == 200


@pytest.mark.parametrize("replaced", ["before", "meanwhile"])
def test_if_match__replaced(client, replaced):
    etag = client.put(SPAM, b"old").json()["etag"]
    second = Client()
    second.cookies = client.cookies

    def replace():
        assert second.put(SPAM, b"between").status_code == 200

    if replaced == "before":
        replace()
        body = Stream([b"new"], 3)
    else:
        body = Stream([b"n", replace, b"ew"], 3)
    response = client.generic("PUT", SPAM, headers={"if-match": etag}, **body.extra)
    problem(response, 412, "precondition_failed")
    assert body.taken == (0 if replaced == "before" else 3)
    assert sees(client, "spam.txt") == b"between"
    assert len(on_disk()) == Attachment.objects.count()
    assert Attachment.objects.stored().count() == 1


def test_if_none_match__created_meanwhile(client):
    client.put("/attachments/foo/egg.txt/", b"egg")
    second = Client()
    second.cookies = client.cookies
    body = Stream([b"n", lambda: second.put(SPAM, b"first"), b"ew"], 3)
    response = client.generic("PUT", SPAM, headers={"if-none-match": "*"}, **body.extra)
    problem(response, 412, "precondition_failed")
    assert sees(client, "spam.txt") == b"first"


@pytest.mark.parametrize("remove", [("DELETE", SPAM), ("POST", f"{SPAM}delete/")])
def test_if_match__removal(client, remove):
    """By POST as by DELETE."""
    etag = client.put(SPAM, b"old").json()["etag"]
    second = Client()
    second.cookies = client.cookies
    newer = second.put(SPAM, b"new").json()["etag"]
    response = client.generic(*remove, headers={"if-match": etag})
    problem(response, 412, "precondition_failed")
    response = client.generic(*remove, headers={"if-none-match": f"{newer}"})
    problem(response, 412, "precondition_failed")
    assert sees(client, "spam.txt") == b"new"
    assert client.generic(*remove, headers={"if-match": newer}).json() == [True]


def test_if_match__removal_of_what_is_not_there(client):
    """By POST this would be a success without the condition, by DELETE it is none."""
    for headers in ({"if-match": "*"}, {"if-match": '"other"'}):
        response = client.post(f"{SPAM}delete/", headers=headers)
        problem(response, 412, "precondition_failed")
        problem(client.delete(SPAM, headers=headers), 404, "not_found")
    headers = {"if-none-match": "*"}
    assert client.post(f"{SPAM}delete/", headers=headers).json() == [False]


@pytest.mark.parametrize(
    "change",
    [("PUT", SPAM, b"new"), ("DELETE", SPAM), ("POST", f"{SPAM}delete/")],
    ids=lambda change: change[0],
)
def test_if_unmodified_since(client, change):
    client.put(SPAM, b"old")
    date = http_date(Attachment.objects.get().created.timestamp() - 1)
    headers = {"if-unmodified-since": date}
    response = client.generic(*change, headers=headers)
    problem(response, 412, "precondition_failed")
    assert sees(client, "spam.txt") == b"old"
    headers = {"if-unmodified-since": client.head(SPAM)["Last-Modified"]}
    assert client.generic(*change, headers=headers).status_code == 200


def test_if_unmodified_since__replaced_meanwhile(client):
    client.put(SPAM, b"old")
    Attachment.objects.update(created=timezone.now() - timedelta(days=1))
    date = client.head(SPAM)["Last-Modified"]
    second = Client()
    second.cookies = client.cookies
    body = Stream([b"n", lambda: second.put(SPAM, b"between"), b"ew"], 3)
    headers = {"if-unmodified-since": date}
    response = client.generic("PUT", SPAM, headers=headers, **body.extra)
    problem(response, 412, "precondition_failed")
    assert sees(client, "spam.txt") == b"between"


@pytest.mark.parametrize("change", ["POST", "DELETE", "POST delete/"])
def test_conditions__of_a_bundle(client, change):
    """It is always there, and has no entity tag."""
    method, _, path = change.partition(" ")
    etag = client.put(SPAM, b"old").json()["etag"]
    sent = form(("egg.txt", b"egg")) if change == "POST" else {}
    for headers in ({"if-none-match": "*"}, {"if-match": etag}, {"if-match": ""}):
        response = client.generic(method, f"{LIST}{path}", headers=headers, **sent)
        problem(response, 412, "precondition_failed")
    assert names(client) == ["spam.txt"]
    assert len(on_disk()) == Attachment.objects.count() == 1
    for headers in ({"if-match": "*"}, {"if-none-match": etag}):
        response = client.generic(method, f"{LIST}{path}", headers=headers, **sent)
        assert response.status_code == 200
    assert names(client) == (["egg.txt", "spam.txt"] if sent else [])


def test_conditions__of_a_bundle_are_tested_before_the_body(client):
    data = form(("egg.txt", b"egg"))["data"]
    body = Stream([data], len(data))
    sent = body.extra | {"CONTENT_TYPE": FORM}
    response = client.generic("POST", LIST, headers={"if-none-match": "*"}, **sent)
    problem(response, 412, "precondition_failed")
    assert body.taken == 0
    assert not client.cookies
    assert nothing_left()


def test_put__logged_out_meanwhile(client):
    client.put(SPAM, b"old")
    second = Client()
    second.cookies = client.cookies

    def end():
        Attachment.objects.all().doom(timezone.now())

    body = Stream([b"n", end, b"ew"], 3)
    problem(client.generic("PUT", SPAM, **body.extra), 403, "access")


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_storage__fails(client, monkeypatch, caplog, method):
    def fail(*args):
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr("session_attachments.storage._make_folders", fail)
        if method == "PUT":
            response = client.put(SPAM, b"spam")
        else:
            response = client.post(LIST, **form(("spam.txt", b"spam")))
    problem(response, 503, "storage")
    assert response["Retry-After"] == "30"
    assert "The attachment storage failed" in caplog.text
    assert nothing_left()
    assert client.put(SPAM, b"spam").status_code == 201


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_database__cannot_decide(client, monkeypatch, method):
    monkeypatch.setattr("session_attachments.contention.ATTEMPTS", 2)
    client.put(f"{LIST}egg.txt/", b"egg")

    def collide(*args, **kwargs):
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Attachment, "save", collide)
        if method == "PUT":
            response = client.put(SPAM, b"spam")
        else:
            response = client.post(LIST, **form(("spam.txt", b"spam")))
    problem(response, 503, "busy")
    assert response["Retry-After"] == "1"
    assert names(client) == ["egg.txt"]
    assert len(on_disk()) == Attachment.objects.count() == 1


def test_body__short(client):
    for length in (0, 4):
        body = Stream([b"spam"[:length]], 5)
        problem(client.generic("PUT", SPAM, **body.extra), 400, "incomplete_body")
    body = Stream([file_part("a", b"spam")], 1000)
    response = client.post(LIST, CONTENT_TYPE=FORM, **body.extra)
    problem(response, 400, "incomplete_body")
    assert nothing_left()


# -- two visitors


def test_visitors__see_only_their_own(client, stranger):
    for visitor, data in ((client, b"mine"), (stranger, b"theirs")):
        visitor.post(LIST, **form(("spam.txt", data), ("egg.txt", data)))
    mine, theirs = client.get(LIST).json(), stranger.get(LIST).json()
    assert names(client) == names(stranger) == ["egg.txt", "spam.txt"]
    assert not {item["etag"] for item in mine} & {item["etag"] for item in theirs}
    assert sees(client, "spam.txt") == b"mine"
    assert sees(stranger, "spam.txt") == b"theirs"

    assert client.put(SPAM, b"my second").status_code == 200
    assert stranger.get(LIST).json() == theirs
    assert sees(stranger, "spam.txt") == b"theirs"

    assert client.post(f"{SPAM}delete/").json() == [True]
    assert client.delete(f"{LIST}egg.txt/").json() == [True]
    assert stranger.get(LIST).json() == theirs

    client.post(LIST, **form(("a", b""), ("b", b""), ("c", b"")))
    assert len(client.post(f"{LIST}delete/").json()) == 3
    assert stranger.get(LIST).json() == theirs
    assert sees(stranger, "egg.txt") == b"theirs"

    client.put(SPAM, b"my third")
    assert len(stranger.delete(LIST).json()) == 2
    assert sees(client, "spam.txt") == b"my third"


def test_strangers_file__is_as_one_that_never_was(client, stranger):
    etag = client.put(SPAM, b"mine").json()["etag"]
    stranger.put(f"{LIST}egg.txt/", b"theirs")
    requests = [
        ("GET", "", {}),
        ("HEAD", "", {}),
        ("GET", "", {"range": "bytes=0-0"}),
        ("GET", "", {"if-none-match": etag}),
        ("GET", "", {"if-match": etag}),
        ("DELETE", "", {}),
        ("DELETE", "", {"if-match": etag}),
        ("POST", "delete/", {}),
        ("PUT", "", {"if-match": etag}),
    ]
    for visitor in (stranger, Client()):
        for method, path, headers in requests:
            found, unknown = (
                visitor.generic(method, f"{LIST}{name}/{path}", b"", headers=headers)
                for name in ("spam.txt", "nope.txt")
            )
            assert found.status_code == unknown.status_code
            assert found.content == unknown.content
            assert found.headers == unknown.headers
    assert names(stranger) == ["egg.txt"]
    assert sees(client, "spam.txt") == b"mine"


# -- what Django and the site raise

raised = {
    "404": (Http404("secret"), 404, "not_found", "There is no such file."),
    "403": (PermissionDenied(), 403, "access", "You may not do this."),
    "reason": (PermissionDenied("Not you."), 403, "access", "Not you."),
    "suspicious": (DisallowedHost("secret"), 400, "malformed", None),
    "bad": (BadRequest("secret"), 400, "malformed", None),
}


def raises(request, row):
    """Sends no file."""
    raise raised[request.headers["X-Case"]][0]


@pytest.mark.parametrize("case", raised)
def test_error__of_django(client, settings, case):
    client.put(SPAM, b"spam")
    settings.SESSION_ATTACHMENTS_DOWNLOADS = f"{__name__}.raises"
    _, status, code, detail = raised[case]
    answer = problem(client.get(SPAM, headers={"x-case": case}), status, code)
    assert detail in (None, answer["detail"])
    assert "secret" not in answer["detail"]
    head = client.head(SPAM, headers={"x-case": case})
    assert (head.status_code, head.content) == (status, b"")


def test_error__too_many_parameters(client, settings):
    client.put(SPAM, b"spam")
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10
    query = "&".join(f"a{n}=1" for n in range(11))
    problem(client.get(f"{SPAM}?{query}"), 400, "malformed")
    problem(client.get(f"{SPAM}?meta&{query}"), 400, "malformed")


def test_error__defect_is_the_sites(client, settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "no.such.thing"
    client.put(SPAM, b"spam")
    with pytest.raises(ImportError):
        client.get(SPAM)


# -- anything else


def test_path__that_is_told_decoded_only(client):
    """As by Django's own development server."""
    for path in ("foo/%FF", "foo/a%C3/", "%FF/delete/"):
        problem(client.get(f"/attachments/{path}"), 400, "bad_name")
    assert client.put("/attachments/foo/100%25.txt", b"x").json()["name"] == "100%.txt"


@pytest.mark.parametrize("variable", ["RAW_URI", "REQUEST_URI"])
def test_path__is_looked_at_as_it_came(client, variable):
    """Django has decoded what is not UTF-8, each server's way."""
    for path in ("foo/%FF", "foo/%C3/", "%ED%A0%80/", "%FF/delete/"):
        url = f"/attachments/{path}"
        problem(client.get(url, **{variable: url}), 400, "bad_name")
        problem(client.get(url, **{variable: f"http://host{url}?x=y"}), 400, "bad_name")
    for path in ("foo/", "foo/?x=%FF", "f%C3%B6o/"):
        url = f"/attachments/{path}"
        assert client.get(url, **{variable: url}).status_code == 200


@pytest.mark.parametrize(
    ("raw_path", "status"), [(b"/foo/%FF", 400), (b"/foo/a", 411), (None, 411)]
)
def test_path__is_looked_at_as_it_came_under_asgi(raw_path, status):
    scope = {"type": "http", "method": "PUT", "path": "/foo/\ufffd"}
    request = ASGIRequest(scope | {"raw_path": raw_path, "headers": []}, None)
    request.session = SessionStore()
    response = FileView.as_view()(request, bundle_id="foo", file_name="\ufffd")
    assert response.status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    ["", "foo", "/", "foo//", "foo/a/b", "foo/a/b/", "foo/a/delete", "foo/a/delete/b/"],
)
def test_path__nothing_of_ours(client, method, path):
    response = client.generic(method, f"/attachments/{path}")
    if method == "HEAD":
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"
        assert response.content == b""
    else:
        problem(response, 404, "not_found")


FILE_METHODS = ["DELETE", "GET", "HEAD", "PUT"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("foo/", ["DELETE", "GET", "HEAD", "POST"]),
        ("foo/spam.txt/", FILE_METHODS),
        ("foo/spam.txt", FILE_METHODS),
        ("foo/delete/", [*FILE_METHODS, "POST"]),
        ("foo/delete", [*FILE_METHODS, "POST"]),
        ("foo/spam.txt/delete/", ["POST"]),
    ],
)
def test_method__not_allowed(client, path, allow):
    every = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "OPTIONS", "TRACE", "FOO"]
    for method in every:
        response = client.generic(method, f"/attachments/{path}")
        assert (response.status_code == 405) == (method not in allow)
        if method not in allow and method != "HEAD":
            problem(response, 405, "method_not_allowed")
        if method not in allow:
            assert sorted(response["Allow"].split(", ")) == sorted(allow)


@pytest.mark.parametrize(
    "path", [LIST, SPAM, f"{LIST}nope/", "/attachments/..%20/", f"{SPAM}delete/", "/x"]
)
def test_head__as_get_without_the_body(client, path):
    client.put(SPAM, b"spam\n")
    get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    length = str(len(content(get)))
    assert head["Content-Length"] == length
    assert {**get.headers, "Content-Length": length} == dict(head.headers)


# -- the site around us


def read_post_first(get_response):
    """A site's middleware that looks into every form."""

    def middleware(request):
        request.POST.get("title")
        return get_response(request)

    return middleware


def read_body_first(get_response):
    """A site's middleware that takes the body, as some loggers do."""

    def middleware(request):
        assert request.body is not None
        return get_response(request)

    return middleware


@pytest.mark.parametrize("reader", ["read_post_first", "read_body_first"])
def test_middleware__has_read_the_form(client, settings, reader):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"tests.test_views.{reader}"]
    sent = form(("b.txt", b"b" * 70_000), ("x/a.txt", b"a"), ("c", b""), title="t")
    items = client.post(LIST, **sent).json()
    assert [(i["name"], i["size"]) for i in items] == [
        ("a.txt", 1),
        ("b.txt", 70_000),
        ("c", 0),
    ]
    assert sees(client, "b.txt") == b"b" * 70_000
    problem(client.post(LIST, **form(title="t")), 400, "no_file")
    duplicates = form(("a", b""), ("a", b""))
    problem(client.post(LIST, **duplicates), 400, "duplicate_name")
    assert client.put(SPAM, b"spam").status_code == 201
    assert sees(client, "spam.txt") == b"spam"
    assert client.post(f"{SPAM}delete/").json() == [True]


@pytest.mark.parametrize("reader", ["read_post_first", "read_body_first"])
def test_middleware__has_read_a_form_that_is_cut(client, settings, reader):
    """Django's parser takes it for complete."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"tests.test_views.{reader}"]
    sent = form(("a", b"a" * 5000), ("b", b"b" * 5000))
    body = Stream([sent["data"][:-3000]], len(sent["data"]))
    extra = {**body.extra, "CONTENT_TYPE": sent["content_type"]}
    problem(client.generic("POST", LIST, **extra), 400, "incomplete_body")
    assert nothing_left()


@pytest.mark.parametrize("lost", [(b"..", b"a"), (b"\xff", b"a")])
def test_middleware__has_read_a_form_that_can_be_read_again(
    live_processes, settings, lost
):
    """Then nothing of it is lost, though Django's parser loses files without a word."""
    server = live_processes(
        "asgi", MIDDLEWARE=[*settings.MIDDLEWARE, "tests.test_views.read_post_first"]
    )
    with visit(server) as visitor:
        sent = form(("a", b"a"), lost)
        content_type = sent["content_type"]
        answer = visitor.request("POST", LIST, sent["data"], Content_Type=content_type)
        problem(answer, 400, "bad_name")
    assert nothing_left()


@pytest.fixture
def atomic_requests():
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("atomic_requests")
def test_atomic_requests__all_calls(client):
    def committed():
        assert not connection.in_atomic_block
        [row] = Attachment.objects.filter(name="spam.txt")
        assert row.state == State.UPLOADING

    body = Stream([b"sp", committed, b"am"], 4)
    assert client.generic("PUT", SPAM, **body.extra).status_code == 201
    assert sees(client, "spam.txt") == b"spam"
    assert client.post(LIST, **form(("egg.txt", b"egg"))).status_code == 200
    assert names(client) == ["egg.txt", "spam.txt"]
    problem(client.post(LIST, **form(("a", b""), ("..", b""))), 400, "bad_name")
    assert client.delete(SPAM).json() == [True]
    assert client.post(f"{LIST}egg.txt/delete/").json() == [True]
    assert client.post(f"{LIST}delete/").json() == []
    assert client.delete(LIST).json() == []
    assert nothing_left()


# -- what a read costs


def test_get__list_is_two_queries(client, django_assert_num_queries):
    client.post(LIST, **form(*((f"{n}.txt", b"") for n in range(10))))
    with django_assert_num_queries(2):
        assert len(client.get(LIST).json()) == 10


def test_get__download_is_two_queries(client, django_assert_num_queries):
    client.put(SPAM, b"spam")
    with django_assert_num_queries(2):
        assert sees(client, "spam.txt") == b"spam"


def test_get__no_session_is_no_query(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get(LIST).json() == []
        problem(client.get(SPAM), 404, "not_found")


@pytest.mark.parametrize("known", [False, True])
def test_read__writes_no_session(client, known):
    if known:
        client.put(SPAM, b"spam")
        Session.objects.update(session_data="")  # which a save would fill
        client.cookies.clear()
    for path in (LIST, SPAM, f"{LIST}nope/"):
        for method in (client.get, client.head):
            response = method(path)
            response.close()
            assert "sessionid" not in response.cookies
    client.delete(SPAM)
    client.delete(LIST)
    client.post(f"{SPAM}delete/")
    assert Session.objects.count() == known


def test_refused__creates_no_session(client):
    problem(client.post(LIST, data=b"{}", content_type="text/plain"), 400, "malformed")
    problem(client.put(SPAM, b"a", content_type=FORM), 400, "malformed")
    problem(client.generic("PUT", SPAM), 411, "length_required")
    assert Session.objects.count() == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_database__that_is_locked_for_too_long(client, method, caplog):
    """Also where it is the session that cannot be read or saved."""
    client.put(SPAM, b"spam\n")

    def locked(*args):
        raise OperationalError("database is locked")

    with connection.execute_wrapper(locked):
        response = client.generic(method, SPAM, b"new")
    problem(response, 503, "busy")
    assert response["Retry-After"] == "1"
    assert "database is locked" in caplog.text
    assert content(client.get(SPAM)) == b"spam\n"
