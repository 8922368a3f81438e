"""Several storages behind one table: the first that works, or a choice."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, storages

from session_attachments import storage, store, sweep
from session_attachments.exceptions import (
    DiskFull,
    Invalid,
    SessionEnded,
    StorageFailed,
)
from session_attachments.models import Attachment, State
from tests.lifecycle import (
    LOCAL,
    MEMORY,
    assert_only,
    contents,
    in_parallel,
    new_bundle,
    put,
    read,
    states,
    sweep_all,
)

pytestmark = pytest.mark.django_db(transaction=True)

DOWN = f"{__name__}.Down"
FIRST, SECOND = "first", "second"

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


class Down(InMemoryStorage):
    """Keeps half of a file, then fails; and may not want to remove it either."""

    error: BaseException = ConnectionError("down")
    removes = True

    def _save(self, name, content):
        data = content.read()
        super()._save(name, ContentFile(data[: len(data) // 2]))
        raise self.error

    def delete(self, name):
        if not self.removes:
            raise self.error
        super().delete(name)


class Refused(Exception):
    """A storage's own kind of error."""


@pytest.fixture(autouse=True)
def two_storages(settings):
    """The first one is down, the second one is a folder."""
    folder = settings.FOLDERS["attachments"]
    settings.STORAGES = settings.STORAGES | {
        FIRST: {"BACKEND": DOWN},
        SECOND: {"BACKEND": LOCAL, "OPTIONS": {"location": folder}},
        "third": {"BACKEND": MEMORY},
    }
    settings.SESSION_ATTACHMENTS_STORAGES = [FIRST, SECOND]
    return settings


@pytest.fixture
def down(monkeypatch):
    def set_(**attributes):
        for name, value in attributes.items():
            monkeypatch.setattr(Down, name, value)

    return set_


def kept(alias):
    """The keys of what a storage holds."""
    found, folders = [], [""]
    while folders:
        folder = folders.pop()
        subfolders, names = storages[alias].listdir(folder)
        folders += [f"{folder}/{name}".strip("/") for name in subfolders]
        found += [f"{folder}/{name}" for name in names]
    return found


def nothing_is_on_its_way(settings):
    return not list(settings.FOLDERS["uploads"].iterdir())


# -- the first that works


@pytest.mark.parametrize("name", ["spam.txt", "café.txt"])
def test_fallback__from_the_beginning_and_nothing_left(settings, caplog, name):
    row = put(new_bundle(), name, b"0123456789")
    assert row.storage == SECOND
    assert read(row) == b"0123456789"
    assert kept(FIRST) == []
    assert kept(SECOND) == [row.key]
    assert states() == {"stored": 1}
    assert nothing_is_on_its_way(settings)
    assert "The storage first failed; the next one is tried" in caplog.text
    assert "ConnectionError: down" in caplog.text


def test_fallback__of_a_form(client):
    client.post(
        "/attachments/foo/", {"a": ContentFile(b"a", "a"), "b": ContentFile(b"b", "b")}
    )
    assert {row.storage for row in Attachment.objects.all()} == {SECOND}
    assert kept(FIRST) == []
    assert states() == {"stored": 2}


def test_fallback__inside_a_transaction(transactional_db):
    from django.db import transaction

    bundle = new_bundle()
    with transaction.atomic():
        put(bundle)
    assert contents(bundle) == {"spam.txt": b"spam\n"}
    sweep_all()
    assert kept(FIRST) == []


def test_fallback__what_cannot_be_removed_is_found_later(down):
    """P3: by a row of its own."""
    down(removes=False)
    row = put(new_bundle())
    assert len(kept(FIRST)) == 1
    assert states() == {"stored": 1, "doomed": 1}
    left = Attachment.objects.get(state=State.DOOMED)
    assert (left.storage, [left.key]) == (FIRST, kept(FIRST))
    assert left.key != row.key
    down(removes=True)
    sweep_all()
    assert kept(FIRST) == []
    assert states() == {"stored": 1}
    assert read(row) == b"spam\n"


@pytest.mark.parametrize("moment", ["move", "deliver"])
def test_fallback__process_is_killed(monkeypatch, settings, moment):
    """P3: whatever it was about to do, the rows lead to what there is."""

    class Killed(BaseException):
        pass

    def kill(*args, **kwargs):
        raise Killed

    def never(*args, **kwargs):
        """A process that is dead cleans nothing up."""

    bundle = new_bundle()
    if moment == "move":
        monkeypatch.setattr(sweep, "remove", kill)
    else:
        monkeypatch.setattr(storages[SECOND], "_save", kill)
        monkeypatch.setattr(sweep, "remove", never)
    monkeypatch.setattr(store.Upload, "_discard", lambda self: None)
    with pytest.raises(Killed):
        put(bundle)
    assert len(kept(FIRST)) == 1
    assert states() == {"uploading": 1, "doomed": 1}
    monkeypatch.undo()
    settings.STORAGES = settings.STORAGES | {
        FIRST: {"BACKEND": DOWN},
        SECOND: {
            "BACKEND": LOCAL,
            "OPTIONS": {"location": settings.FOLDERS["attachments"]},
        },
    }
    sweep_all()
    assert states() == {}
    assert nothing_is_on_its_way(settings)


@pytest.mark.parametrize(
    ("named", "error", "falls_back"),
    [
        (["builtins.OSError"], ConnectionError(), True),
        (["builtins.OSError"], Refused(), False),
        ([f"{__name__}.Refused"], Refused(), True),
        ([f"{__name__}.Refused"], ConnectionError(), False),
        (["builtins.OSError", f"{__name__}.Refused"], Refused(), True),
        ([], ConnectionError(), False),
    ],
)
def test_fallback__on_the_named_exceptions_only(
    settings, down, named, error, falls_back
):
    settings.SESSION_ATTACHMENTS_STORAGES = {FIRST: named, SECOND: []}
    down(error=error)
    bundle = new_bundle()
    if falls_back:
        assert put(bundle).storage == SECOND
    else:
        with pytest.raises(StorageFailed):
            put(bundle)
        assert states() == {}
    assert kept(FIRST) == []


def test_fallback__all_fail(client, settings):
    settings.SESSION_ATTACHMENTS_STORAGES = [SECOND]
    client.put("/attachments/foo/a", b"old")
    settings.SESSION_ATTACHMENTS_STORAGES = [FIRST, FIRST + "2"]
    settings.STORAGES = settings.STORAGES | {FIRST + "2": {"BACKEND": DOWN}}
    response = client.put("/attachments/foo/a", b"new")
    assert response.status_code == 503
    assert response.json()["code"] == "storage"
    assert response["Retry-After"]
    assert kept(FIRST) == kept(FIRST + "2") == []
    assert states() == {"stored": 1}
    assert nothing_is_on_its_way(settings)
    response = client.get("/attachments/foo/a")
    assert b"".join(response) == b"old"
    response.close()


def test_fallback__last_one_says_why(settings, down):
    settings.SESSION_ATTACHMENTS_STORAGES = [SECOND + "2", FIRST]
    settings.STORAGES = settings.STORAGES | {SECOND + "2": {"BACKEND": DOWN}}
    down(error=OSError(28, "No space left on device"))
    with pytest.raises(DiskFull):
        put(new_bundle())


def test_fallback__storage_that_keeps_less_has_failed(settings, monkeypatch):
    monkeypatch.setattr(Down, "_save", lambda self, name, content: name)
    monkeypatch.setattr(Down, "size", lambda self, name: 3)
    assert put(new_bundle()).storage == SECOND


def test_size__of_a_storage_that_keeps_more(settings, monkeypatch):
    """One that encrypts adds what it needs to decrypt."""
    monkeypatch.setattr(Down, "_save", InMemoryStorage._save)
    monkeypatch.setattr(Down, "size", lambda self, name: 21)
    row = put(new_bundle())
    assert (row.storage, row.size, read(row)) == (FIRST, 5, b"spam\n")


def test_fallback__storage_that_renames_has_failed(settings, monkeypatch):
    renamed = []

    def rename(self, name, content):
        renamed.append(InMemoryStorage._save(self, f"{name}-2", content))
        return renamed[-1]

    monkeypatch.setattr(Down, "_save", rename)
    assert put(new_bundle()).storage == SECOND
    assert renamed
    assert kept(FIRST) == []


def test_fallback__logout_meanwhile(settings, monkeypatch):
    bundle = new_bundle()

    def end(self, *args, **kwargs):
        in_parallel(lambda: Attachment.objects.all().doom(sweep.timezone.now()))
        raise ConnectionError

    def never(self, *args, **kwargs):
        raise AssertionError("no row would lead there")

    monkeypatch.setattr(Down, "_save", end)
    monkeypatch.setattr(storages[SECOND], "_save", never)
    with pytest.raises(SessionEnded):
        put(bundle)
    sweep_all()
    assert_only()


def test_alias__is_remembered_for_ever(settings):
    bundle = new_bundle()
    row = put(bundle)
    settings.SESSION_ATTACHMENTS_STORAGES = ["third"]
    assert read(bundle["spam.txt"]) == b"spam\n"
    assert put(bundle, "b").storage == "third"
    del bundle["spam.txt"]
    assert kept(SECOND) == []
    assert len(kept("third")) == 1
    assert row.storage == SECOND


@pytest.mark.parametrize(
    ("aliases", "direct"),
    [([SECOND], True), (["third"], False), ([SECOND, "third"], False)],
)
def test_direct__only_where_there_is_one_folder(settings, aliases, direct):
    settings.SESSION_ATTACHMENTS_STORAGES = aliases
    with new_bundle().upload(declared=1, name="a") as upload:
        writer = upload.add("a")
        assert nothing_is_on_its_way(settings) == direct
        writer.write(b"a")
        writer.finish()
        assert nothing_is_on_its_way(settings)
        upload.publish()


# -- a choice


def test_using__goes_there_and_nowhere_else():
    row = new_bundle().save("a", ContentFile(b"a"), using="third")
    assert (row.storage, kept("third")) == ("third", [row.key])


def test_using__never_falls_back():
    with pytest.raises(StorageFailed):
        new_bundle().save("a", ContentFile(b"a"), using=FIRST)
    assert_only()


def test_using__unknown_alias():
    with pytest.raises(ValueError, match="'nowhere'"):
        new_bundle().save("a", ContentFile(b"a"), using="nowhere")
    assert_only()


def choose(**facts):
    choose.facts = facts
    return choose.alias


@pytest.fixture
def chooser(settings):
    settings.SESSION_ATTACHMENTS_STORAGE_CHOOSER = f"{__name__}.choose"
    settings.SESSION_ATTACHMENTS_STORAGES = [SECOND]

    def set_(alias):
        choose.alias = alias

    return set_


def test_chooser__is_told_what_the_file_is(chooser):
    chooser("third")
    row = put(new_bundle("compose"), "a.txt", b"text\n")
    assert row.storage == "third"
    assert kept("third") == [row.key]
    assert kept(SECOND) == []
    assert choose.facts == {
        "name": "a.txt",
        "size": 5,
        "mimetype": "text/plain",
        "bundle_id": "compose",
    }
    assert_only_rows(row)


def assert_only_rows(*rows):
    assert set(Attachment.objects.all()) == set(rows)


def test_chooser__of_each_file_of_a_form(client, chooser, monkeypatch):
    def by_name(**facts):
        return "third" if facts["name"] == "b" else None

    monkeypatch.setattr(f"{__name__}.choose", by_name)
    client.post(
        "/attachments/foo/", {"a": ContentFile(b"a", "a"), "b": ContentFile(b"b", "b")}
    )
    rows = Attachment.objects.order_by("name").values_list("storage", flat=True)
    assert list(rows) == [SECOND, "third"]


def test_chooser__none_means_the_usual_ones(settings, chooser):
    chooser(None)
    settings.SESSION_ATTACHMENTS_STORAGES = [FIRST, SECOND]
    assert put(new_bundle()).storage == SECOND


def test_chooser__its_choice_never_falls_back(chooser):
    chooser(FIRST)
    with pytest.raises(StorageFailed):
        put(new_bundle())
    sweep_all()
    assert_only()


def test_chooser__unknown_alias(chooser, settings):
    chooser("nowhere")
    with pytest.raises(ValueError, match="'nowhere'"):
        put(new_bundle())
    assert_only()
    assert nothing_is_on_its_way(settings)


def test_chooser__is_not_asked_where_python_has_chosen(chooser):
    chooser("third")
    assert new_bundle().save("a", ContentFile(b"a"), using=SECOND).storage == SECOND


# -- what is known of a file


@pytest.fixture
def one_storage(settings):
    settings.SESSION_ATTACHMENTS_STORAGES = [SECOND]
    return settings


def test_sha256__is_off(one_storage):
    assert put(new_bundle()).meta == {}


@pytest.mark.parametrize("data", [b"x", b"spam\n", bytes(3 * 2**20)])
def test_sha256__is_that_of_the_content(one_storage, client, data):
    one_storage.SESSION_ATTACHMENTS_SHA256 = True
    expected = {"sha256": hashlib.sha256(data).hexdigest()}
    assert client.put("/attachments/foo/a", data).json()["meta"] == expected
    assert client.get("/attachments/foo/").json()[0]["meta"] == expected


def test_sha256__cannot_be_overridden(metadata, settings):
    settings.SESSION_ATTACHMENTS_SHA256 = True
    metadata({"sha256": "mine", "words": 1})
    meta = put(new_bundle()).meta
    assert meta == {"sha256": hashlib.sha256(b"spam\n").hexdigest(), "words": 1}


def describe(file):
    if isinstance(describe.found, Exception):
        raise describe.found
    assert file.tell() == 0
    return describe.found or {"words": len(file.read().split()), "name": file.name}


@pytest.fixture
def metadata(one_storage):
    one_storage.SESSION_ATTACHMENTS_METADATA = f"{__name__}.describe"

    def set_(found):
        describe.found = found

    set_(None)
    return set_


@pytest.mark.parametrize("alias", [SECOND, "third"])
def test_metadata__of_the_complete_file(metadata, settings, client, alias):
    settings.SESSION_ATTACHMENTS_STORAGES = [alias]
    settings.SESSION_ATTACHMENTS_SHA256 = True
    meta = client.put("/attachments/foo/a", b"spam and egg").json()["meta"]
    digest = hashlib.sha256(b"spam and egg").hexdigest()
    assert meta == {"sha256": digest, "words": 3, "name": "a"}
    assert client.put("/attachments/foo/a", b"spam").json()["meta"]["words"] == 1


@pytest.mark.parametrize(
    "found",
    [
        *(ZeroDivisionError(), {"a": {"set"}}, {"a": float("nan")}, 5),
        *({"a": "\0"}, {"\0": 1}, {"a": [{"b": ("c\0d",)}]}),
        *({"a": "\ud83d"}, {"\udfff": 1}, {"a": [{"b": ("\udc00\ud800",)}]}),
    ],
    ids=ascii,
)
def test_metadata__that_fails_refuses_the_file(metadata, found, caplog):
    bundle = new_bundle()
    old = put(bundle)
    metadata(found)
    with pytest.raises(Invalid):
        put(bundle, data=b"new")
    assert "describe failed" in caplog.text
    assert_only_rows(old)
    assert read(old) == b"spam\n"


def test_metadata__comes_back_as_it_was_found(metadata, client):
    """What looks like an escape is none."""
    metadata({"\\u0000": ["\\ud800", "😀", "\\", 2**63, 0.5, None, {"": []}]})
    item = client.put("/attachments/foo/a", b"spam").json()
    assert item["meta"] == describe.found
    assert client.get("/attachments/foo/").json()[0]["meta"] == describe.found


DOCUMENTATION = Path(__file__).parent.parent / "docs" / "storages.md"


def documented(start):
    """What the page's block of code that begins with this defines."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", DOCUMENTATION.read_text("utf-8"), re.M | re.S
    )
    [source] = [block for block in blocks if block.startswith(start)]
    exec(source, names := {})
    return names


def dimensions(file):
    return documented("# SESSION_ATTACHMENTS_METADATA")["dimensions"](file)


@pytest.mark.parametrize(
    ("data", "mimetype", "meta"),
    [
        (PIXEL, "image/png", {"width": 1, "height": 1}),
        (PIXEL[:20], "image/png", None),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml", None),
        (b"spam", "text/plain", None),
    ],
    ids=["PNG", "damaged", "SVG", "text"],
)
def test_documentation__dimensions(one_storage, client, data, mimetype, meta):
    one_storage.SESSION_ATTACHMENTS_METADATA = f"{__name__}.dimensions"
    item = client.put("/attachments/foo/a", data).json()
    assert (item["mimetype"], item.get("meta")) == (mimetype, meta)


def test_documentation__s3_is_a_whole_setting():
    aliases = documented("STORAGES")["STORAGES"]
    assert set(aliases) == {"default", "staticfiles", "session_attachments"}


def test_candidates__are_those_of_the_settings(settings):
    settings.SESSION_ATTACHMENTS_STORAGES = []
    assert storage.alias() == "session_attachments"
    settings.SESSION_ATTACHMENTS_STORAGES = ["third", FIRST]
    assert list(storage.candidates()) == ["third", FIRST]
