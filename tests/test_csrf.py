"""The site's CSRF check, which is made before the body is read."""

import pytest
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.test import Client, RequestFactory

from session_attachments import csrf
from session_attachments.exceptions import CSRFRefused
from tests.wire import (
    CLOSE,
    FORM,
    Stream,
    content,
    file_part,
    form,
    nothing_left,
    part,
    problem,
)

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/attachments/foo/"
SPAM = "/attachments/foo/spam.txt/"
MIDDLEWARE = "django.middleware.csrf.CsrfViewMiddleware"
FOREIGN = {"origin": "https://evil.example"}
PAIRS = "application/x-www-form-urlencoded"


class Stricter(CsrfViewMiddleware):
    """A site's own, with another rule for origins."""

    def _origin_verified(self, request):
        return request.META["HTTP_ORIGIN"] == "https://friend.example"


def passes_everything(get_response):
    return get_response


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch):
    """What is read of a body is read before it is refused."""
    monkeypatch.setattr("session_attachments.bodies.LINGER", 0)


@pytest.fixture(params=["django", "subclass"])
def middleware(request, settings):
    path = MIDDLEWARE if request.param == "django" else f"{__name__}.Stricter"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, path]
    return path


@pytest.fixture
def visitor(middleware):
    """Has read the list once, and so has the cookie."""
    client = Client(enforce_csrf_checks=True)
    client.get(LIST)
    return client


def token(client):
    return client.cookies["csrftoken"].value


def header(client):
    return {"x-csrftoken": token(client)}


WRONG = ["x" * 32, "x" * 64, "", "nonsense", "ä"]


def changes(client, body=None, **kwargs):
    """Every request that changes something; with its body, if it has one."""
    upload = body or Stream([b"spam"], 4)
    yield upload, client.generic("PUT", SPAM, **upload.extra, **kwargs)
    data = file_part("spam.txt", b"spam") + CLOSE
    upload = Stream([data], len(data))
    yield upload, client.post(LIST, CONTENT_TYPE=FORM, **upload.extra, **kwargs)
    for method, path in (
        ("DELETE", SPAM),
        ("DELETE", LIST),
        ("POST", f"{SPAM}delete/"),
        ("POST", f"{LIST}delete/"),
    ):
        upload = Stream([], 0)
        yield upload, client.generic(method, path, **kwargs)


# -- the header


def test_header__right(visitor):
    for _, response in changes(visitor, headers=header(visitor)):
        assert response.status_code in (200, 201)


def test_header__masked_as_in_a_page(visitor, rf):
    request = rf.get("/")
    request.META["CSRF_COOKIE"] = token(visitor)
    masked = get_token(request)
    assert masked != token(visitor)
    for _, response in changes(visitor, headers={"x-csrftoken": masked}):
        assert response.status_code in (200, 201)


@pytest.mark.parametrize("wrong", WRONG)
def test_header__wrong__body_is_not_read(visitor, wrong):
    for body, response in changes(visitor, headers={"x-csrftoken": wrong}):
        problem(response, 403, "csrf")
        assert body.taken == 0
    assert nothing_left()
    assert Session.objects.count() == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_header__wrong__counts_before_the_field(visitor, wrong):
    response = visitor.post(
        LIST,
        headers={"x-csrftoken": wrong},
        **form(("a", b"a"), csrfmiddlewaretoken=token(visitor)),
    )
    problem(response, 403, "csrf")


def test_header__missing(visitor):
    for body, response in changes(visitor):
        problem(response, 403, "csrf")
        # The token may be a field of the form.
        assert body.taken == (0 if body.length == 4 else body.length)
    assert nothing_left()


def test_header__without_the_cookie(middleware):
    client = Client(enforce_csrf_checks=True)
    for body, response in changes(client, headers={"x-csrftoken": "x" * 32}):
        problem(response, 403, "csrf")
        assert body.taken == 0


def test_header__is_called_as_the_site_says(visitor, settings):
    settings.CSRF_HEADER_NAME = "HTTP_X_TOKEN"
    for _, response in changes(visitor, headers={"x-token": token(visitor)}):
        assert response.status_code in (200, 201)
    response = visitor.put(SPAM, b"spam", headers=header(visitor))
    problem(response, 403, "csrf")


def test_header__is_asked_after_the_declared_length(visitor, settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 0
    wrong = {"x-csrftoken": "x"}
    response = visitor.put(SPAM, b"spam", headers=wrong)
    problem(response, 413, "too_large", limit=0)
    response = visitor.post(LIST, headers=wrong, **form(("a", bytes(100_000))))
    problem(response, 413, "session_full", limit=0)


# -- the field of a form


def test_field__right(visitor):
    token_ = token(visitor)
    after = form(("a", b"a"), csrfmiddlewaretoken=token_)
    assert visitor.post(LIST, **after).status_code == 200
    before = part('name="csrfmiddlewaretoken"', token_.encode())
    before += file_part("b", b"b") + CLOSE
    response = visitor.generic("POST", LIST, before, content_type=FORM)
    assert response.status_code == 200
    assert [item["name"] for item in visitor.get(LIST).json()] == ["a", "b"]


@pytest.mark.parametrize("wrong", [*WRONG[:4], None])
def test_field__wrong__nothing_kept(visitor, wrong):
    visitor.post(LIST, **form(("a", b"old"), csrfmiddlewaretoken=token(visitor)))
    fields = {} if wrong is None else {"csrfmiddlewaretoken": wrong}
    response = visitor.post(LIST, **form(("a", b"new"), ("b", b""), **fields))
    problem(response, 403, "csrf")
    assert [item["name"] for item in visitor.get(LIST).json()] == ["a"]
    assert content(visitor.get(f"{LIST}a/")) == b"old"


@pytest.mark.parametrize("content_type", [PAIRS, FORM])
@pytest.mark.parametrize("path", [f"{SPAM}delete/", f"{LIST}delete/"])
def test_field__of_a_removal(visitor, path, content_type):
    visitor.put(SPAM, b"spam", headers=header(visitor))

    def remove(value):
        if content_type == FORM:
            return visitor.post(path, **form(csrfmiddlewaretoken=value))
        data = f"csrfmiddlewaretoken={value}"
        return visitor.post(path, data, content_type=PAIRS)

    problem(remove("x" * 32), 403, "csrf")
    assert content(visitor.get(SPAM)) == b"spam"
    assert remove(token(visitor)).status_code == 200
    assert nothing_left()


def test_field__of_a_large_removal_is_not_read(visitor):
    body = Stream([b"x" * 1000], 100_000)
    path = f"{SPAM}delete/"
    response = visitor.post(path, CONTENT_TYPE=PAIRS, **body.extra)
    problem(response, 400, "malformed")
    assert body.taken == 0


def test_field__means_nothing_in_a_put(visitor):
    data = f"csrfmiddlewaretoken={token(visitor)}"
    problem(visitor.put(SPAM, data, content_type=PAIRS), 403, "csrf")


# -- the origin


@pytest.mark.parametrize("by_header", [True, False])
def test_origin__foreign__body_is_not_read(visitor, by_header):
    headers = FOREIGN | (header(visitor) if by_header else {})
    for body, response in changes(visitor, headers=headers):
        problem(response, 403, "csrf")
        assert body.taken == 0
    assert nothing_left()
    response = visitor.post(
        LIST,
        headers=FOREIGN,
        **form(("a", b"a"), csrfmiddlewaretoken=token(visitor)),
    )
    problem(response, 403, "csrf")


@pytest.mark.parametrize("path", [LIST, f"{SPAM}delete/", f"{LIST}delete/"])
def test_cookie__missing__body_is_not_read(middleware, path):
    body = Stream([b"x"], 1000)
    client = Client(enforce_csrf_checks=True)
    response = client.post(path, CONTENT_TYPE=FORM, **body.extra)
    problem(response, 403, "csrf")
    assert body.taken == 0


def test_cookie__nonsense(middleware):
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "nonsense"
    for body, response in changes(client, headers={"x-csrftoken": "nonsense"}):
        problem(response, 403, "csrf")
        assert body.taken == 0
    problem(client.post(LIST, **form(("a", b""))), 403, "csrf")


def test_origin__is_judged_by_the_sites_middleware(visitor, middleware):
    friend = {"origin": "https://friend.example"} | header(visitor)
    local = {"origin": "http://testserver"} | header(visitor)
    good, bad = (local, friend) if middleware == MIDDLEWARE else (friend, local)
    assert visitor.put(SPAM, b"spam", headers=good).status_code == 201
    problem(visitor.put(SPAM, b"spam", headers=bad), 403, "csrf")


def test_origin__over_https_the_referer_counts(visitor):
    kwargs = {"headers": header(visitor), "secure": True}
    problem(visitor.put(SPAM, b"spam", **kwargs), 403, "csrf")
    kwargs["headers"] |= {"referer": "https://testserver/page/"}
    assert visitor.put(SPAM, b"spam", **kwargs).status_code == 201


# -- how the site is set up


def test_without_the_middleware(client):
    client = Client(enforce_csrf_checks=True)
    assert not csrf.is_enforced()
    for _, response in changes(client, headers=FOREIGN):
        assert response.status_code in (200, 201)


@pytest.mark.usefixtures("middleware")
def test_unenforced__as_in_a_sites_own_tests(client):
    for _, response in changes(client):
        assert response.status_code in (200, 201)


def test_sessions__hold_the_secret(settings):
    settings.CSRF_USE_SESSIONS = True
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    settings.ROOT_URLCONF = Page
    visitor = Client(enforce_csrf_checks=True)
    visitor.get(LIST)
    assert not visitor.cookies
    assert Session.objects.count() == 0

    value = visitor.get("/page/").content.decode()
    headers = {"x-csrftoken": value}
    for _, response in changes(visitor, headers=headers):
        assert response.status_code in (200, 201)
    fields = {"csrfmiddlewaretoken": value}
    assert visitor.post(LIST, **form(("a", b"a"), **fields)).status_code == 200
    for body, response in changes(visitor, headers={"x-csrftoken": "x" * 32}):
        problem(response, 403, "csrf")
        assert body.taken == 0
    problem(visitor.post(LIST, **form(("b", b"b"))), 403, "csrf")
    assert [item["name"] for item in visitor.get(LIST).json()] == ["a"]


class Page:
    """A site whose page has the token."""

    from django.urls import include, path

    urlpatterns = [
        path("attachments/", include("session_attachments.urls")),
        path("page/", lambda request: HttpResponse(get_token(request))),
    ]


@pytest.mark.parametrize("reader", ["read_post_first", "read_body_first"])
def test_middleware__has_read_the_form(settings, reader):
    reader = f"tests.test_views.{reader}"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, reader, MIDDLEWARE]
    visitor = Client(enforce_csrf_checks=True)
    visitor.get(LIST)
    fields = {"csrfmiddlewaretoken": token(visitor)}
    assert visitor.post(LIST, **form(("a", b"a"), **fields)).status_code == 200
    problem(visitor.post(LIST, **form(("b", b"b"))), 403, "csrf")
    assert visitor.put(SPAM, b"spam", headers=header(visitor)).status_code == 201
    response = visitor.post(f"{SPAM}delete/", fields)
    assert response.json() == [True]
    names = [item["name"] for item in visitor.get(LIST).json()]
    assert names == ["a"]


def test_failure_view__of_the_site_is_not_shown(visitor, settings):
    settings.CSRF_FAILURE_VIEW = f"{__name__}.failure"
    failures.clear()
    problem(visitor.put(SPAM, b"spam"), 403, "csrf")
    assert failures == ["PUT"]


failures = []


def failure(request, reason=""):
    """May look at the request as it likes."""
    assert dict(request.POST) == {}
    failures.append(request.method)
    return HttpResponse("<h1>no</h1>", status=403)


# -- reading


def test_get__sets_the_cookie_for_a_scripts_first_upload(middleware):
    client = Client(enforce_csrf_checks=True)
    response = client.get(LIST)
    assert response.cookies["csrftoken"]
    assert "sessionid" not in response.cookies
    again = client.get(LIST)
    assert token(client) == response.cookies["csrftoken"].value
    assert again.json() == []
    assert "csrftoken" not in client.get(SPAM).cookies


def test_check__leaves_the_request_alone(settings):
    settings.MIDDLEWARE = [MIDDLEWARE]
    request = RequestFactory().post("/", headers={"x-csrftoken": "x"})
    before = dict(request.META)
    for check in (csrf.check_header, csrf.check_origin):
        with pytest.raises(CSRFRefused):
            check(request)
    with pytest.raises(CSRFRefused):
        csrf.check_token(request, "y")
    assert before == request.META
    assert request.method == "POST"


def test_is_enforced__whatever_else_is_in_middleware(settings):
    settings.MIDDLEWARE = [f"{__name__}.passes_everything"]
    assert not csrf.is_enforced()
    settings.MIDDLEWARE = [f"{__name__}.passes_everything", f"{__name__}.Stricter"]
    assert csrf.is_enforced()
