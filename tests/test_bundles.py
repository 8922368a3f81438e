"""One bundle of a visitor's files, as a mapping."""

from types import SimpleNamespace

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    SimpleUploadedFile,
    TemporaryUploadedFile,
)

from session_attachments.bundles import Bundle
from session_attachments.exceptions import (
    BadBundle,
    BadName,
    DiskFull,
    IncompleteBody,
    LengthRequired,
    NotFound,
    PreconditionFailed,
    SessionFull,
    SiteFull,
    TooLarge,
)
from session_attachments.models import Attachment
from tests.lifecycle import (
    assert_only,
    contents,
    elsewhere,
    ends_with,
    new_bundle,
    new_only,
    put,
    read,
    visitor,
)

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 2**20


@pytest.fixture
def bundle():
    """A bundle with two files, of a visitor who has another one, too."""
    session = visitor()
    put(Bundle(session, "bar"), "ham.txt", b"ham\n")
    bundle = Bundle(session, "foo")
    put(bundle, "spam.txt", b"spam\n")
    put(bundle, "egg.txt", b"egg\n")
    return bundle


def expects(public_id):
    """What `If-Match` asks for."""

    def check(current):
        if current is None or current.public_id != public_id:
            raise PreconditionFailed

    return check


# -- reading


def test_bundle__is_a_mapping_in_the_order_of_names(bundle):
    assert list(bundle) == bundle.keys() == ["egg.txt", "spam.txt"]
    assert [row.name for row in bundle.values()] == ["egg.txt", "spam.txt"]
    assert bundle.items() == list(zip(bundle.keys(), bundle.values(), strict=True))
    assert dict(bundle) == dict(bundle.items())
    assert len(bundle) == 2
    assert bundle
    assert repr(bundle) == "<Bundle 'foo'>"


def test_bundle__order_is_that_of_code_points():
    bundle = new_bundle()
    for name in ("b", "a", "B", "é", "z", "1"):
        put(bundle, name)
    assert list(bundle) == ["1", "B", "a", "b", "z", "é"]
    assert [row.name for row in bundle.values()] == list(bundle)


def test_bundle__empty():
    bundle = new_bundle()
    assert list(bundle) == bundle.values() == bundle.items() == []
    assert len(bundle) == bundle.clear() == 0
    assert not bundle


def test_bundle__of_a_request(bundle):
    request = SimpleNamespace(session=bundle.session)
    assert list(Bundle(request, "foo")) == list(bundle)


@pytest.mark.parametrize("bundle_id", ["", ".", "..", "a\n", "u\u0308", "a" * 256])
def test_bundle__id_that_cannot_be_one(bundle_id):
    with pytest.raises(BadBundle):
        Bundle(visitor(), bundle_id)


def test_getitem(bundle):
    assert read(bundle["spam.txt"]) == read(bundle["C:\\spam.txt "]) == b"spam\n"


@pytest.mark.parametrize("name", ["ham.txt", "SPAM.TXT", "spam"])
def test_getitem__unknown_name_is_a_key_error(bundle, name):
    with pytest.raises(KeyError) as error:
        bundle[name]
    assert isinstance(error.value, NotFound)
    assert bundle.get(name) is None
    assert name not in bundle


@pytest.mark.parametrize("name", ["..", ""])
def test_getitem__impossible_name(bundle, name):
    with pytest.raises(BadName):
        bundle[name]
    assert bundle.get(name) is None
    assert name not in bundle


def test_contains__is_for_any_object(bundle):
    assert "egg.txt" in bundle
    assert None not in bundle
    assert 1 not in bundle


def test_bundle__two_visitors_who_both_upload(bundle):
    """P4: with the same names, in bundles of the same name."""
    other = new_bundle("foo")
    put(other, "spam.txt", b"other\n")
    assert contents(bundle) == {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}
    assert contents(other) == {"spam.txt": b"other\n"}
    put(other, "egg.txt", b"other\n")
    del other["spam.txt"]
    assert other.clear() == 1
    assert contents(bundle) == {"egg.txt": b"egg\n", "spam.txt": b"spam\n"}


def test_bundle__reading_makes_no_session():
    session = SessionStore()
    bundle = Bundle(session, "foo")
    assert not bundle
    assert (list(bundle), len(bundle), bundle.get("a"), "a" in bundle) == (
        [],
        0,
        None,
        False,
    )
    assert bundle.clear() == 0
    with bundle.claim() as lent:
        assert lent == []
    with pytest.raises(NotFound):
        del bundle["a"]
    assert session.session_key is None
    assert not session.modified
    assert Session.objects.count() == 0


# -- removing


def test_delitem(bundle):
    row = bundle["egg.txt"]
    del bundle["spam.txt"]
    assert list(bundle) == ["egg.txt"]
    with pytest.raises(NotFound):
        del bundle["spam.txt"]
    with pytest.raises(BadName):
        del bundle[".."]
    assert_only(row, Bundle(bundle.session, "bar")["ham.txt"])


def test_clear(bundle):
    assert bundle.clear() == 2
    assert_only(Bundle(bundle.session, "bar")["ham.txt"])


def test_remove__only_the_expected_file(bundle):
    row = bundle["spam.txt"]
    with pytest.raises(PreconditionFailed):
        bundle.remove("spam.txt", precondition=expects("another"))
    assert bundle["spam.txt"] == row
    bundle.remove("spam.txt", precondition=expects(row.public_id))
    assert "spam.txt" not in bundle


def test_remove__of_what_is_replaced_meanwhile(bundle):
    """The new file is not the one that was to be removed."""

    def replaced(current):
        elsewhere(lambda: put(bundle, "spam.txt", b"new\n"))

    with pytest.raises(NotFound):
        bundle.remove("spam.txt", precondition=replaced)
    assert read(bundle["spam.txt"]) == b"new\n"


# -- saving


def temporary_file():
    file = TemporaryUploadedFile("a", "text/plain", 5, None)
    file.write(b"spam\n")
    return file


class Stream:
    """Bytes that come from elsewhere, and nobody knows how many."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)

    def read(self, size):
        return self.chunks.pop(0) if self.chunks else b""

    def close(self):
        pass


@pytest.mark.parametrize(
    "new_file",
    [
        lambda: ContentFile(b"spam\n"),
        lambda: SimpleUploadedFile("a", b"spam\n"),
        lambda: InMemoryUploadedFile(ContentFile(b"spam\n"), None, "a", None, 5, None),
        temporary_file,
        lambda: File(Stream(b"sp", b"am\n")),
    ],
    ids=["content", "simple", "memory", "temporary", "stream"],
)
def test_save__takes_any_file_of_djangos(new_file):
    bundle = new_bundle()
    with new_file() as file:
        row = bundle.save("a", file)
    assert (row.name, row.size, row.mimetype) == ("a", 5, "text/plain")
    assert read(row) == b"spam\n"
    assert_only(row)


def test_save__takes_an_attachment_of_another_bundle(bundle):
    with bundle["spam.txt"].open() as file:
        row = Bundle(bundle.session, "bar").save("copy", file)
    assert read(row) == b"spam\n"


def test_save__unknown_size_up_to_the_limit(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1
    bundle = new_bundle()
    row = bundle.save("a", File(Stream(bytes(MIB))))
    assert (row.size, row.reserved) == (MIB, MIB)
    with pytest.raises(TooLarge):
        bundle.save("a", File(Stream(bytes(MIB), b"1")))
    assert_only(row)


def test_save__unknown_size_without_a_limit(settings):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = None
    with pytest.raises(LengthRequired):
        new_bundle().save("a", File(Stream(b"1")))
    assert_only()


@pytest.mark.parametrize("size", [4, 6])
def test_save__file_that_has_not_the_size_it_says(size):
    file = ContentFile(b"spam\n")
    file.size = size
    with pytest.raises(IncompleteBody):
        new_bundle().save("a", file)
    assert_only()


def test_save__too_large_a_file_is_not_begun(settings, django_assert_num_queries):
    settings.SESSION_ATTACHMENTS_MAX_FILE_SIZE = 1
    bundle = new_bundle()
    with django_assert_num_queries(0), pytest.raises(TooLarge):
        put(bundle, data=bytes(MIB + 1))


def test_save__creates_the_session():
    session = SessionStore()
    put(Bundle(session, "foo"))
    assert session.session_key
    assert session.modified, "so that its cookie goes out"
    again = SessionStore(session.session_key)
    assert contents(Bundle(again, "foo")) == {"spam.txt": b"spam\n"}


def refusal(settings, limit):
    setattr(settings, f"SESSION_ATTACHMENTS_{limit}", 10**9 if "MIN" in limit else 1)


@pytest.mark.parametrize("name", [None, "a"], ids=["form", "file"])
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("MIN_FREE_SPACE", DiskFull),
        ("MAX_SESSION_SIZE", SessionFull),
        ("MAX_SITE_SIZE", SiteFull),
    ],
)
def test_upload__that_is_refused_makes_no_session(settings, limit, expected, name):
    """A flood of them, without cookies, fills no table of sessions."""
    refusal(settings, limit)
    session = SessionStore()
    with pytest.raises(expected):
        Bundle(session, "foo").upload(declared=2 * MIB, name=name)
    assert session.session_key is None
    assert Session.objects.count() == 0


def test_upload__of_others_counts_for_a_new_visitor(settings):
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = 1
    row = put(new_bundle(), data=bytes(MIB))
    session = SessionStore()
    with pytest.raises(SiteFull):
        put(Bundle(session, "foo"))
    assert session.session_key is None
    assert_only(row)


@pytest.mark.parametrize("size", [MIB, 4096, 0])
def test_upload__last_place_is_free_for_a_new_visitor(settings, size):
    settings.SESSION_ATTACHMENTS_MAX_SITE_SIZE = max(size, 4096) / MIB
    settings.SESSION_ATTACHMENTS_MAX_SESSION_SIZE = max(size, 4096) / MIB
    put(Bundle(SessionStore(), "foo"), data=bytes(size))
    Attachment.objects.all().delete()
    bundle = Bundle(SessionStore(), "foo")
    with bundle.upload(declared=size + 60_000) as form:
        writer = form.add("a")
        writer.write(bytes(size))
        writer.finish()
        [row] = form.publish()
    assert_only(row)


def test_upload__impossible_name_or_condition_makes_no_session():
    session = SessionStore()
    bundle = Bundle(session, "foo")
    with pytest.raises(BadName):
        put(bundle, "..")
    with pytest.raises(PreconditionFailed):
        bundle.upload(declared=1, name="a", precondition=expects("another"))
    assert session.session_key is None
    with bundle.upload(declared=1, name="a", precondition=new_only) as upload:
        upload.add("a").finish()
        upload.publish()
    assert session.session_key


# -- claiming


def test_claim(bundle):
    with bundle.claim() as lent:
        assert [file.name for file in lent] == ["egg.txt", "spam.txt"]
    assert not bundle


def test_claim__that_fails_keeps_the_bundle(bundle):
    with ends_with(ZeroDivisionError), bundle.claim():
        raise ZeroDivisionError
    assert len(bundle) == 2


class Lagging:
    """Reads go to a database that is behind: so far that it is not there."""

    def db_for_read(self, model, **hints):
        return "replica" if model is Attachment else None


def test_bundle__has_at_once_what_was_stored(bundle, settings):
    settings.DATABASE_ROUTERS = [f"{__name__}.Lagging"]
    bundle.save("new.txt", ContentFile(b"new"))
    assert bundle.keys() == ["egg.txt", "new.txt", "spam.txt"]
    assert (len(bundle), "new.txt" in bundle) == (3, True)
    assert read(bundle["new.txt"]) == b"new"
    bundle.remove("new.txt")
    assert bundle.clear() == 2


# -- uploads that are used in a wrong way


def test_upload__without_a_file_publishes_nothing(bundle):
    with ends_with(ValueError), bundle.upload(declared=5) as up:
        up.publish()
    assert len(bundle) == 2


def test_upload__of_a_file_that_is_not_finished_publishes_nothing(bundle):
    with ends_with(ValueError), bundle.upload(declared=5) as up:
        up.add("a").write(b"ab")
        up.publish()
    assert len(bundle) == 2


def test_upload__of_another_name_than_it_was_begun_for(bundle):
    """The limits were looked at for that name."""
    with (
        pytest.raises(ValueError, match="'a'"),
        bundle.upload(declared=5, name="a") as up,
    ):
        up.add("b")
    assert len(bundle) == 2
