"""What the checks say of the ways to send files."""

import sys

import pytest
from django.core.files.storage import FileSystemStorage

from session_attachments.checks import check_downloads
from session_attachments.downloads import BACKENDS

APP = "session_attachments"
LOCAL = "django.core.files.storage.FileSystemStorage"
SENDFILE = "django_sendfile.backends"
NOT_CALLABLE = "no function"


class Encrypted(FileSystemStorage):
    """A folder whose files the web server cannot read."""


class Bucket(FileSystemStorage):
    """A storage whose addresses can be signed."""

    query = "response-content-disposition=attachment&X-Amz-Signature=abc"

    def url(self, name, parameters=None, expire=None):
        return f"{super().url(name)}?{self.query}"


class PublicBucket(Bucket):
    """A storage that could sign its addresses, and is set not to."""

    query = "response-content-disposition=attachment"


class Keyless(Bucket):
    """A storage that has nothing to sign with where the check runs."""

    def url(self, name, parameters=None, expire=None):
        raise RuntimeError("Unable to locate credentials")


@pytest.fixture
def site(settings):
    """The test project with django-sendfile2's settings for its storage."""
    settings.SENDFILE_BACKEND = f"{SENDFILE}.nginx"
    settings.SENDFILE_ROOT = str(settings.FOLDERS["attachments"])
    settings.SENDFILE_URL = "/files"
    return settings


def store_in(settings, **storages):
    """Let new files go to these storages, the first one that works."""
    location = settings.FOLDERS["attachments"]
    settings.STORAGES = settings.STORAGES | {
        alias: {"OPTIONS": {"location": location}} | storage
        for alias, storage in storages.items()
    }
    settings.SESSION_ATTACHMENTS_STORAGES = list(storages)


def found():
    return [
        (message.id.removeprefix(f"{APP}."), message.msg)
        for message in check_downloads()
    ]


def ids():
    return [identifier for identifier, _ in found()]


ENCRYPTED = {"BACKEND": f"{__name__}.Encrypted"}
BUCKET = {"BACKEND": f"{__name__}.Bucket"}
PUBLIC = {"BACKEND": f"{__name__}.PublicBucket"}
KEYLESS = {"BACKEND": f"{__name__}.Keyless"}


@pytest.mark.parametrize("name", BACKENDS)
def test_downloads__that_fit_the_storage(site, name):
    site.SESSION_ATTACHMENTS_DOWNLOADS = name
    if name == "redirect":
        store_in(site, bucket=BUCKET)
    assert found() == []


def test_downloads__by_a_callable_fit_any_storage(settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = f"{APP}.streaming.stream"
    store_in(settings, encrypted=ENCRYPTED, bucket=BUCKET)
    assert found() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sendfiles", "'sendfiles' cannot be imported"),
        ("tests.nowhere.send", "'tests.nowhere.send' cannot be imported"),
        (f"{__name__}.NOT_CALLABLE", f"{__name__}.NOT_CALLABLE cannot be called"),
    ],
)
def test_downloads__by_nothing(settings, name, said):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = name
    [(identifier, message)] = found()
    assert identifier == "E010"
    assert said in message


def test_sendfile__is_not_installed(site, monkeypatch):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    monkeypatch.delitem(sys.modules, f"{APP}.sendfile", raising=False)
    monkeypatch.setitem(sys.modules, "django_sendfile", None)
    [(identifier, message)] = found()
    assert identifier == "E010"
    assert "django_sendfile" in message


@pytest.mark.parametrize("name", ["SENDFILE_BACKEND", "SENDFILE_ROOT", "SENDFILE_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_sendfile__lacks_a_setting(site, name, value):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    setattr(site, name, value)
    assert found() == [("E011", f"{name} is not set.")]


def test_sendfile__lacks_all_settings(settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    assert ids() == ["E011", "E011"]


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("nginx", ["E011"]),
        ("mod_wsgi", ["E011"]),
        ("xsendfile", []),
        ("simple", []),
        ("development", []),
    ],
)
def test_sendfile__url_is_needed_where_the_server_is_told_one(site, backend, expected):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    site.SENDFILE_BACKEND = f"{SENDFILE}.{backend}"
    del site.SENDFILE_URL
    assert ids() == expected


def test_sendfile__backend_does_not_exist(site):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    site.SENDFILE_BACKEND = f"{SENDFILE}.ngnix"
    [(identifier, message)] = found()
    assert identifier == "E011"
    assert "ngnix" in message


@pytest.mark.parametrize("name", ["ü", "日", "%41"])
def test_sendfile__root_that_no_header_can_tell(site, tmp_path, name):
    """nginx is told a quoted URL, the others the path as it is."""
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    site.SENDFILE_ROOT = str(tmp_path / name)
    store_in(
        site, local={"BACKEND": LOCAL, "OPTIONS": {"location": site.SENDFILE_ROOT}}
    )
    assert ids() == []
    site.SENDFILE_BACKEND = f"{SENDFILE}.xsendfile"
    assert ids() == ["E011"]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("attachments", []),
        (".", []),
        ("attachments/inner", ["E012"]),
        ("uploads", ["E012"]),
        ("attach", ["E012"]),
    ],
)
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_sendfile__root_is_around_the_storage(site, root, expected, kind):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    site.SENDFILE_ROOT = kind(site.TEST_ROOT / root)
    assert ids() == expected


def test_sendfile__every_storage_is_inside(site):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "sendfile"
    outside = {"BACKEND": LOCAL, "OPTIONS": {"location": site.FOLDERS["media"]}}
    store_in(site, inside={"BACKEND": LOCAL}, outside=outside, other=outside)
    assert found() == [
        ("E012", "The storage 'outside' is outside of SENDFILE_ROOT."),
        ("E012", "The storage 'other' is outside of SENDFILE_ROOT."),
    ]


@pytest.mark.parametrize(
    ("name", "storages", "expected"),
    [
        ("sendfile", {"bucket": BUCKET}, "E013"),
        ("sendfile", {"bucket": BUCKET, "encrypted": ENCRYPTED}, "E013"),
        ("sendfile", {"bucket": BUCKET, "local": {"BACKEND": LOCAL}}, "W010"),
        ("redirect", {"encrypted": ENCRYPTED}, "E013"),
        ("redirect", {"public": PUBLIC}, "E013"),
        ("redirect", {"keyless": KEYLESS, "encrypted": ENCRYPTED}, "W010"),
        ("redirect", {"bucket": BUCKET, "encrypted": ENCRYPTED}, "W010"),
    ],
)
def test_downloads__that_a_storage_cannot_do(site, name, storages, expected):
    site.SESSION_ATTACHMENTS_DOWNLOADS = name
    store_in(site, **storages)
    [(identifier, message)] = found()
    assert identifier == expected
    assert ("bucket" in message) == (expected == "W010" and name == "sendfile")


def test_downloads__leave_a_broken_storage_to_its_own_check(site):
    site.SESSION_ATTACHMENTS_DOWNLOADS = "redirect"
    site.SESSION_ATTACHMENTS_STORAGES = ["nowhere"]
    assert found() == []


def test_downloads__of_a_wrong_type_are_left_to_their_own_check(settings):
    settings.SESSION_ATTACHMENTS_DOWNLOADS = None
    assert found() == []
