"""What every request goes through, in its order, before its body is read."""

import re
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import ProgrammingError

from session_attachments import workflow
from session_attachments.exceptions import Maintenance
from tests.wire import Stream, content, form, nothing_left, problem

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/attachments/foo/"
SPAM = "/attachments/foo/spam.txt/"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


def says(value):
    """The path of a callable that returns this, and records that it was asked."""
    Told.value = value
    Told.requests = []
    return f"{__name__}.told"


class Told:
    value: object = None
    requests: list = []


def told(request):
    Told.requests.append((request.method, request.path))
    if isinstance(Told.value, Exception):
        raise Told.value
    return Told.value


def passes(request):
    return True


def refuses(request):
    raise PermissionDenied("Members only.")


def reads(client):
    yield client.get(LIST)
    yield client.get(SPAM)


def changes(client):
    yield client.post(LIST, **form(("egg.txt", b"egg")))
    yield client.put(SPAM, b"new")
    yield client.delete(SPAM)
    yield client.post(f"{SPAM}delete/")
    yield client.post(f"{LIST}delete/")
    yield client.delete(LIST)


@pytest.fixture
def visitor(client):
    client.put(SPAM, b"spam\n")
    return client


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch):
    monkeypatch.setattr("session_attachments.bodies.LINGER", 0)


def assert_unchanged(client, settings):
    settings.SESSION_ATTACHMENTS_MAINTENANCE = False
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = []
    assert content(client.get(SPAM)) == b"spam\n"


# -- the order


def test_order__each_check_is_made_before_the_next(client, settings, monkeypatch):
    """With everything wrong at once, mend one after the other: as documented."""
    monkeypatch.setattr("session_attachments.bodies.LINGER", 0)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, CSRF]
    client.handler.enforce_csrf_checks = True
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.refuses"]
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 0
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 0
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = 0
    upload = Stream([b"spam"], 4)
    sent = upload.extra | {
        "CONTENT_LENGTH": "",
        "HTTP_IF_MATCH": '"other"',
        "RAW_URI": "/attachments/foo/%FF",
    }
    statuses = []

    def refused(status, code, method="PUT", path=SPAM, **more):
        problem(client.generic(method, path, **sent), status, code, **more)
        statuses.append(status)

    refused(404, "not_found", "PATCH", "/attachments/\0/a/b/c")
    refused(405, "method_not_allowed", "PATCH", "/attachments/\0/a/")
    refused(400, "bad_name", path="/attachments/\0/a/")
    del sent["RAW_URI"]
    refused(503, "maintenance", path="/attachments/\0/a/")
    settings.SESSION_ATTACHMENTS_MAINTENANCE = False
    refused(403, "access", path="/attachments/\0/a/")
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = []
    refused(400, "bad_bundle", path="/attachments/\0/../")
    problem(client.put("/attachments/foo/../", **sent), 400, "bad_name")
    refused(411, "length_required")
    sent["CONTENT_LENGTH"] = "4"
    refused(413, "too_large", limit=0)
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1
    refused(403, "csrf")
    problem(client.delete(SPAM, **sent), 403, "csrf")
    client.handler.enforce_csrf_checks = False
    refused(404, "not_found", "DELETE")
    refused(412, "precondition_failed")
    del sent["HTTP_IF_MATCH"]
    refused(413, "session_full", limit=0)
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = 1
    refused(507, "site_full", limit=0)
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = 1
    assert upload.taken == 0
    assert not client.cookies
    assert client.generic("PUT", SPAM, **sent).status_code == 201
    assert upload.taken == 4
    page = (settings.BASE_DIR / "docs/workflow.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\d+\. .*\(([\d, ]+)\)\.$", page, re.MULTILINE)
    assert [int(n) for codes in documented for n in codes.split(", ")] == statuses


def test_order__of_a_request_that_reads(client, settings):
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    problem(client.get(f"{SPAM}downsample/x/"), 503, "maintenance")
    settings.SESSION_ATTACHMENTS_MAINTENANCE = False
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.refuses"]
    problem(client.get(SPAM), 403, "access")
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = []
    problem(client.get(SPAM), 404, "not_found")


@pytest.mark.parametrize("closed", ["MAINTENANCE", "ACCESS_CHECKS"])
def test_form__is_not_read_when_it_is_refused(client, settings, closed):
    value = {"MAINTENANCE": True, "ACCESS_CHECKS": [f"{__name__}.refuses"]}[closed]
    setattr(settings, f"SESSION_ATTACHMENTS_{closed}", value)
    data = form(("a.txt", b"a"))["data"]
    upload = Stream([data], len(data))
    content_type = form()["content_type"]
    response = client.generic("POST", LIST, content_type=content_type, **upload.extra)
    assert response.status_code in (403, 503)
    assert upload.taken == 0
    assert not client.cookies
    nothing_left()


# -- maintenance


def test_maintenance__is_off(visitor):
    for response in [*reads(visitor), *changes(visitor)]:
        assert response.status_code < 300
        response.close()


def test_maintenance__closes_everything(visitor, settings):
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    for response in [*reads(visitor), *changes(visitor)]:
        problem(response, 503, "maintenance")
        assert response["Retry-After"] == "300"
    assert_unchanged(visitor, settings)


def test_maintenance__read_only(visitor, settings):
    settings.SESSION_ATTACHMENTS_MAINTENANCE = "read-only"
    for response in changes(visitor):
        problem(response, 503, "maintenance")
    for response in reads(visitor):
        assert response.status_code == 200
        response.close()
    assert visitor.head(SPAM).status_code == 200
    assert_unchanged(visitor, settings)


@pytest.mark.parametrize(
    ("value", "read", "written"),
    [(True, 503, 503), ("read-only", 200, 503), (False, 200, 200), (None, 200, 200)],
)
def test_maintenance__is_what_a_callable_says(visitor, settings, value, read, written):
    settings.SESSION_ATTACHMENTS_MAINTENANCE = says(value)
    assert visitor.get(LIST).status_code == read
    assert visitor.put(SPAM, b"new").status_code == written
    assert Told.requests == [("GET", LIST), ("PUT", SPAM)]


@pytest.mark.parametrize("value", ["perhaps", "", "False", 1, 0, 1.0, [], object])
def test_maintenance__nonsense_is_told_to_the_site(visitor, settings, value):
    """And lets nobody in: a 1 equals True, and a 0 False."""
    settings.SESSION_ATTACHMENTS_MAINTENANCE = says(value)
    with pytest.raises(ImproperlyConfigured, match=re.escape(repr(value))):
        visitor.get(LIST)
    with pytest.raises(ImproperlyConfigured):
        visitor.delete(SPAM)
    assert_unchanged(visitor, settings)


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ({"is_superuser": True}, 200),
        ({"is_staff": True}, 503),
        ({"is_superuser": True, "is_active": False}, 503),
    ],
)
@pytest.mark.parametrize("backend", ["ModelBackend", "AllowAllUsersModelBackend"])
def test_maintenance__superusers_pass(client, settings, flags, status, backend):
    """Those that may log in: some sites know the others all the same."""
    settings.AUTHENTICATION_BACKENDS = [f"django.contrib.auth.backends.{backend}"]
    client.force_login(User.objects.create(username="a", **flags))
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    assert client.get(LIST).status_code == status
    assert client.put(SPAM, b"spam").status_code == (201 if status == 200 else 503)


def test_maintenance__of_the_users_own_table(rf, settings):
    """A migration may be what the site is closed for."""

    class User:
        @property
        def is_active(self):
            raise ProgrammingError("no such column")

    request = rf.get(LIST)
    request.user = User()
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    with pytest.raises(Maintenance):
        workflow.admit(workflow.Context.of(request))


def test_maintenance__users_without_ranks(rf, settings):
    """A user model of the site's needs neither superusers nor staff."""
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    settings.SESSION_ATTACHMENTS_STAFF_BYPASS = True
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.passes"]
    request = rf.get(LIST)
    request.user = SimpleNamespace(is_active=True)
    context = workflow.Context.of(request)
    with pytest.raises(Maintenance):
        workflow.admit(context)
    settings.SESSION_ATTACHMENTS_MAINTENANCE = False
    workflow.admit(context)


def test_maintenance__site_without_users(visitor, settings):
    settings.MIDDLEWARE = [
        path for path in settings.MIDDLEWARE if "auth" not in path.lower()
    ]
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    problem(visitor.get(LIST), 503, "maintenance")


# -- the site's own checks


@pytest.mark.parametrize("value", [True, None])
def test_access__passes(visitor, settings, value):
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.passes", says(value)]
    for response in [*reads(visitor), *changes(visitor)]:
        assert response.status_code < 300
        response.close()
    assert len(Told.requests) == 8


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (False, "You may not do this."),
        (0, "You may not do this."),
        ("", "You may not do this."),
        ([], "You may not do this."),
        (1, "You may not do this."),
        ("yes", "You may not do this."),
        (User(username="a"), "You may not do this."),
        (PermissionDenied(), "You may not do this."),
        (PermissionDenied("Log in."), "Log in."),
    ],
)
def test_access__refuses(visitor, settings, value, detail):
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.passes", says(value)]
    for response in [*reads(visitor), *changes(visitor)]:
        assert problem(response, 403, "access")["detail"] == detail
    assert_unchanged(visitor, settings)


def test_access__first_refusal_is_the_answer(visitor, settings):
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.refuses", says(False)]
    answer = problem(visitor.get(LIST), 403, "access")
    assert answer["detail"] == "Members only."
    assert Told.requests == []


def test_access__check_that_crashes_lets_nobody_in(visitor, settings):
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [says(ZeroDivisionError())]
    with pytest.raises(ZeroDivisionError):
        visitor.delete(SPAM)
    assert_unchanged(visitor, settings)


@pytest.mark.parametrize("bypass", [True, False])
@pytest.mark.parametrize("active", [True, False])
def test_access__staff_may_skip_the_checks(client, settings, bypass, active):
    backend = "django.contrib.auth.backends.AllowAllUsersModelBackend"
    settings.AUTHENTICATION_BACKENDS = [backend]
    user = User.objects.create(username="a", is_staff=True, is_active=active)
    client.force_login(user)
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.refuses"]
    settings.SESSION_ATTACHMENTS_STAFF_BYPASS = bypass
    assert client.get(LIST).status_code == (200 if bypass and active else 403)


def test_access__staff_never_skips_ownership(visitor, settings):
    """P4: nor does a superuser."""
    staff = type(visitor)()
    flags = {"is_staff": True, "is_superuser": True}
    staff.force_login(User.objects.create(username="a", **flags))
    settings.SESSION_ATTACHMENTS_STAFF_BYPASS = True
    settings.SESSION_ATTACHMENTS_ACCESS_CHECKS = [f"{__name__}.passes"]
    assert staff.get(LIST).json() == []
    problem(staff.get(SPAM), 404, "not_found")
    problem(staff.delete(SPAM), 404, "not_found")
    assert_unchanged(visitor, settings)


def test_nothing__is_told_without_the_checks(client, settings):
    """A path that is nobody's has nothing to protect."""
    settings.SESSION_ATTACHMENTS_MAINTENANCE = True
    problem(client.get("/attachments/foo/x/y"), 404, "not_found")
