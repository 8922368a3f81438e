"""What kind of content a file has, by its first bytes.

The only module that imports libmagic, when it is first needed. Where the system has
none, `pylibmagic` brings it; that package changes `ctypes` for the whole process, so it
is left alone elsewhere.
"""

from __future__ import annotations

import ctypes.util
from functools import cache
from types import ModuleType
from typing import Any

#: How many of a file's first bytes `sniff` wants. Fewer take xlsx for zip, and more.
HEAD = 64 * 1024

#: The type of a file without content.
EMPTY = "inode/x-empty"

# A Magic object serves one caller at a time. Threads take one and give it back.
_idle: list[Any] = []


def sniff(head: bytes) -> str:
    """The MIME type of a file that starts with these bytes, by libmagic.

    `EMPTY` for no bytes, `application/octet-stream` where nothing fits.
    """
    if not head:
        # Of a buffer, libmagic says something else.
        return EMPTY
    try:
        detector = _idle.pop()
    except IndexError:
        detector = _libmagic().Magic(mime=True)
    try:
        return str(detector.from_buffer(head))
    except _libmagic().MagicException:
        return "application/octet-stream"
    finally:
        _idle.append(detector)


@cache
def _libmagic() -> ModuleType:
    if ctypes.util.find_library("magic") is None:
        import pylibmagic  # noqa: F401
    import magic

    return magic
