"""What visitors see: pictures to be looked at, in `tests/screenshots/`, and axe-core.

With UPDATE_PICTURES in the environment those of the documentation are taken anew, too.
"""

import os
import struct
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "tests" / "screenshots"
DOCUMENTED = ROOT / "docs" / "images"

MODULES = ROOT / "tests" / "js" / "node_modules"
AXE = MODULES / "axe-core" / "axe.min.js"


def look_at(page, name):
    """Keep a picture, and let axe look for what keeps anybody out."""
    keep_picture(page, name)
    if not AXE.exists():
        pytest.skip("there is no axe-core: npm install in tests/js")
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        """async () => {
            const { violations, incomplete } = await axe.run(document, {
                rules: { "region": { enabled: true } },
            });
            const all = [...violations, ...incomplete];
            return all.map(({ id, nodes }) => [id, nodes.map((node) => [
                node.html.slice(0, 200), node.failureSummary])]);
        }"""
    )
    assert found == [], name
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], "it is too wide"


def keep_picture(page, name):
    """Of what is seen; the whole page would not be a phone's any more."""
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{name}.png"
    page.screenshot(path=path, animations="disabled")


def document(page, name, room=14):
    """Of the form and its surroundings, for the documentation."""
    if "UPDATE_PICTURES" in os.environ:
        box = page.locator("form").last.bounding_box()
        left = max(box["x"] - room, 0)
        clip = {
            "x": left,
            "y": box["y"] - room,
            "width": min(box["width"] + 2 * room, page.viewport_size["width"] - left),
            "height": box["height"] + 2 * room,
        }
        page.screenshot(
            path=DOCUMENTED / f"{name}.png", clip=clip, animations="disabled"
        )


def picture(size=(48, 32), colour=(90, 140, 200)):
    """A PNG."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    width, height = size
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = b"".join(
        b"\0" + bytes(part * (line + height) // (2 * height) for part in colour) * width
        for line in range(height)
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
