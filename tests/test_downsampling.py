"""Smaller versions of files, by functions that the site lists."""

import array
import re
import sys
from io import BytesIO
from types import ModuleType

import pytest
from django.core.files import File
from django.core.files.storage import FileSystemStorage
from PIL import Image

from session_attachments import storage
from session_attachments.exceptions import StorageFailed
from tests.wire import name_in, problem

pytestmark = pytest.mark.django_db(transaction=True)

SPAM = "/attachments/foo/spam.txt/"


def every_nth(file, factor):
    if file.size == 12:
        return "é" * 3, "text/x-less"
    if file.size > 100:
        raise ValueError("too much")
    if file.size == 13:
        raise ZeroDivisionError("unlucky")
    if file.size == 14:
        raise StorageFailed
    if file.size == 15:
        return None
    return file.read()[::factor], "text/x-less"


@pytest.fixture
def visitor(client, settings):
    settings.SESSION_ATTACHMENTS_DOWNSAMPLERS = {"text/*": f"{__name__}.every_nth"}
    client.put(SPAM, b"0123456789")
    return client


def test_downsample__answers_with_what_the_function_makes(visitor):
    response = visitor.get(f"{SPAM}downsample/3/")
    assert response.content == b"0369"
    assert response["Content-Type"] == "text/x-less"
    assert response["Content-Length"] == "4"
    assert name_in(response["Content-Disposition"]) == "spam.txt"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response["Cache-Control"] == "private, no-cache"


def test_downsample__length_is_in_bytes(visitor, settings):
    middleware = "django.middleware.common.CommonMiddleware"  # It would add one.
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if each != middleware]
    visitor.put(SPAM, b"x" * 12)
    response = visitor.get(f"{SPAM}downsample/3/")
    assert response["Content-Length"] == str(len(response.content)) == "6"


def test_downsample__head_and_conditions(visitor):
    url = f"{SPAM}downsample/2/"
    head = visitor.head(url)
    assert (head.content, head["Content-Length"]) == (b"", "5")
    tag = head["ETag"]
    assert tag not in (
        visitor.head(SPAM)["ETag"],
        visitor.head(url[:-2] + "3/")["ETag"],
    )
    assert visitor.get(url, headers={"if-none-match": tag}).status_code == 304
    problem(
        visitor.get(url, headers={"if-match": '"other"'}), 412, "precondition_failed"
    )
    visitor.put(SPAM, b"new").close()
    assert visitor.get(url, headers={"if-none-match": tag}).status_code == 200


@pytest.mark.parametrize(
    "factor", ["1", "0", "-2", "2.0", "+2", " 2", "two", "٣", "9" * 30, "1e3"]
)
def test_downsample__factor_that_is_none(visitor, factor):
    problem(visitor.get(f"{SPAM}downsample/{factor}/"), 400, "bad_factor")


def test_downsample__type_without_a_function(visitor):
    visitor.put(SPAM, b"\x89PNG\r\n\x1a\n")
    problem(visitor.get(f"{SPAM}downsample/2/"), 415, "not_reducible")


def test_downsample__content_without_a_smaller_version(visitor):
    visitor.put(SPAM, b"x" * 101)
    problem(visitor.get(f"{SPAM}downsample/2/"), 422, "invalid")


@pytest.mark.parametrize(("size", "words"), [(13, "unlucky"), (15, "cannot unpack")])
def test_downsample__function_that_crashes(visitor, caplog, size, words):
    """As a validator that does: the log tells the site why."""
    visitor.put(SPAM, b"x" * size)
    problem(visitor.get(f"{SPAM}downsample/2/"), 422, "invalid")
    assert "every_nth" in caplog.text
    assert words in caplog.text


def test_downsample__storage_that_fails_meanwhile(visitor):
    visitor.put(SPAM, b"x" * 14)
    problem(visitor.get(f"{SPAM}downsample/2/"), 503, "storage")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ConnectionError(), 503, "storage"), (FileNotFoundError(), 404, "not_found")],
)
def test_downsample__storage_that_fetches_the_file_when_it_is_used(
    visitor, monkeypatch, error, status, code
):
    """What fails then is no fault of the function, nor of the file."""

    class Lazy(File):
        def __init__(self):
            pass

        def close(self):
            pass

        @property
        def file(self):
            raise error

    monkeypatch.setattr(FileSystemStorage, "_open", lambda *args: Lazy())
    problem(visitor.get(f"{SPAM}downsample/2/"), status, code)
    problem(visitor.get(SPAM), status, code)


def test_downsample__is_off_until_the_site_lists_types(visitor, settings):
    del settings.SESSION_ATTACHMENTS_DOWNSAMPLERS
    problem(visitor.get(f"{SPAM}downsample/2/"), 404, "not_found")


def test_downsample__strangers_file(visitor):
    stranger = type(visitor)()
    stranger.put("/attachments/foo/own.txt", b"own")
    problem(stranger.get(f"{SPAM}downsample/2/"), 404, "not_found")


def test_downsample__only_reads(visitor):
    problem(visitor.post(f"{SPAM}downsample/2/"), 405, "method_not_allowed")


def test_meta__tells_size_and_times(visitor):
    item = visitor.get("/attachments/foo/").json()[0]
    detail = visitor.get(f"{SPAM}?meta").json()
    assert {key: detail[key] for key in item} == item
    assert detail["modified"] == item["uploaded_at"]
    assert set(detail["storage"]) == {"created", "modified"}
    for time in detail["storage"].values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", time)


def test_meta__what_the_storage_does_not_know(visitor, monkeypatch):
    def unknown(self, name):
        raise NotImplementedError

    backend = "django.core.files.storage.FileSystemStorage.get_created_time"
    monkeypatch.setattr(backend, unknown)
    assert visitor.get(f"{SPAM}?meta").json()["storage"]["created"] is None


@pytest.mark.parametrize(
    ("is_there", "status", "code"),
    [(True, 503, "storage"), (False, 404, "not_found")],
)
def test_meta__of_what_the_storage_has_lost(
    visitor, monkeypatch, is_there, status, code
):
    """S3 has an error of its own for it."""

    class ClientError(Exception):
        pass

    def fail(self, name):
        raise ClientError

    monkeypatch.setattr(storage, "_may_exist", lambda *args: is_there)
    backend = "django.core.files.storage.FileSystemStorage.get_created_time"
    monkeypatch.setattr(backend, fail)
    problem(visitor.get(f"{SPAM}?meta"), status, code)


@pytest.fixture
def documented(settings, monkeypatch):
    """The page's own example, in the modules and settings that it names."""
    page = (settings.BASE_DIR / "docs/downsampling.md").read_text(encoding="utf-8")
    listed, images, samples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(listed, names := {})
    for name, source in (("images", images), ("samples", samples)):
        module = ModuleType(f"myproject.{name}")
        exec(source, vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    name = "SESSION_ATTACHMENTS_DOWNSAMPLERS"
    setattr(settings, name, names[name])


def test_documentation__block_means(client, documented):
    url = "/attachments/foo/a.samples/"

    def means(values, n):
        item = client.put(url, array.array("h", values).tobytes()).json()
        assert item["mimetype"] == "application/octet-stream"
        response = client.get(f"{url}downsample/{n}/")
        assert response.status_code == 200
        assert response["Content-Type"] == "application/x-samples"
        return list(array.array("h", response.content))

    assert means([1, 100, 3, 300, 5, 500, 7, 700], 2) == [2, 200, 6, 600]
    assert means([1, 100, 3, 300, 5, 500], 2) == [2, 200]
    assert means([-1, 1, -3, 3], 2) == [-2, 2]
    assert means([1, 2], 2) == []
    client.put(url, array.array("h", [1, 2, 3]).tobytes())
    problem(client.get(f"{url}downsample/2/"), 422, "invalid")


def test_documentation__images_of_fewer_pixels(client, documented, settings):
    file = BytesIO()
    Image.new("1", (4000, 3001)).save(file, "PNG")
    client.put(SPAM, file.getvalue())
    for module, status in (("session_attachments", 200), ("myproject", 422)):
        function = f"{module}.images.downsample"
        settings.SESSION_ATTACHMENTS_DOWNSAMPLERS = {"image/*": function}
        assert client.get(f"{SPAM}downsample/100/").status_code == status
