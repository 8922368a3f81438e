"""What a file and a bundle are called."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_attachments.exceptions import BadBundle, BadName
from session_attachments.names import (
    bundle_digest,
    canonical,
    checked_bundle_id,
    name_digest,
)

# Letters, what composes with them, what separates, and what nobody sees.
TRICKY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "aeKÅ가ﬁ\u017f./\\ \t\n\0\u0301\u0323\u0300\u11a8\u00a0\u200b\u202e"
        ),
    ),
    max_size=300,
)


@given(TRICKY)
def test_canonical__idempotent(name):
    try:
        once = canonical(name)
    except BadName:
        return
    assert canonical(once) == once
    assert once.isprintable()
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
    assert once not in ("", ".", "..")
    assert not set(once) & {"/", "\\"}
    assert 1 <= len(once.encode()) <= 255


def test_canonical__every_character():
    """No character becomes one that separates or cannot be seen."""
    every = [chr(code) for code in range(sys.maxunicode + 1) if chr(code) not in "/\\"]
    for i in range(0, len(every), 60):
        name = canonical("a" + "b".join(every[i : i + 60])[:60])
        assert canonical(name) == name
        assert name.isprintable()


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("spam.txt", "spam.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\win.ini", "win.ini"),
        ("a/b\\c", "c"),
        ("a\\b/c", "c"),
        ("  a b  ", "a b"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u212b", "\u00c5"),
        ("\u1100\u1161", "\uac00"),
        ("ﬁle", "ﬁle"),
        ("ann\u202egpj.exe", "anngpj.exe"),
        ("a\0b\r\nc\x7f\x85\u2028d", "abcd"),
        ("\ud800a", "a"),
        ("...", "..."),
        (". .", ". ."),
        (".env", ".env"),
        ("a.", "a."),
        ("%2e%2e%2fa", "%2e%2e%2fa"),
        ("x" * 255, "x" * 255),
        ("é" * 127, "é" * 127),
        ("e\u0301" * 127, "é" * 127),
        ("dir/" + "x" * 255, "x" * 255),
    ],
)
def test_canonical(name, result):
    assert canonical(name) == result


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", " .. ", "/", "a/", "a\\", "a/.", "..\0", "\u200b.\u200b"),
        *("\0", "\u00a0", "\ud800", "x" * 256, "é" * 128, "😀" * 64),
    ],
)
def test_canonical__refused(name):
    with pytest.raises(BadName):
        canonical(name)


@given(TRICKY)
def test_bundle_id__as_it_came_or_refused(bundle_id):
    try:
        assert checked_bundle_id(bundle_id) is bundle_id
    except BadBundle:
        assert (
            bundle_id in ("", ".", "..")
            or "/" in bundle_id
            or not bundle_id.isprintable()
            or unicodedata.normalize("NFC", bundle_id) != bundle_id
            or len(bundle_id.encode(errors="surrogatepass")) > 255
        )


@pytest.mark.parametrize("bundle_id", ["a", "...", " ", "x" * 255, "é" * 127])
def test_bundle_id__accepted(bundle_id):
    assert checked_bundle_id(bundle_id) == bundle_id


@pytest.mark.parametrize(
    "bundle_id",
    ["", ".", "..", "a/b", "\0", "\n", "e\u0301", "x" * 256, "é" * 128, "\ud800"],
)
def test_bundle_id__refused(bundle_id):
    with pytest.raises(BadBundle):
        checked_bundle_id(bundle_id)


@given(TRICKY)
def test_digest__of_what_differs_differs(name):
    name = "".join(filter(str.isprintable, name))
    digest = name_digest(name)
    assert len(digest) == 64
    assert digest == digest.lower()
    assert digest != name_digest(name + " ")
    assert name.swapcase() == name or digest != name_digest(name.swapcase())


def test_bundle_digest__neither_part_runs_into_the_other():
    pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")]
    assert len({bundle_digest(*pair) for pair in pairs}) == len(pairs)
