"""What arrives in a request's body, whole or not, understood or not."""

import io
import itertools
import time
from contextlib import suppress

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import UnreadablePostError
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from session_attachments.bodies import (
    CHUNK,
    LEAST,
    MAX_FORM,
    Body,
    Form,
    declared_length,
    form_token,
    linger,
)
from session_attachments.exceptions import (
    AttachmentError,
    BadName,
    BundleFull,
    IncompleteBody,
    LengthRequired,
    Malformed,
    NoFile,
)
from session_attachments.views import FileView
from tests.wire import BOUNDARY, CLOSE, FORM, Stream, file_part, malformed_forms, part

CRLF = b"\r\n"
BASE64 = ["Content-Transfer-Encoding: base64"]
FORM_OF_PAIRS = "application/x-www-form-urlencoded"


def request_of(*chunks, length=None, content_type=FORM):
    if length is None:
        length = sum(map(len, chunks))
    return RequestFactory().generic(
        "POST", "/", CONTENT_TYPE=content_type, **Stream(chunks, length).extra
    )


def asgi_request_of(data, length):
    scope = {"type": "http", "method": "PUT", "path": "/", "query_string": b""}
    headers = [(b"content-length", b"%d" % length)]
    return ASGIRequest(scope | {"headers": headers}, io.BytesIO(data))


def files_of(*chunks, **kwargs):
    request = request_of(*chunks, **kwargs)
    form = Form(request, declared_length(request))
    return [(name, b"".join(content)) for name, content in form.files()]


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


def broken():
    raise ConnectionResetError


# -- the declared length


@pytest.mark.parametrize(
    ("length", "value"),
    [("0", 0), ("7", 7), ("007", 7), ("9" * 18, 10**18 - 1)],
)
def test_declared_length(length, value):
    assert declared_length(request_of(length=length)) == value


@pytest.mark.parametrize(
    "length", ["-1", "+1", "1 ", "1,1", "1, 1", "0x1", "1.0", "1e3", "a", "٣", "²"]
)
def test_declared_length__not_a_number(length):
    with pytest.raises(Malformed):
        declared_length(request_of(length=length))


def test_declared_length__more_digits_than_python_converts():
    with pytest.raises(Malformed):
        declared_length(request_of(length="9" * 5000))


@pytest.mark.parametrize("meta", [{"CONTENT_LENGTH": ""}, {}])
def test_declared_length__missing(meta):
    request = RequestFactory().generic("PUT", "/", **meta)
    with pytest.raises(LengthRequired):
        declared_length(request)


def test_declared_length__chunked():
    request = request_of(b"spam")
    request.META["HTTP_TRANSFER_ENCODING"] = "chunked"
    with pytest.raises(LengthRequired):
        declared_length(request)


# -- a raw body


@given(data=st.binary(max_size=50), size=st.integers(1, 50))
def test_body__in_any_chunks(data, size):
    request = request_of(*pieces(data, size), length=len(data))
    assert b"".join(Body(request, len(data))) == data


@pytest.mark.parametrize("chunks", [[], [b"s"], [b"s", b"pa"]])
def test_body__short(chunks):
    request = request_of(*chunks, length=4)
    with pytest.raises(IncompleteBody):
        list(Body(request, 4))


@pytest.mark.parametrize("data", [b"spa", b"spam!"])
def test_body__asgi_server_did_not_count(data):
    with pytest.raises(IncompleteBody):
        list(Body(asgi_request_of(data, 4), 4))


def test_body__wsgi_reads_no_further_than_declared():
    stream = Stream([b"spam"], 4)
    request = RequestFactory().generic("PUT", "/", **stream.extra)
    assert list(Body(request, 4)) == [b"spam"]
    assert stream.taken == 4


def test_body__connection_lost():
    request = RequestFactory().generic("PUT", "/", **Stream([b"s", broken], 4).extra)
    with pytest.raises(IncompleteBody) as info:
        list(Body(request, 4))
    assert isinstance(info.value.__cause__, UnreadablePostError)


# -- the pace of a body


class Trickle(Stream):
    """A body of so many bytes a second, by a clock of its own.

    One rate for each MiB; the last one is that of the rest.
    """

    def __init__(self, data, rates):
        super().__init__([data], len(data))
        self.rates, self.now = rates, 0.0

    def monotonic(self):
        return self.now

    def read(self, size=-1):
        rate = self.rates[min(self.taken // CHUNK, len(self.rates) - 1)]
        data = super().read(size)
        self.now += len(data) / rate
        return data


@pytest.fixture
def waits(monkeypatch):
    """Read what trickles in; returns the seconds before each piece of the content."""

    def taken(method, length, *rates):
        data = bytes(length)
        body = data if method == "PUT" else file_part("a", data) + CLOSE
        stream = Trickle(body, rates)
        monkeypatch.setattr("session_attachments.bodies.time", stream)
        request = RequestFactory().generic(
            method, "/", CONTENT_TYPE=FORM, **stream.extra
        )
        if method == "PUT":
            content = Body(request, len(body))
        else:
            [(_, content)] = itertools.islice(Form(request, len(body)).files(), 1)
        times, received = [0.0], 0
        for piece in content:
            times.append(stream.now)
            received += len(piece)
        assert received == length
        return [end - start for start, end in itertools.pairwise(times)]

    return taken


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("rate", [50_000, 100_000, 1_000_000, 3_000_000])
def test_pace__of_a_slow_body_is_a_piece_a_second(waits, method, rate):
    assert max(waits(method, 5 * CHUNK, rate)) <= 1


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_pace__of_a_very_slow_body_is_that_of_the_smallest_piece(waits, method):
    assert max(waits(method, 20 * LEAST, 100)) == pytest.approx(LEAST / 100)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_pace__of_a_fast_body_is_that_of_the_largest_piece(waits, method):
    taken = waits(method, 20 * CHUNK, 1_000_000_000)
    assert max(taken) == pytest.approx(CHUNK / 1_000_000_000)
    assert len(taken) < 30


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_pace__of_a_body_that_becomes_slow(waits, method):
    taken = waits(method, 6 * CHUNK, 1e9, 1e9, 1e9, 50_000)
    slow = next(n for n, seconds in enumerate(taken) if seconds > 1)
    pieces = [CHUNK / 50_000, CHUNK / 4 / 50_000, CHUNK / 16 / 50_000]
    assert taken[slow : slow + 3] == pytest.approx(pieces)
    assert max(taken[slow + 3 :]) <= 1


# -- after a refusal


def lingered(chunks, length, limit=10):
    stream = Stream(chunks, length)
    request = RequestFactory().generic("PUT", "/", **stream.extra)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("session_attachments.bodies.LINGER", limit)
        linger(request)
    return stream.taken


def test_linger__reads_to_the_end_or_the_limit():
    assert lingered([b"x" * 7] * 9, 63) == 10
    assert lingered([b"x" * 4] * 2, 8) == 8
    assert lingered([b"x" * 4], 63) == 4
    assert lingered([], 0) == 0


def test_linger__client_is_gone():
    assert lingered([b"x", broken], 63) == 1


def test_linger__asgi_has_read_everything():
    request = asgi_request_of(b"spam", 4)
    linger(request)
    assert request.read() == b"spam"
    request.close()
    linger(request)


def test_linger__after_the_answer_was_sent():
    stream = Stream([b"x" * 200_000] * 10, 2_000_000)
    request = RequestFactory().generic("PUT", "/", CONTENT_TYPE=FORM, **stream.extra)
    response = FileView.as_view()(request, bundle_id="..", file_name="a")
    assert response.status_code == 400
    assert stream.taken == 0
    response.close()
    assert stream.taken == 2_000_000


# -- a form

CONTENTS = st.one_of(
    st.binary(max_size=40),
    # What looks like a boundary, and is none.
    st.lists(
        st.sampled_from([b"\r", b"\n", b"-", b"--", CRLF, b"X", b"--X", b"\r\n--X\r\n"])
    ).map(b"".join),
).filter(lambda data: b"--XX" not in data)


@given(
    files=st.lists(st.tuples(st.sampled_from("abc"), CONTENTS), min_size=1, max_size=4),
    size=st.integers(1, 200),
    preamble=st.sampled_from([b"", CRLF, b"text\r\n", b"a: b\r\n\r\nc\r\n"]),
    epilogue=st.sampled_from([b"", CRLF, b"text", b"\r\n--", b"x" * 300]),
)
def test_form__in_any_chunks(files, size, preamble, epilogue):
    parts = b"".join(file_part(name, data) for name, data in files)
    body = preamble + parts + CLOSE + epilogue
    assert files_of(*pieces(body, size)) == files


@given(cut=st.integers(0, 118), size=st.integers(1, 200), short=st.booleans())
def test_form__cut_anywhere(cut, size, short):
    """Whether the sender went away, or never wrote the end."""
    body = file_part("a", b"first") + file_part("b", b"second")
    assert len(body) > 118
    closed = len(body) + len(CLOSE)
    with pytest.raises((IncompleteBody, Malformed, NoFile)):
        files_of(*pieces(body[:cut], size), length=closed if short else cut)


def test_form__closed_without_a_line_end():
    assert files_of(file_part("a", b"spam") + b"--XX--") == [("a", b"spam")]


def test_form__nothing_but_its_end():
    with pytest.raises(NoFile):
        files_of(CLOSE)


def test_form__empty_body():
    with pytest.raises(NoFile):
        files_of(length=0)


def test_form__part_after_the_end_is_not_a_file():
    body = file_part("a", b"spam") + CLOSE
    assert files_of(body + file_part("b", b"egg")) == [("a", b"spam")]
    assert files_of(body + file_part("b", b"egg") + CLOSE) == [("a", b"spam")]


def test_form__end_that_looks_like_a_part():
    """Django's parser takes it for one, so that there is no end."""
    tail = b"Content-Disposition: form-data; name=x; filename=y\r\n\r\n"
    with pytest.raises(IncompleteBody):
        files_of(file_part("a", b"spam") + CLOSE + tail)


def test_form__malformed_costs_little():
    for entry in malformed_forms():
        start = time.process_time()
        with suppress(AttachmentError):
            files_of(entry["body"], content_type=entry["content_type"])
        assert time.process_time() - start < 0.2, entry["note"]


def test_form__token_from_its_field():
    request = request_of(
        part('name="csrfmiddlewaretoken"', b"secret") + file_part("a", b"") + CLOSE
    )
    form = Form(request, declared_length(request))
    assert form.token == ""
    assert [name for name, content in form.files() if list(content) or True] == ["a"]
    assert form.token == "secret"


@pytest.mark.parametrize(
    "token", [b"x" * 100_000, b"\xff\xfe", b""], ids=["long", "not_utf8", "empty"]
)
def test_form__nonsense_as_token(token):
    request = request_of(
        part('name="csrfmiddlewaretoken"', token) + file_part("a") + CLOSE
    )
    form = Form(request, declared_length(request))
    assert [name for name, _ in form.files()] == ["a"]
    assert len(form.token) <= 1024


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7BIT", " Binary "])
def test_form__transfer_encoding_that_is_none(encoding):
    header = f"Content-Transfer-Encoding: {encoding}"
    body = part('name="a"; filename="a"', b"aGk=", header) + CLOSE
    assert files_of(body) == [("a", b"aGk=")]


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x"])
def test_form__transfer_encoding(encoding):
    header = f"Content-Transfer-Encoding: {encoding}"
    with pytest.raises(Malformed):
        files_of(part('name="a"; filename="a"', b"aGk=", header) + CLOSE)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="f"; filename="a b.txt"', "a b.txt"),
        ("name=f; filename=a.txt", "a.txt"),
        ('filename="a.txt"; name="f"', "a.txt"),
        (r'name="f"; filename="a\"b"', 'a"b'),
        ('name="f"; filename="C:\\\\a\\\\b"', "C:\\a\\b"),
        ('name="f"; filename="a;b=c"', "a;b=c"),
        ("name=f; filename*=UTF-8''%e2%82%ac", "€"),
        ('name="f"; filename="a"; filename*=utf-8\'en\'b', "b"),
        ('name="ü"; filename="é"', "é"),
        ('name=""; filename="a"', "a"),
        ('name="f"; filename="a\r\n b"', '"a'),
        ("name=f; filename*=utf-8''%ff", "\ufffd"),
        ("name=f; filename*=rot13''%41", "A"),
    ],
)
def test_form__name(disposition, name):
    assert files_of(part(disposition, b"spam") + CLOSE) == [(name, b"spam")]


@pytest.mark.parametrize(
    ("disposition", "error"),
    [
        ('filename="a"', Malformed),
        (b'name="f"; filename="\xff"', BadName),
        (b'name="\xff"; filename="a"', BadName),
        ('name="f"; filename=""', BadName),
        ("name=f; filename=", BadName),
        ("name=f; filename*=x''%41", Malformed),
        ("name=f; filename*=idna''%2e%2e", Malformed),
        (f'name="f"; filename="{"x" * 2000}"', Malformed),
    ],
)
def test_form__bad_name(disposition, error):
    with pytest.raises(error):
        files_of(part(disposition, b"spam") + CLOSE)


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Content-Type: text/plain",
        b"Content-Disposition",
        b"Content-Disposition: ",
        b"Content-Disposition: attachment; name=f",
        b"Content-Disposition: form-data",
        b"X: " + b"y" * 1100,
    ],
)
def test_form__bad_part(headers):
    body = b"--XX\r\n" + headers + b"\r\n\r\nspam\r\n" + CLOSE
    with pytest.raises((Malformed, NoFile)):
        files_of(body)


def test_form__line_feeds_only():
    body = (file_part("a", b"spam") + CLOSE).replace(b"\r\n", b"\n")
    with pytest.raises(Malformed):
        files_of(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=\u00e9",
        f"multipart/form-data; boundary={'x' * 202}",
        f"multipart/mixed; boundary={BOUNDARY}",
        FORM_OF_PAIRS,
        "",
    ],
)
def test_form__not_one(content_type):
    with pytest.raises(Malformed):
        files_of(file_part("a") + CLOSE, content_type=content_type)


def test_form__other_boundary():
    with pytest.raises((NoFile, IncompleteBody)):
        files_of(file_part("a") + CLOSE, content_type=FORM + "Y")


def test_form__fields_are_limited(settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3
    fields = [part(f'name="{n}"', b"x") for n in range(4)]
    assert len(files_of(b"".join(fields[:3]) + file_part("a") + CLOSE)) == 1
    with pytest.raises(Malformed):
        files_of(b"".join(fields) + file_part("a") + CLOSE)
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = None
    assert len(files_of(b"".join(fields) + file_part("a") + CLOSE)) == 1


def test_form__files_are_limited(settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 3
    body = b"".join(file_part(str(n)) for n in range(4))
    with pytest.raises(BundleFull) as info:
        files_of(body + CLOSE)
    assert info.value.limit == 3
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = None
    assert len(files_of(body + CLOSE)) == 4


def test_form__fields_before_files_after_and_between():
    body = [
        part('name="t"', b"1"),
        file_part("a", b"A"),
        part('name="t"', b"2"),
        file_part("b", b"B"),
        part('name="t"', b"3"),
    ]
    assert files_of(*body, CLOSE) == [("a", b"A"), ("b", b"B")]


def test_form__connection_lost():
    request = RequestFactory().generic(
        "POST", "/", CONTENT_TYPE=FORM, **Stream([b"--XX\r\n", broken], 100).extra
    )
    with pytest.raises(IncompleteBody):
        list(Form(request, 100).files())


# -- a form without files


def token_of(data, content_type=FORM_OF_PAIRS, **kwargs):
    return form_token(request_of(data, content_type=content_type, **kwargs))


def test_form_token():
    assert token_of(b"csrfmiddlewaretoken=a%2Bb&x=y") == "a+b"
    assert token_of(part('name="csrfmiddlewaretoken"', b"a+b") + CLOSE, FORM) == "a+b"
    assert token_of(b"x=y") == ""
    assert token_of(b"{}", "application/json") == ""
    assert form_token(RequestFactory().generic("POST", "/")) == ""


def test_form_token__connection_lost():
    stream = Stream([broken], 100)
    request = RequestFactory().generic(
        "POST", "/", CONTENT_TYPE=FORM_OF_PAIRS, **stream.extra
    )
    with pytest.raises(IncompleteBody):
        form_token(request)


@pytest.mark.parametrize(
    ("data", "content_type", "length"),
    [
        (b"", FORM_OF_PAIRS, MAX_FORM + 1),
        (b"", FORM_OF_PAIRS, "-1"),
        (b"", FORM_OF_PAIRS, "x"),
        (b"", FORM_OF_PAIRS, "9" * 5000),
        (b"a=b", FORM_OF_PAIRS + "; charset=latin-1", None),
        (b"&".join(b"a=b" for _ in range(1001)), FORM_OF_PAIRS, None),
        (b"spam", "multipart/form-data", None),
        (part("name=f; filename=a", b"=", *BASE64) + CLOSE, FORM, None),
    ],
)
def test_form_token__malformed(data, content_type, length):
    with pytest.raises(Malformed):
        token_of(data, content_type, length=length)
