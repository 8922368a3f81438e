"""What kinds of content are accepted, and what a site's own validators say."""

import io

import pytest
from django.core.exceptions import ValidationError
from django.core.files import File

from session_attachments.exceptions import Invalid, StorageFailed, TypeNotAllowed
from session_attachments.validators import check_type, mimetype, validate
from tests.lifecycle import LOCAL, MEMORY, Cabinet, use_storage
from tests.test_sniffing import PNG
from tests.wire import content, form, nothing_left, problem

ZIP, TEXT, UNKNOWN = "application/zip", "text/plain", "application/octet-stream"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("name", "sniffed", "allowed"),
    [
        ("a.txt", TEXT, ["text/plain"]),
        ("a.txt", TEXT, ["text/*"]),
        ("a.txt", TEXT, ["*"]),
        ("a.txt", TEXT, ["image/*", "TEXT/PLAIN"]),
        ("a", TEXT, ["text/plain"]),
        ("a.csv", TEXT, ["text/csv"]),
        ("a.json", TEXT, ["application/json"]),
        ("a.docx", ZIP, [DOCX]),
        ("a.DOCX", ZIP, [DOCX]),
        ("a.docx", ZIP, [ZIP]),
        ("a.odt", ZIP, ["application/vnd.oasis.opendocument.text"]),
        ("a.svg", "text/xml", ["image/svg+xml"]),
        ("a.doc", "application/CDFV2", ["application/msword"]),
        ("a.pdf", "inode/x-empty", ["application/pdf"]),
        ("a.html", "text/html", ["text/html"]),
    ],
)
def test_check_type__accepted(settings, name, sniffed, allowed):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = allowed
    check_type(name, sniffed, 100)


@pytest.mark.parametrize(
    ("name", "sniffed", "allowed"),
    [
        ("a.txt", TEXT, []),
        ("a.png", TEXT, ["image/*"]),
        ("a.txt", "image/png", ["text/*"]),
        ("a.docx", "application/x-dosexec", [DOCX]),
        ("a.csv", "application/x-executable", ["text/*"]),
        ("a.json", "text/x-shellscript", ["application/json"]),
        ("a.exe", ZIP, ["application/x-msdos-program", "application/x-msdownload"]),
        ("a.jar", ZIP, ["application/java-archive"]),
        ("a.docx", UNKNOWN, [DOCX]),
        ("a", "inode/x-empty", ["text/*"]),
        ("a.html", "inode/x-empty", ["image/*"]),
        ("a.svg", "text/html", ["image/svg+xml"]),
    ],
)
def test_check_type__refused(settings, name, sniffed, allowed):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = allowed
    with pytest.raises(TypeNotAllowed):
        check_type(name, sniffed, 100)


def test_check_type__any_by_default():
    check_type("a.exe", "application/x-dosexec", 100)


def test_check_type__one_byte_may_be_text(settings):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = ["text/plain", "text/csv"]
    check_type("a.txt", UNKNOWN, 1)
    check_type("a.csv", UNKNOWN, 1)
    with pytest.raises(TypeNotAllowed):
        check_type("a.txt", UNKNOWN, 2)


def test_mimetype__of_nothing_is_unknown():
    assert mimetype("inode/x-empty") == UNKNOWN
    assert mimetype("image/png") == "image/png"


# -- validators of the site

seen = []


def read_all(file):
    seen.append((file.name, file.size, file.content_type, file.read()))


def read_again(file):
    assert file.read() == b"spam"


def refuse(file):
    first = ValidationError("Not this %(what)s.", params={"what": "one"})
    raise ValidationError([first, "Nor that."])


def crash(file):
    raise ValueError("no")


def path(function):
    return f"{__name__}.{function.__name__}"


def close(file):
    with file.open() as again:
        assert again.read() == b"spam\n"
    assert file.closed


def open_twice(file):
    close(file)
    close(file)
    file.close()
    assert file.read() == b"spam\n"


def wrap(file):
    assert io.TextIOWrapper(file, "ascii").read() == "spam\n"
    assert file.closed


def wrap_for_long(file):
    seen.append(io.TextIOWrapper(file, "ascii"))


def describe(file):
    wrap(file)
    return {"lines": 1}


def file_of(data):
    return lambda: File(io.BytesIO(data), "a")


def test_validate__each_from_the_start(settings):
    settings.SESSION_ATTACHMENTS_VALIDATORS = [path(read_again), path(read_again)]
    validate(file_of(b"spam"))


def test_validate__says_the_validators_words(settings):
    settings.SESSION_ATTACHMENTS_VALIDATORS = [path(refuse), path(crash)]
    with pytest.raises(Invalid) as info:
        validate(file_of(b"spam"))
    assert info.value.detail == "Not this one. Nor that."


@pytest.mark.parametrize("broken", [path(crash), "no.such.validator"])
def test_validate__what_crashes_refuses(settings, broken, caplog):
    settings.SESSION_ATTACHMENTS_VALIDATORS = [broken]
    with pytest.raises(Invalid) as info:
        validate(file_of(b"spam"))
    assert info.value.detail == "The file could not be checked."
    assert broken in caplog.text


@pytest.mark.django_db(transaction=True)
def test_validate__receives_the_complete_file_before_it_is_visible(client, settings):
    settings.SESSION_ATTACHMENTS_VALIDATORS = [path(read_all)]
    seen.clear()
    data = PNG + bytes(300_000)
    client.post("/attachments/foo/", **form(("a.png", data), ("b", b"spam")))
    assert seen == [
        ("a.png", len(data), "image/png", data),
        ("b", 4, "text/plain", b"spam"),
    ]
    settings.SESSION_ATTACHMENTS_VALIDATORS = [path(refuse)]
    problem(client.put("/attachments/foo/b/", b"egg"), 422, "invalid")
    assert content(client.get("/attachments/foo/b/")) == b"spam"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("backend", [LOCAL, MEMORY, f"{Cabinet.__module__}.Cabinet"])
@pytest.mark.parametrize("function", [close, open_twice, wrap, wrap_for_long])
def test_validate__may_close_the_file(client, settings, backend, function):
    """Nor does it meet one that another has closed, or closes at last."""
    use_storage(settings, backend)
    seen.clear()
    first = path(function)
    settings.SESSION_ATTACHMENTS_VALIDATORS = [first, path(close), first, path(wrap)]
    settings.SESSION_ATTACHMENTS_METADATA = path(describe)
    response = client.put("/attachments/foo/a/", b"spam\n")
    assert response.json()["meta"] == {"lines": 1}
    assert all(wrapper.closed for wrapper in seen)
    assert content(client.get("/attachments/foo/a/")) == b"spam\n"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("setting", ["VALIDATORS", "METADATA"])
def test_validate__file_that_cannot_be_opened(client, settings, setting, monkeypatch):
    value = {"VALIDATORS": [path(close)], "METADATA": path(describe)}[setting]
    setattr(settings, f"SESSION_ATTACHMENTS_{setting}", value)

    def fail(self):
        raise StorageFailed

    monkeypatch.setattr("session_attachments.storage.Sink.open", fail)
    problem(client.put("/attachments/foo/a/", b"spam\n"), 503, "storage")
    assert nothing_left()


@pytest.mark.django_db(transaction=True)
def test_type__of_an_empty_file(client, settings):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = ["application/pdf"]
    [item] = client.post("/attachments/foo/", **form(("a.pdf", b""))).json()
    assert item["mimetype"] == "application/octet-stream"
    problem(
        client.post("/attachments/foo/", **form(("a.txt", b""))),
        415,
        "type_not_allowed",
    )


@pytest.mark.django_db(transaction=True)
def test_type__is_that_of_the_content(client, settings):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = ["image/*"]
    response = client.put("/attachments/foo/a.png/", PNG, content_type="text/html")
    assert response.json()["mimetype"] == "image/png"
    client.delete("/attachments/foo/")
    response = client.put("/attachments/foo/a.png/", b"spam", content_type="image/png")
    problem(response, 415, "type_not_allowed")
    assert nothing_left()
