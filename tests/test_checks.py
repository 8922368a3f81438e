import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from django.core.checks import run_checks
from django.core.files.storage import FileSystemStorage
from django.db import connection

from session_attachments import checks
from tests import commands
from tests.lifecycle import MINIMAL
from tests.test_conf import REFUSED, pairs

APP = "session_attachments"
LOCAL = "django.core.files.storage.FileSystemStorage"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
VISITOR = f"{APP}.middleware.visitor_middleware"
FORMS = f"{APP}.forms"


class Encrypted(FileSystemStorage):
    """A storage that must be asked for everything."""


def found():
    """What all checks of the app say now."""
    return run_checks(tags=[APP])


def ids():
    """Sorted: Django runs the checks in no order."""
    return sorted(message.id.removeprefix(f"{APP}.") for message in found())


def store_in(settings, location, backend=LOCAL):
    storage = {"BACKEND": backend, "OPTIONS": {"location": location}}
    settings.STORAGES = settings.STORAGES | {APP: storage}


def store_in_default(settings):
    storages = dict(settings.STORAGES)
    del storages[APP]
    settings.STORAGES = storages


@pytest.fixture
def good(settings, monkeypatch):
    """The test project, with what it leaves to the tests, and without forms."""
    monkeypatch.delitem(sys.modules, FORMS, raising=False)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, CSRF]
    options = {"transaction_mode": "IMMEDIATE"}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    return settings


@pytest.fixture
def other_device(monkeypatch):
    """Let one folder, and all below it, be on another device than the rest."""

    def move(folder):
        original = Path.stat

        def stat(path, **kwargs):
            fields = list(original(path, **kwargs))
            fields[2] += path.is_relative_to(folder)
            return os.stat_result(fields)

        monkeypatch.setattr(Path, "stat", stat)

    return move


# -- a site that is right


def test_checks__say_nothing_of_a_good_site(good):
    assert found() == []


def test_checks__say_of_the_test_project_what_it_lacks(monkeypatch):
    monkeypatch.delitem(sys.modules, FORMS, raising=False)
    expected = ["W001"] + ["W006"] * (connection.vendor == "sqlite")
    assert ids() == expected


# -- a site with one thing wrong

SPOILED = {}


def spoils(identifier):
    def register(function):
        SPOILED[identifier] = function
        return function

    return register


@spoils("E001")
def a_text_for_a_number(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = "50"


@spoils("E002")
def a_lease_that_no_request_can_use_up(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_UPLOAD_LEASE = 86_401


@spoils("E003")
def a_validator_that_does_not_exist(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_VALIDATORS = ["tests.nowhere.validate"]


@spoils("E004")
def no_sessions(settings, **kwargs):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != SESSIONS]


@spoils("E005")
def no_storage(settings, **kwargs):
    settings.STORAGES = {"staticfiles": settings.STORAGES["staticfiles"]}


@spoils("E006")
def no_libmagic(monkeypatch, **kwargs):
    monkeypatch.setitem(sys.modules, f"{APP}.sniffing", None)


@spoils("E007")
def a_middleware_that_does_not_exist(settings, **kwargs):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.nowhere.Middleware"]


@spoils("E008")
def a_session_engine_that_does_not_exist(settings, **kwargs):
    settings.SESSION_ENGINE = "tests.nowhere"


@spoils("E009")
def a_fallback_on_what_is_no_exception(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_STORAGES = {APP: ["builtins.print"]}


@spoils("E010")
def a_way_to_send_files_that_does_not_exist(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "tests.nowhere.send"


@spoils("E011")
def sendfile_without_its_root(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.xsendfile"


@spoils("E012")
def sendfile_from_another_folder(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.xsendfile"
    settings.SENDFILE_ROOT = settings.FOLDERS["uploads"]


@spoils("E013")
def a_redirect_to_a_folder(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "redirect"


@spoils("E014")
def form_fields_without_their_middleware(monkeypatch, **kwargs):
    monkeypatch.setitem(sys.modules, FORMS, ModuleType(FORMS))


@spoils("W001")
def no_csrf(settings, **kwargs):
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != CSRF]


@spoils("W002")
def sessions_in_cookies(settings, **kwargs):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"


@spoils("W003")
def sessions_saved_by_every_request(settings, **kwargs):
    settings.SESSION_SAVE_EVERY_REQUEST = True


@spoils("W004")
def a_public_storage(settings, **kwargs):
    store_in(settings, settings.MEDIA_ROOT / "attachments")


@spoils("W005")
def a_spool_on_another_device(settings, other_device, **kwargs):
    store_in(settings, settings.FOLDERS["attachments"], f"{__name__}.Encrypted")
    other_device(settings.FOLDERS["uploads"])


@spoils("W006")
def sqlite_as_it_comes(monkeypatch, **kwargs):
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    monkeypatch.setattr(connection, "vendor", "sqlite")


@spoils("W007")
def a_misspelt_setting(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_MAX_FILESIZE = 50


@spoils("W008")
def a_file_larger_than_a_session(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 251


@spoils("W009")
def a_relative_folder(settings, **kwargs):
    store_in(settings, "attachments")


@spoils("W010")
def sendfile_from_a_storage_that_encrypts_and_another(settings, **kwargs):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    settings.SENDFILE_BACKEND = "django_sendfile.backends.xsendfile"
    settings.SENDFILE_ROOT = settings.TEST_ROOT
    location = settings.FOLDERS["attachments"]
    encrypted = {"BACKEND": f"{__name__}.Encrypted", "OPTIONS": {"location": location}}
    settings.STORAGES = settings.STORAGES | {"encrypted": encrypted}
    settings.SESSION_ATTACHMENTS_STORAGES = [APP, "encrypted"]


@spoils("W011")
def a_storage_that_cannot_be_listed(settings, **kwargs):
    storage = {"BACKEND": MINIMAL}
    settings.STORAGES = settings.STORAGES | {APP: storage}


@spoils("W012")
def content_types_in_another_database(settings, **kwargs):
    settings.DATABASE_ROUTERS = [f"{__name__}.Apart"]


class Apart:
    """Sends the content types away."""

    def db_for_write(self, model, **hints):
        return "other" if model._meta.app_label == "contenttypes" else None


def written_ids():
    """Every id in the source of the checks."""
    for node in ast.walk(ast.parse(inspect.getsource(checks))):
        if isinstance(node, ast.keyword) and node.arg == "id":
            yield node.value.value


def test_ids__are_unique():
    written = list(written_ids())
    assert len(set(written)) == len(written)


def test_ids__are_all_tested():
    assert sorted(written_ids()) == sorted(f"{APP}.{spoilt}" for spoilt in SPOILED)


def test_ids__are_all_documented():
    text = (Path(__file__).parent.parent / "docs" / "checks.md").read_text("utf-8")
    rows = re.findall(rf"^\| `({APP}\.\w+)` \|", text, re.MULTILINE)
    assert rows == sorted(written_ids())


@pytest.mark.parametrize("identifier", SPOILED)
def test_check__reports_one_thing_with_a_hint(
    identifier, good, monkeypatch, other_device
):
    SPOILED[identifier](
        settings=good, monkeypatch=monkeypatch, other_device=other_device
    )
    [message] = found()
    assert message.id == f"{APP}.{identifier}"
    assert type(message).__name__ == {"E": "Error", "W": "Warning"}[identifier[0]]
    assert message.msg.endswith((".", ")", "'"))
    assert message.hint


@pytest.mark.parametrize("identifier", ["E001", "E003", "E005", "E007", "E008", "E009"])
def test_check__names_what_is_wrong(identifier, good, monkeypatch):
    SPOILED[identifier](settings=good, monkeypatch=monkeypatch)
    [message] = found()
    name = {
        "E001": "SESSION_ATTACHMENTS_MAX_FILE_SIZE is '50'.",
        "E003": "'tests.nowhere.validate'",
        "E005": "'default'",
        "E007": "'tests.nowhere.Middleware'",
        "E008": "'tests.nowhere.SessionStore'",
        "E009": "builtins.print",
    }[identifier]
    assert name in message.msg


# -- settings


@pytest.mark.parametrize(("name", "value"), pairs(REFUSED))
def test_settings__of_a_wrong_type_stop_no_check(good, name, value):
    setattr(good, f"SESSION_ATTACHMENTS_{name.upper()}", value)
    assert ids() == ["E001"]


def test_settings__each_wrong_one_is_reported(good):
    good.SESSION_ATTACHMENTS_MAX_FILE_SIZE = "50"
    good.SESSION_ATTACHMENTS_LIFETIME = None
    assert ids() == ["E001", "E001"]


def test_settings__a_misspelt_name_is_recognised(good):
    good.SESSION_ATTACHMENTS_MAX_FILESIZE = 50
    [message] = found()
    assert message.hint == "Did you mean SESSION_ATTACHMENTS_MAX_FILE_SIZE?"


def test_settings__a_foreign_name_is_no_suggestion(good):
    good.SESSION_ATTACHMENTS_ = 50
    [message] = found()
    assert message.msg == "There is no setting SESSION_ATTACHMENTS_."


@pytest.mark.parametrize(
    ("file", "session", "site", "expected"),
    [
        (50, 50, 50, []),
        (None, None, None, []),
        (50, None, 10, []),
        (None, 50, 10, ["W008"]),
        (51, 50, 49, ["W008", "W008"]),
    ],
)
def test_limits__are_compared(good, file, session, site, expected):
    good.SESSION_ATTACHMENTS_MAX_FILE_SIZE = file
    good.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = session
    good.SESSION_ATTACHMENTS_MAX_SITE_SIZE = site
    assert ids() == expected


def test_lease__may_be_as_long_as_a_request(good):
    good.SESSION_ATTACHMENTS_UPLOAD_LEASE = 86_400
    assert ids() == []


@pytest.mark.parametrize(
    "path",
    ["", "spam", "tests.nowhere", "tests.test_checks.APP", "tests.test_checks.nothing"],
)
def test_validator__must_lead_to_a_callable(good, path):
    good.SESSION_ATTACHMENTS_VALIDATORS = ["builtins.print", path]
    assert ids() == ["E003"]


def test_validator__whose_module_crashes_is_reported(good, tmp_path, monkeypatch):
    (tmp_path / "crashing_validator.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    good.SESSION_ATTACHMENTS_VALIDATORS = ["crashing_validator.validate"]
    [message] = found()
    assert "division by zero" in message.msg


# -- middleware and sessions


class OwnSessions(checks.SessionMiddleware):
    """A site's own kind of the middleware."""


class OwnCsrf(checks.csrf.CsrfViewMiddleware):
    """A site's own kind of the middleware."""


def own_middleware(get_response):
    """A middleware that is no class."""
    return get_response


def test_middleware__may_be_a_subclass_or_a_function(good):
    names = ["own_middleware", "OwnSessions", "OwnCsrf"]
    good.MIDDLEWARE = [f"{__name__}.{name}" for name in names]
    assert ids() == []


def test_middleware__each_broken_path_is_reported(good):
    good.MIDDLEWARE = ["spam", *good.MIDDLEWARE, "tests.nowhere.Egg"]
    assert ids() == ["E007", "E007"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([SESSIONS, VISITOR], []),
        ([f"{__name__}.OwnSessions", VISITOR], []),
        ([VISITOR, SESSIONS], ["E014"]),
        ([VISITOR], ["E004", "E014"]),
    ],
)
def test_forms__find_their_visitor_after_the_session(good, order, expected):
    rest = [path for path in good.MIDDLEWARE if path != SESSIONS]
    good.MIDDLEWARE = [*order, *rest]
    assert ids() == expected


def test_forms__are_found_where_urls_lead_to_them(good, monkeypatch):
    """Though nothing has imported the site's views yet."""
    module = ModuleType("urls_with_forms")

    def lookup(name):
        monkeypatch.setitem(sys.modules, FORMS, ModuleType(FORMS))
        return []

    module.__getattr__ = lookup
    monkeypatch.setitem(sys.modules, module.__name__, module)
    good.ROOT_URLCONF = module.__name__
    assert ids() == ["E014"]


def test_forms__helpers_for_tests_are_none(good):
    """A site's tests use them also where it has no forms."""
    code = f"""
import sys, django
from django.conf import settings
apps = ["django.contrib.contenttypes", "django.contrib.sessions", {APP!r}]
settings.configure(INSTALLED_APPS=apps)
django.setup()
import {APP}.testing
sys.exit({FORMS!r} in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_forms__a_broken_urlconf_is_left_to_django(good):
    good.ROOT_URLCONF = "tests.nowhere"
    assert ids() == []


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file"])
def test_sessions__on_the_server_are_fine(good, engine):
    good.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    assert ids() == []


# -- storage


@pytest.mark.parametrize("name", ["MEDIA_ROOT", "STATIC_ROOT"])
def test_storage__inside_a_public_folder(good, tmp_path, name):
    setattr(good, name, tmp_path)
    store_in(good, tmp_path / "deep" / "below")
    [message] = found()
    assert message.id == f"{APP}.W004"
    assert name in message.msg
    assert "'session_attachments': {'BACKEND'" in message.hint


def test_storage__that_is_the_public_folder(good):
    store_in_default(good)
    assert ids() == ["W004"]


def test_storage__that_is_linked_into_a_public_folder(good, tmp_path):
    (tmp_path / "private").symlink_to(good.MEDIA_ROOT, target_is_directory=True)
    store_in(good, tmp_path / "private" / "attachments")
    assert ids() == ["W004"]


def test_storage__whose_public_folder_is_a_link(good, tmp_path):
    (tmp_path / "attachments").mkdir()
    (tmp_path / "public").symlink_to(tmp_path / "attachments")
    good.MEDIA_ROOT = str(tmp_path / "public")
    store_in(good, tmp_path / "attachments")
    assert ids() == ["W004"]


def test_storage__around_a_public_folder_is_private(good, tmp_path):
    good.MEDIA_ROOT = tmp_path / "media"
    store_in(good, tmp_path)
    assert ids() == []


def test_storage__around_a_public_folder_that_the_files_are_in(good, tmp_path):
    good.MEDIA_ROOT = tmp_path / "session_attachments"
    store_in(good, tmp_path)
    assert ids() == ["W004"]


def test_storage__with_a_similar_name_is_private(good, tmp_path):
    good.MEDIA_ROOT = tmp_path / "media"
    store_in(good, tmp_path / "media-private")
    assert ids() == []


@pytest.mark.parametrize(
    ("root", "expected"), [("", ["W009"]), ("media", ["W004", "W009"])]
)
def test_storage__below_the_working_directory(good, root, expected):
    good.MEDIA_ROOT = root
    store_in_default(good)
    assert ids() == expected


@pytest.mark.parametrize(
    "storage",
    [
        {"BACKEND": "tests.nowhere.Storage"},
        {"BACKEND": "spam"},
        {"BACKEND": LOCAL, "OPTIONS": {"spam": 1}},
        {"BACKEND": LOCAL, "OPTIONS": 1},
        {},
        None,
    ],
)
def test_storage__that_cannot_be_made(good, storage):
    good.STORAGES = good.STORAGES | {APP: storage}
    [message] = found()
    assert message.id == f"{APP}.E005"
    assert "STORAGES['session_attachments']" in message.hint


def test_storage__that_is_no_folder_is_not_looked_into(good):
    backend = "django.core.files.storage.InMemoryStorage"
    good.STORAGES = good.STORAGES | {APP: {"BACKEND": backend}}
    assert ids() == []


def test_spool__of_a_plain_folder_is_never_used(good, other_device):
    other_device(good.FOLDERS["uploads"])
    assert ids() == []


def test_spool__beside_the_storage(good):
    store_in(good, good.FOLDERS["attachments"], f"{__name__}.Encrypted")
    assert ids() == []


def test_spool__that_does_not_exist_yet(good, tmp_path):
    good.FILE_UPLOAD_TEMP_DIR = tmp_path / "later"
    store_in(good, tmp_path / "too", f"{__name__}.Encrypted")
    assert ids() == []


def test_spool__that_may_not_be_looked_into(good, monkeypatch):
    def refuse(path, **kwargs):
        raise PermissionError

    store_in(good, good.FOLDERS["attachments"], f"{__name__}.Encrypted")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        assert ids() == []


# -- libmagic


def test_sniffing__that_crashes(good, monkeypatch):
    def crash(head):
        raise OSError("no magic file")

    monkeypatch.setattr(f"{APP}.sniffing.sniff", crash)
    [message] = found()
    assert message.id == f"{APP}.E006"
    assert "no magic file" in message.msg


def test_sniffing__that_does_not_know_a_png(good, monkeypatch):
    monkeypatch.setattr(f"{APP}.sniffing.sniff", lambda head: "image/x-spam")
    assert ids() == ["E006"]


# -- the command


@pytest.mark.parametrize(
    ("replaced", "identifier"),
    [
        ({"SESSION_ATTACHMENTS_MAX_FILE_SIZE": "50"}, "E001"),
        ({"SESSION_ATTACHMENTS_VALIDATORS": "tests.nowhere.f"}, "E001"),
        ({"STORAGES": {}}, "E005"),
        ({"MIDDLEWARE": ["tests.nowhere.Middleware"]}, "E007"),
        ({"SESSION_ENGINE": "tests.nowhere"}, "E008"),
    ],
)
def test_check_command__fails_without_a_traceback(replaced, identifier):
    done = commands.manage("check", "--tag", APP, **replaced)
    assert done.returncode == 1
    assert f"({APP}.{identifier})" in done.stderr
    assert "HINT: " in done.stderr
    assert "Traceback" not in done.stderr


def test_check_command__with_all_checks_of_the_site():
    done = commands.manage("check", SESSION_ATTACHMENTS_MAX_FILE_SIZE="50")
    assert done.returncode == 1
    assert f"({APP}.E001)" in done.stderr
    assert "Traceback" not in done.stderr


# -- the start of a process

START = """
import sys
import django
from django.conf import settings
settings.SECRET_KEY  # reads the settings' module
events = []
sys.addaudithook(lambda event, args: events.append((event, args)))
django.setup()
for event, args in events:
    print(event, *(arg for arg in args if isinstance(arg, str | int)))
"""


def test_start__touches_neither_disk_nor_database_nor_libmagic(settings):
    done = subprocess.run(
        [sys.executable, "-c", START],
        cwd=settings.BASE_DIR,
        env=commands.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    events = done.stdout.splitlines()
    assert any(event.startswith(f"import {APP}.checks") for event in events)
    assert [
        event
        for event in events
        if str(settings.TEST_ROOT) in event
        or event.startswith(("sqlite3.", "socket.", "os.mkdir", "shutil.", "tempfile."))
        or ("ctypes.dlopen" in event and "magic" in event)
        or (event.startswith("open ") and " w" in event)
    ] == []
