"""What kind of content a file has."""

import io
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import magic
import pytest

from session_attachments import sniffing
from session_attachments.sniffing import HEAD, sniff

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0"


def zip_of(*names):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 2500)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "inode/x-empty"),
        (b"\0", "application/octet-stream"),
        (b"spam\n", "text/plain"),
        (PNG, "image/png"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"<!DOCTYPE html><title>a</title>", "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "image/svg+xml"),
        (b"#!/bin/sh\n", "text/x-shellscript"),
        (zip_of("a.txt"), "application/zip"),
    ],
)
def test_sniff(head, kind):
    assert sniff(head) == kind


def test_sniff__more_than_the_usual_2048_bytes():
    docx = zip_of("[Content_Types].xml", "_rels/.rels", "word/document.xml")
    assert len(docx) > 4096
    assert sniff(docx[:2048]) == "application/zip"
    assert sniff(docx[:HEAD]).endswith(".wordprocessingml.document")


def test_sniff__libmagic_fails(monkeypatch):
    def fail(self, head):
        raise magic.MagicException("no")

    monkeypatch.setattr(magic.Magic, "from_buffer", fail)
    assert sniff(b"spam") == "application/octet-stream"


def test_sniff__one_detector_for_each_thread(monkeypatch):
    monkeypatch.setattr(sniffing, "_idle", [])
    together, used = Barrier(4, timeout=20), []

    def slow(self, head):
        used.append(id(self))
        together.wait()
        return "text/plain"

    monkeypatch.setattr(magic.Magic, "from_buffer", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sniff, [b"spam"] * 4))
        assert len(set(used)) == 4
        used.clear()
        list(pool.map(sniff, [b"spam"] * 4))
    assert len(sniffing._idle) == len(set(used)) == 4


def test_sniff__threads_agree():
    heads = [b"spam\n", PNG, b"%PDF-1.7\n", b""] * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(sniff, heads)) == [sniff(head) for head in heads]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_sniff__flat_memory():
    sniff(PNG)
    before = _resident()
    for _ in range(2000):
        sniff(PNG)
    assert _resident() - before < 4 * 2**20


def _resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096
