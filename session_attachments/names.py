"""What a file and a bundle are called, and how a name is looked up.

Look-ups go by digests, because some databases take `a` and `A`, `é` and `e`, or `foo`
and `foo ` for one another.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata

from .exceptions import BadBundle, BadName

MAX_BYTES = 255
DOTS = {"", ".", ".."}


def canonical(name: str) -> str:
    """The one name under which a file is stored, looked up and shown.

    The last component of a path with `/` or `\\`, without unprintable characters
    (`str.isprintable`), in Unicode's NFC, without spaces at its ends. Idempotent.

    Raises `BadName` where nothing is left, for `.` and `..`, and for more than 255
    bytes in UTF-8.
    """
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(filter(str.isprintable, name))
    name = unicodedata.normalize("NFC", name).strip()
    if name in DOTS or len(name.encode()) > MAX_BYTES:
        raise BadName
    return name


def checked_bundle_id(bundle_id: str) -> str:
    """The bundle id as it came; raises `BadBundle` where it cannot be one."""
    if (
        bundle_id in DOTS
        or "/" in bundle_id
        or not bundle_id.isprintable()
        or not unicodedata.is_normalized("NFC", bundle_id)
        or len(bundle_id.encode()) > MAX_BYTES
    ):
        raise BadBundle
    return bundle_id


def new_bundle_id() -> str:
    """An id for the bundle of one form: 128 random bits, as 32 hex digits."""
    return secrets.token_hex(16)


def is_drawn(bundle_id: str) -> bool:
    """Whether it is a `new_bundle_id`, or that with a form's number in a formset."""
    return re.fullmatch(r"[0-9a-f]{32}(-[0-9]+)?", bundle_id) is not None


def bundle_digest(session_key: str, bundle_id: str) -> str:
    """Lower-case hex SHA-256 that identifies one bundle of one session."""
    return hashlib.sha256(f"{session_key}\0{bundle_id}".encode()).hexdigest()


def name_digest(name: str) -> str:
    """Lower-case hex SHA-256 of a canonical name."""
    return hashlib.sha256(name.encode()).hexdigest()
