"""Whose a file is: on every session engine, whatever the rest of the site does."""

import contextlib
import json
import logging
import threading
from datetime import timedelta
from importlib import import_module

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.test import Client
from django.urls import include, path

from session_attachments import access, storage
from session_attachments.bundles import Bundle
from session_attachments.exceptions import SessionEnded
from session_attachments.models import Attachment
from session_attachments.sweep import remove_outdated
from tests.lifecycle import (
    OLD_AGE,
    assert_only,
    before,
    elsewhere,
    files,
    in_parallel,
    states,
    visitor,
)
from tests.wire import problem

# -- a site


def log_in(request, name):
    user, _ = User.objects.get_or_create(username=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse(name)


def log_out(request):
    logout(request)
    return HttpResponse()


def change_password(request):
    request.user.set_password("new")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse()


def cycle(request):
    request.session.cycle_key()
    return HttpResponse()


def remember(request, key):
    request.session[key] = True
    return HttpResponse()


def recall(request):
    """What the site itself keeps in the session."""
    own = {key for key, _ in request.session.items() if not key.startswith("_")}
    return HttpResponse(",".join(sorted(own)))


def token(request):
    return HttpResponse(get_token(request))


urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("login/<name>", log_in),
    path("logout", log_out),
    path("password", change_password),
    path("cycle", cycle),
    path("remember/<key>", remember),
    path("recall", recall),
    path("token", token),
]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.test_access"),
]

SERVER_SIDE = ["db", "cache", "cached_db", "file"]
ENGINES = [*SERVER_SIDE, "signed_cookies"]
COOKIE = django_settings.SESSION_COOKIE_NAME


def use(settings, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"


@pytest.fixture(params=ENGINES)
def engine(request, settings):
    """Each session engine in turn."""
    use(settings, request.param)
    return request.param


@pytest.fixture(params=SERVER_SIDE)
def server_side(request, settings):
    """Each session engine that keeps the session's data to itself."""
    use(settings, request.param)
    return request.param


@pytest.fixture
def signed_cookies(settings):
    """The session engine that keeps nothing: the browser has all of it."""
    use(settings, "signed_cookies")


class Visitor(Client):
    """A browser, with what it can do to its files."""

    def with_cookie(self):
        """Another request of the same browser, in flight at the same time."""
        return with_cookie(self.cookie)

    @property
    def cookie(self):
        return self.cookies[COOKIE].value if COOKIE in self.cookies else None

    def upload(self, name="spam.txt", data=b"spam\n", bundle="foo"):
        return self.post(
            f"/attachments/{bundle}/", {"file": SimpleUploadedFile(name, data)}
        )

    def files(self, bundle="foo"):
        """What the browser can reach: name to bytes."""
        response = self.get(f"/attachments/{bundle}/")
        assert response.status_code == 200
        return {
            item["name"]: b"".join(self.get(item["url"]).streaming_content)
            for item in response.json()
        }


def with_cookie(value):
    visitor = Visitor()
    if value is not None:
        visitor.cookies[COOKIE] = value
    return visitor


def stored_sessions():
    """How many sessions the server has."""
    return Session.objects.count() + sum(
        len(list(django_settings.FOLDERS[name].iterdir()))
        for name in ("sessions", "cache")
    )


def session_data(cookie):
    """What is kept under this cookie."""
    engine = import_module(django_settings.SESSION_ENGINE)
    return dict(engine.SessionStore(cookie).items())


def end_session(cookie):
    import_module(django_settings.SESSION_ENGINE).SessionStore(cookie).delete()


def while_uploading(monkeypatch, call):
    """Do it when the bytes of the next upload are there and it is not published."""
    before(monkeypatch, storage.Sink, "deliver", lambda: elsewhere(call))


# -- the first upload


def test_first_upload__brings_the_cookie(engine):
    browser = Visitor()
    response = browser.upload()
    assert response.status_code == 200
    assert COOKIE in response.cookies
    assert browser.files() == {"spam.txt": b"spam\n"}


def test_first_upload__by_put(engine):
    browser = Visitor()
    assert browser.put("/attachments/foo/a/", b"spam\n").status_code == 201
    assert browser.files() == {"a": b"spam\n"}


def test_second_upload__leaves_the_session_alone(engine):
    browser = Visitor()
    browser.upload("a")
    kept = session_data(browser.cookie)
    response = browser.upload("b")
    assert COOKIE not in response.cookies
    assert session_data(browser.cookie) == kept
    assert sorted(browser.files()) == ["a", "b"]


def test_parallel_first_uploads__of_one_session_lose_nothing(server_side, monkeypatch):
    """All four have found a session without a pin when the first one saves it."""
    browser = Visitor()
    browser.get("/remember/a")
    loaded = threading.Barrier(4)
    store = import_module(django_settings.SESSION_ENGINE).SessionStore
    save = store.save

    def save_together(self, *args, **kwargs):
        with contextlib.suppress(threading.BrokenBarrierError):
            loaded.wait(2)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(store, "save", save_together)
    responses = in_parallel(
        *[lambda n=n: browser.with_cookie().upload(f"{n}") for n in range(4)]
    )
    assert [response.status_code for response in responses] == [200] * 4
    assert not any(COOKIE in response.cookies for response in responses)
    assert sorted(browser.files()) == ["0", "1", "2", "3"]
    assert browser.get("/recall").content == b"a"


def test_parallel_first_uploads__signed_cookies_may_split(signed_cookies):
    """What this engine cannot promise: each answer brings a session of its own.

    The browser keeps the last. The other file is out of reach, and expires.
    """
    browser = Visitor()
    browser.get("/remember/a")
    first, second = browser.with_cookie(), browser.with_cookie()
    first.upload("1")
    second.upload("2")
    assert first.files() == {"1": b"spam\n"}
    assert second.files() == {"2": b"spam\n"}
    assert len(set(Attachment.objects.values_list("session_key"))) == 2
    assert remove_outdated(lifetime=-OLD_AGE).expired == 2


def test_pin__lost_to_a_request_that_saved_an_older_copy(server_side):
    """It is derived, so that the files are still there; and found once, it is back."""
    browser = Visitor()
    browser.get("/remember/a")
    old = session_data(browser.cookie)
    browser.upload("a")
    lose_pin(browser, old)
    assert sorted(browser.files()) == ["a"]
    assert session_data(browser.cookie)[access.PIN]
    browser.get("/login/a")
    assert sorted(browser.files()) == ["a"]
    assert browser.get("/recall").content == b"a"


def test_pin__is_put_back_into_the_session_as_it_is_now(server_side):
    browser = Visitor()
    browser.get("/remember/a")
    old = session_data(browser.cookie)
    browser.upload("a")
    lose_pin(browser, old)
    engine = import_module(django_settings.SESSION_ENGINE)
    session = engine.SessionStore(browser.cookie)
    session.get("loaded")
    browser.get("/remember/b")
    assert list(Bundle(session, "foo").items())
    assert session[access.PIN] == session_data(browser.cookie)[access.PIN]
    assert not session.modified
    assert browser.get("/recall").content == b"a,b"


def test_pin__lost_and_uploaded_again(server_side):
    browser = Visitor()
    browser.get("/remember/a")
    old = session_data(browser.cookie)
    browser.upload("a")
    lose_pin(browser, old)
    browser.upload("b")
    assert sorted(browser.files()) == ["a", "b"]


def test_pin__session_that_ends_while_it_is_put_back(server_side, monkeypatch):
    """The list does not tell of it."""
    browser = Visitor()
    browser.get("/remember/a")
    old = session_data(browser.cookie)
    browser.upload("a")
    lose_pin(browser, old)
    before(monkeypatch, access, "pin", lambda: end_session(browser.cookie))
    assert browser.get("/attachments/foo/").status_code == 200


def test_pin__lost_with_the_session(server_side):
    """The list was on its way when the session ended: nothing is brought back."""
    browser = Visitor()
    browser.get("/remember/a")
    old = session_data(browser.cookie)
    browser.upload("a")
    lose_pin(browser, old)
    engine = import_module(django_settings.SESSION_ENGINE)
    session = engine.SessionStore(browser.cookie)
    session.get("loaded")
    end_session(browser.cookie)
    assert list(Bundle(session, "foo").items())
    assert not session.modified
    assert session_data(browser.cookie) == {}


def lose_pin(browser, old):
    """Another request ends, and saves the session as it had found it."""
    engine = import_module(django_settings.SESSION_ENGINE)
    slow = engine.SessionStore(browser.cookie)
    slow.clear()
    slow.update(old)
    slow.save()
    assert access.PIN not in session_data(browser.cookie)


def test_pin__session_that_ends_before_it_is_kept(server_side, monkeypatch):
    browser = Visitor()
    browser.get("/remember/a")
    before(
        monkeypatch,
        access,
        "_derived",
        lambda: elsewhere(lambda: end_session(browser.cookie)),
    )
    response = browser.upload()
    assert (response.status_code, response.json()["code"]) == (403, "access")
    assert_only()


def test_pin__is_told_by_no_cookie(engine):
    """Two visitors of the same second, too, have each their own."""
    pins = set()
    for _ in range(3):
        browser = Visitor()
        browser.upload()
        pins.add(session_data(browser.cookie)[access.PIN])
    assert len(pins) == 3
    assert {len(pin) for pin in pins} == {64}
    assert set(Attachment.objects.values_list("session_key", flat=True)) == pins


def test_session_of__is_for_sessions_too():
    session = visitor()
    assert access.session_of(session) is session


# -- reading


READS = [
    lambda browser: browser.get("/attachments/foo/"),
    lambda browser: browser.head("/attachments/foo/"),
    lambda browser: browser.get("/attachments/foo/spam.txt/"),
    lambda browser: browser.post("/attachments/foo/other.txt/delete/"),
    lambda browser: browser.delete("/attachments/foo/other.txt/"),
    lambda browser: browser.post("/attachments/bar/delete/"),
]


def test_reading__makes_no_session(engine):
    for read in READS:
        response = read(Visitor())
        assert COOKIE not in response.cookies
    assert stored_sessions() == 0


def test_reading__writes_no_session(engine, django_assert_max_num_queries):
    browser = Visitor()
    browser.upload()
    kept = session_data(browser.cookie)
    for read in READS:
        with django_assert_max_num_queries(2):
            response = read(browser)
        assert COOKIE not in response.cookies
        response.close()
    assert session_data(browser.cookie) == kept


REFUSED = {
    411: lambda browser: browser.generic("PUT", "/attachments/foo/a/"),
    413: lambda browser: browser.put("/attachments/foo/a/", bytes(2**20 + 1)),
    400: lambda browser: browser.put("/attachments/foo/../", b"1"),
    405: lambda browser: browser.patch("/attachments/foo/a/", b"1"),
    412: lambda browser: browser.put(
        "/attachments/foo/a/", b"1", headers={"If-Match": '"1"'}
    ),
    403: lambda browser: Visitor(enforce_csrf_checks=True).upload(),
    507: lambda browser: browser.put("/attachments/foo/b/", bytes(2**20)),
}


@pytest.mark.parametrize("status", REFUSED)
def test_refused__makes_no_session(engine, settings, status):
    """A flood of requests without cookies, none of which is let in."""
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = 1 / 2
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.middleware.csrf.CsrfViewMiddleware",
    ]
    response = REFUSED[status](Visitor())
    assert response.status_code == status
    assert COOKIE not in response.cookies
    assert stored_sessions() == 0
    assert_only()


# -- two visitors


def test_visitors__who_both_upload(engine):
    """P4: the same names, in bundles of the same name."""
    a, b = Visitor(), Visitor()
    a.upload(data=b"of a")
    b.upload(data=b"of b")
    assert a.files() == {"spam.txt": b"of a"}
    assert b.files() == {"spam.txt": b"of b"}
    assert b.post("/attachments/foo/delete/").json() == [[True]]
    assert a.files() == {"spam.txt": b"of a"}
    assert b.get("/attachments/foo/spam.txt/").status_code == 404
    b.upload(data=b"again")
    assert a.files() == {"spam.txt": b"of a"}


def test_stranger__gets_what_there_is_of_nothing(engine):
    """The same answers as for a name that never was."""
    a, b = Visitor(), Visitor()
    a.upload()
    b.upload("egg.txt", bundle="bar")
    for method in (b.get, b.delete, b.head):
        response = method("/attachments/foo/spam.txt/")
        nothing = method("/attachments/foo/never.txt/")
        assert response.status_code == nothing.status_code == 404
        assert response.content == nothing.content
    assert b.get("/attachments/foo/").json() == []
    assert b.post("/attachments/foo/spam.txt/delete/").json() == [False]
    assert b.post("/attachments/foo/delete/").json() == []
    assert a.files() == {"spam.txt": b"spam\n"}


FORGERIES = [
    "",
    "0" * 32,
    "abcdefghijklmnopqrstuvwxyz012345",
    "' OR 1=1 --",
    "../../../../etc/passwd",
    "eyJhIjoxfQ:1aaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "a" * 5000,
]


def test_forged_cookie__reaches_nothing(engine):
    victim = Visitor()
    victim.upload()
    row = Attachment.objects.get()
    known = [row.session_key, row.public_id, row.bundle_digest, row.key, f"{row.pk}"]
    for value in [*FORGERIES, *known, victim.cookie[:-1], victim.cookie + "a"]:
        assert with_cookie(value).files() == {}
        response = with_cookie(value).get("/attachments/foo/spam.txt/")
        assert response.status_code == 404
    assert victim.files() == {"spam.txt": b"spam\n"}


def test_forged_cookie__that_no_database_can_look_for(engine):
    browser = with_cookie("0123456789\0abcdef")
    for response in (browser.get("/attachments/foo/"), browser.upload()):
        assert response.status_code in (200, 400)


def test_forged_cookie__is_not_adopted(engine):
    """Else who plants a cookie in a browser knows its session."""
    for value in FORGERIES:
        browser = with_cookie(value)
        assert browser.upload().status_code == 200
        assert browser.cookie != value
        assert with_cookie(value).files() == {}


def test_session__that_was_deleted(server_side):
    browser = Visitor()
    browser.upload()
    cookie = browser.cookie
    end_session(cookie)
    assert browser.files() == {}
    browser = with_cookie(cookie)
    browser.upload("egg.txt")
    assert browser.cookie != cookie
    assert sorted(browser.files()) == ["egg.txt"]


def test_session__that_has_expired(engine, settings):
    browser = Visitor()
    browser.upload()
    cookie = browser.cookie
    if engine == "signed_cookies":
        settings.SESSION_COOKIE_AGE = -1
    else:
        store = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
        store.set_expiry(timedelta(seconds=-1))
        store.save()
    assert with_cookie(cookie).files() == {}


# -- login


def test_login__keeps_the_files(engine):
    browser = Visitor()
    browser.upload()
    anonymous = browser.cookie
    browser.get("/login/a")
    assert browser.cookie != anonymous
    assert browser.files() == {"spam.txt": b"spam\n"}
    browser.upload("egg.txt")
    assert sorted(browser.files()) == ["egg.txt", "spam.txt"]


@pytest.mark.parametrize("change", ["/password", "/cycle", "/login/a"])
def test_new_key__keeps_the_files(engine, change):
    browser = Visitor()
    browser.get("/login/a")
    browser.upload()
    browser.get(change)
    assert browser.files() == {"spam.txt": b"spam\n"}


def test_login__as_somebody_else(engine):
    """Two people at one browser: the session of the first one ends."""
    browser = Visitor()
    browser.get("/login/a")
    browser.upload(data=b"of a")
    browser.get("/login/b")
    assert browser.files() == {}
    browser.upload(data=b"of b")
    assert browser.files() == {"spam.txt": b"of b"}


@pytest.mark.parametrize("change", ["/login/a", "/cycle", "/logout"])
def test_old_cookie__reaches_nothing(server_side, change):
    browser = Visitor()
    browser.upload()
    old = browser.cookie
    browser.get(change)
    assert with_cookie(old).files() == {}


def test_old_cookie__signed_cookies_cannot_promise(signed_cookies):
    """Whoever has kept an old cookie has the session as it was, and its pin.

    So has he the files, after a login too; after the logout they are gone, because it
    is their rows that it ends.
    """
    browser = Visitor()
    browser.upload()
    old = browser.cookie
    browser.get("/login/a")
    browser.upload("egg.txt")
    assert sorted(with_cookie(old).files()) == ["egg.txt", "spam.txt"]
    browser.get("/logout")
    assert with_cookie(old).files() == {}


# -- logout


def test_logout__ends_the_files(engine):
    """P4: for whoever has the cookie, and on the disk."""
    browser, other = Visitor(), Visitor()
    browser.get("/login/a")
    browser.upload()
    browser.upload(bundle="bar")
    other.upload()
    cookie = browser.cookie
    browser.get("/logout")
    for someone in (browser, with_cookie(cookie)):
        assert someone.files() == someone.files("bar") == {}
    assert other.files() == {"spam.txt": b"spam\n"}
    assert_only(*Attachment.objects.stored())


def test_logout__ends_the_upload_in_flight(engine, monkeypatch):
    browser = Visitor()
    browser.get("/login/a")
    browser.upload("a")
    cookie = browser.cookie
    while_uploading(monkeypatch, lambda: with_cookie(cookie).get("/logout"))
    response = browser.upload("b")
    assert (response.status_code, response.json()["code"]) == (403, "access")
    assert COOKIE not in response.cookies
    assert_only()


def test_logout__of_somebody_anonymous(engine):
    browser = Visitor()
    browser.upload()
    browser.get("/logout")
    assert browser.files() == {}
    assert_only()


def test_logout__under_atomic_requests(engine, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    browser = Visitor()
    assert browser.upload().status_code == 200
    assert Attachment.objects.get().key.startswith(f"{storage.PREFIX}/")
    browser.get("/logout")
    assert_only()


# -- requests in flight at the same time


def test_in_flight__what_others_store_in_the_session_stays(server_side, monkeypatch):
    """A long upload writes no old copy of the session over it."""
    browser = Visitor()
    browser.get("/remember/a")
    for name in ("b", "c"):
        while_uploading(
            monkeypatch, lambda n=name: browser.with_cookie().get(f"/remember/{n}")
        )
        assert browser.upload(name).status_code == 200
    assert browser.get("/recall").content == b"a,b,c"
    assert sorted(browser.files()) == ["b", "c"]


def test_in_flight__signed_cookies_once_it_has_a_pin(signed_cookies, monkeypatch):
    """The first upload's answer brings its copy of the session, as any answer does."""
    browser = Visitor()
    browser.upload("a")
    other = browser.with_cookie()
    while_uploading(monkeypatch, lambda: other.get("/remember/b"))
    response = browser.upload("b")
    assert COOKIE not in response.cookies
    assert sorted(other.files()) == ["a", "b"]


def last_seen(get_response):
    """A middleware that writes to the session in every request, as many sites' do."""

    def middleware(request):
        if request.path.startswith("/attachments/"):
            request.session["seen"] = True
        return get_response(request)

    return middleware


@pytest.fixture
def seen(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.last_seen"]


@pytest.mark.usefixtures("seen")
def test_in_flight__nor_what_the_site_has_written_before(server_side, monkeypatch):
    browser = Visitor()
    assert COOKIE in browser.upload("a").cookies

    def put(name):
        return browser.put(f"/attachments/foo/{name}", b"c")

    for name, send in (("b", browser.upload), ("c", put)):
        while_uploading(
            monkeypatch, lambda n=name: browser.with_cookie().get(f"/remember/{n}")
        )
        assert send(name).status_code in (200, 201)
    assert browser.get("/recall").content == b"b,c,seen"


@pytest.mark.usefixtures("seen")
def test_in_flight__login_while_the_site_writes_to_the_session(
    server_side, monkeypatch
):
    browser = Visitor()
    browser.upload("a")
    logged_in = browser.with_cookie()
    while_uploading(monkeypatch, lambda: logged_in.get("/login/a"))
    response = browser.upload("b")
    assert response.status_code == 200
    assert sorted(logged_in.files()) == ["a", "b"]


@pytest.mark.usefixtures("seen")
def test_in_flight__session_that_ended_before_it_is_written_to(
    server_side, monkeypatch
):
    browser = Visitor()
    browser.upload("a")
    before(monkeypatch, access, "settle", lambda: end_session(browser.cookie))
    problem(browser.upload("b"), 403, "access")
    assert states() == {"stored": 1}


@pytest.mark.parametrize("has_pin", [False, True])
def test_in_flight__login_loses_neither_upload_nor_pin(
    server_side, monkeypatch, has_pin
):
    """Nor does it turn the upload into an error when the work is done."""
    browser = Visitor()
    browser.get("/remember/a")
    if has_pin:
        browser.upload("a")
    logged_in = browser.with_cookie()
    while_uploading(monkeypatch, lambda: logged_in.get("/login/a"))
    response = browser.upload("b")
    assert response.status_code == 200
    assert COOKIE not in response.cookies
    assert logged_in.cookie != browser.cookie
    assert sorted(logged_in.files()) == (["a", "b"] if has_pin else ["b"])
    assert logged_in.get("/recall").content == b"a"


# -- settings of the site


def test_save_every_request(engine, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser = Visitor()
    browser.upload("a")
    browser.get("/login/a")
    browser.upload("b")
    assert sorted(browser.files()) == ["a", "b"]
    assert browser.get("/attachments/foo/").status_code == 200
    browser.get("/logout")
    assert browser.files() == {}


def test_save_every_request__makes_no_session_by_reading(engine, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    for read in READS:
        assert COOKIE not in read(Visitor()).cookies
    assert stored_sessions() == 0


def test_csrf_in_the_session(engine, settings):
    settings.CSRF_USE_SESSIONS = True
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.middleware.csrf.CsrfViewMiddleware",
    ]
    browser = Visitor(enforce_csrf_checks=True)
    assert browser.get("/attachments/foo/").status_code == 200
    assert browser.upload().status_code == 403
    assert browser.cookie is None
    assert stored_sessions() == 0
    token = browser.get("/token").content.decode()
    assert browser.upload().status_code == 403
    response = browser.put(
        "/attachments/foo/a/", b"spam\n", headers={"X-CSRFToken": token}
    )
    assert response.status_code == 201
    assert browser.files() == {"a": b"spam\n"}


# -- what nobody is told (P7)


def test_session_key__is_told_nowhere(engine, caplog, settings):
    """P7: in no row, path, URL, answer or record; and no row opens a session."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("session_attachments").setLevel(logging.DEBUG)
    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.test_access.crash"]
    browser = Visitor()
    browser.upload("bad.txt")
    settings.SESSION_ATTACHMENTS_VALIDATORS = []
    browser.upload()
    cookies = {browser.cookie}
    browser.get("/login/a")
    cookies.add(browser.cookie)
    answers = [
        browser.upload(data=b"new\n"),
        browser.put("/attachments/foo/egg.txt/", b"egg\n"),
        browser.get("/attachments/foo/"),
        browser.get("/attachments/foo/egg.txt/"),
        browser.get("/attachments/foo/never.txt/"),
        browser.post("/attachments/foo/egg.txt/delete/"),
        browser.put("/attachments/foo/../", b"1"),
    ]
    told = [json.dumps(list(Attachment.objects.values()), default=str), caplog.text]
    told += [f"{record.__dict__}" for record in caplog.records]
    told += files()
    for answer in answers:
        told.append(f"{answer.headers}{answer.request['PATH_INFO']}")
        told.append(answer.getvalue().decode())
    pin = session_data(browser.cookie)[access.PIN]
    assert all(cookie not in text for text in told for cookie in cookies)
    assert not any(pin in text for text in told[1:])
    assert states()["stored"] == 1


def crash(file):
    raise ZeroDivisionError


def test_session_ended__says_nothing_of_the_key():
    assert "session" in str(SessionEnded())
