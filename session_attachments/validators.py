"""What kinds of content are accepted, and what a site's own validators say."""

from __future__ import annotations

import json
import logging
import mimetypes
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.core.files import File
from django.utils.module_loading import import_string

from .conf import conf
from .exceptions import Invalid, TypeNotAllowed
from .sniffing import EMPTY

logger = logging.getLogger("session_attachments")

#: Opens the complete file anew, so that nobody finds it closed, or read, by another.
Opened: TypeAlias = "Callable[[], File[bytes]]"

UNKNOWN = "application/octet-stream"

# What libmagic says of a container or a plain text, and what the file can really be.
# Nothing that a computer executes is hidden behind these.
COMPATIBLE = {
    EMPTY: ("*",),
    "text/plain": (
        "text/*",
        "application/json",
        "application/*+json",
        "application/toml",
        "application/x-tex",
        "application/yaml",
        "message/rfc822",
    ),
    "text/xml": ("application/xml", "application/*+xml", "image/svg+xml", "text/*"),
    "application/zip": (
        "application/vnd.openxmlformats-officedocument.*",
        "application/vnd.oasis.opendocument.*",
        "application/vnd.ms-*.macroenabled.12",
        "application/epub+zip",
    ),
    "application/cdfv2": ("application/msword", "application/vnd.ms-*"),
    "application/x-ole-storage": ("application/msword", "application/vnd.ms-*"),
}


def mimetype(sniffed: str) -> str:
    """The type that a file is served with: what was sniffed, if it can be sent."""
    return UNKNOWN if sniffed == EMPTY else sniffed


def check_type(name: str, sniffed: str, size: int) -> None:
    """Raise `TypeNotAllowed` where the content is of no type that the site accepts."""
    allowed = conf.allowed_types
    if allowed is not None and not is_accepted(name, sniffed, size, allowed):
        raise TypeNotAllowed


def is_accepted(name: str, sniffed: str, size: int, allowed: Iterable[str]) -> bool:
    """Whether the content is of one of the types, such as `image/*`.

    The type of the name's extension counts only where it is a kind of what was sniffed:
    a CSV is plain text, an Office document a zip. A single byte can be any text, and an
    empty file anything.
    """
    if size == 0:
        sniffed = EMPTY
    if size == 1 and sniffed == UNKNOWN:
        sniffed = "text/plain"
    guessed = (mimetypes.guess_type(name, strict=False)[0] or UNKNOWN).lower()
    kinds = {sniffed.lower()}
    if _matches(guessed, COMPATIBLE.get(sniffed.lower(), ())):
        kinds.add(guessed)
    return any(_matches(kind, allowed) for kind in kinds)


def validate(opened: Opened) -> None:
    """Show the complete file to the site's validators.

    Raises `Invalid` with the message of the first one that refuses it. One that crashes
    refuses it too. And what opening the file raises.
    """
    for path in conf.validators:
        with opened() as file:
            try:
                import_string(path)(file)
            except ValidationError as error:
                raise Invalid(" ".join(error.messages)) from error
            except Exception as error:
                logger.exception("The validator %s failed", path)
                raise Invalid from error


def metadata(opened: Opened) -> dict[str, Any]:
    """What the site's METADATA finds out about the complete file.

    Raises `Invalid` where it fails, or finds what JSON, or a database's JSON, cannot
    hold: such as NaN, or a text with a NUL or half a surrogate pair. And what opening
    the file raises.
    """
    if conf.metadata is None:
        return {}
    with opened() as file:
        try:
            found: dict[str, Any] = dict(import_string(conf.metadata)(file))
            _check_json(found)
        except Exception as error:
            logger.exception("%s failed", conf.metadata)
            raise Invalid from error
    return found


def _check_json(found: dict[str, Any]) -> None:
    """Raise some error for what not every database can hold as JSON."""
    json.dumps(found, allow_nan=False)
    for text in _texts(found):
        text.encode()
        if "\0" in text:
            raise ValueError(f"PostgreSQL does not keep the NUL in {text!r}")


def _texts(found: Any) -> Iterator[str]:
    """Every text in what JSON can hold, keys included."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for entry in found.items():
            yield from _texts(entry)
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _texts(value)


def _matches(kind: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(kind, pattern.lower()) for pattern in patterns)
