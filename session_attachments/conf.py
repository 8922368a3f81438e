"""What a site can configure: every setting, its unit, its default, its check."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

PREFIX = "SESSION_ATTACHMENTS_"


@dataclass(frozen=True)
class Unit(Generic[T]):
    """How a value is written in the settings, and what it is read as."""

    name: str
    accepts: Callable[[Any], bool]
    read: Callable[[Any], T]


#: What a database's BIGINT holds, in MiB.
MOST_MEBIBYTES = 2**43
#: A century, in days: time that is counted back from today stays in the calendar.
MOST_DAYS = 36_500

SECONDS_OF = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def duration(value: str | float) -> timedelta:
    """Read `2` or `2d` (days), `12h`, `30m` or `45s`, with or without decimals.

    Raises ValueError for anything else, and for more than a century.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms]?)", str(value), re.ASCII)
    if match is None:
        raise ValueError(
            f"{value!r} is not a duration. Write a number of days, such as 2 or 0.5, "
            "or hours, minutes or seconds: 12h, 30m, 45s."
        )
    seconds = float(match[1]) * SECONDS_OF[match[2] or "d"]
    if seconds > MOST_DAYS * SECONDS_OF["d"]:
        raise ValueError(f"{value!r} is too long: more than {MOST_DAYS} days.")
    return timedelta(seconds=seconds)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_size(value: Any) -> bool:
    return _is_number(value) and value < MOST_MEBIBYTES


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int)


def _is_days(value: Any) -> bool:
    return _is_number(value) and 0 < value <= MOST_DAYS


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and 0 < value <= MOST_DAYS * SECONDS_OF["d"]


def _is_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_strings([*value, *value.values()])


def _is_aliases(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_strings([*value]) and all(map(_is_strings, value.values()))
    return _is_strings(value)


def _to_aliases(value: Any) -> Mapping[str, tuple[str, ...]]:
    if isinstance(value, Mapping):
        return {alias: tuple(exceptions) for alias, exceptions in value.items()}
    return dict.fromkeys(value, ("builtins.OSError",))


def _to_bytes(value: float) -> int:
    return int(value * 2**20)


def _optional(unit: Unit[T]) -> Unit[T | None]:
    return Unit(
        f"{unit.name}, or None",
        lambda value: value is None or unit.accepts(value),
        lambda value: None if value is None else unit.read(value),
    )


MEBIBYTES = Unit[int]("MiB", _is_size, _to_bytes)
COUNT = Unit[int]("number", _is_count, int)
FLAG = Unit[bool]("True or False", lambda value: isinstance(value, bool), bool)
STRING = Unit[str]("string", lambda value: isinstance(value, str), str)
MAINTENANCE = Unit[bool | str](
    "True, False or string",
    lambda value: isinstance(value, bool | str),
    lambda value: value,
)
MAPPING = Unit[Mapping[str, str]]("dict of strings to strings", _is_mapping, dict)
ALIASES = Unit[Mapping[str, tuple[str, ...]]](
    "list of strings, or dict of strings to lists of strings", _is_aliases, _to_aliases
)
SECONDS = Unit[timedelta](
    "seconds, more than 0", _is_seconds, lambda value: timedelta(seconds=value)
)
DAYS = Unit[timedelta](
    "days, more than 0", _is_days, lambda value: timedelta(days=value)
)
STRINGS = Unit[tuple[str, ...]]("list of strings", _is_strings, tuple)


class Setting(Generic[T]):
    """One setting, read from Django's settings on every use."""

    def __init__(self, default: Any, unit: Unit[T], doc: str) -> None:
        self.default, self.unit, self.__doc__ = default, unit, doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = PREFIX + name.upper()

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        if not self.accepted:
            raise ImproperlyConfigured(self.complaint)
        return self.unit.read(self.raw)

    @property
    def raw(self) -> Any:
        """The value as the site wrote it."""
        return getattr(settings, self.name, self.default)

    @property
    def accepted(self) -> bool:
        """Whether the site's value has the setting's type."""
        return self.unit.accepts(self.raw)

    @property
    def complaint(self) -> str:
        """What is wrong with the site's value, and what would be right."""
        return f"{self.name} is {self.raw!r}; write: {self.unit.name}."


class Conf:
    """The settings by name, without their prefix."""

    max_file_size = Setting(
        50,
        _optional(MEBIBYTES),
        "The largest file; exact to the byte. `None`: no limit.",
    )
    max_files = Setting(100, _optional(COUNT), "Files in one bundle. `None`: no limit.")
    max_session_size = Setting(
        250,
        _optional(MEBIBYTES),
        "Space that the files of one session may take together. Every file counts "
        "at least 4 KiB. `None`: no limit.",
    )
    max_site_size = Setting(
        10_240,
        _optional(MEBIBYTES),
        "Space that the files of all sessions may take together. `None`: no limit.",
    )
    min_free_space = Setting(
        512, MEBIBYTES, "What an upload must leave free on a local disk."
    )
    allowed_types = Setting(
        None,
        _optional(STRINGS),
        "MIME types that are accepted, such as `application/pdf` or `image/*`, judged "
        "by the content. `None`: any.",
    )
    validators = Setting(
        (),
        STRINGS,
        "Dotted paths of callables that receive the complete file before it becomes "
        "visible, and raise `ValidationError` to refuse it.",
    )
    storages = Setting(
        (),
        ALIASES,
        "Where new files go: aliases of `STORAGES`, the first one that works. As a "
        "dict, each with the dotted paths of the exceptions that make an upload move "
        "on to the next; as a list, with `OSError`. Empty: the alias "
        "`session_attachments` where `STORAGES` has it, else `default`.",
    )
    storage_chooser = Setting(
        None,
        _optional(STRING),
        "Dotted path of a callable that is told `name`, `size`, `mimetype` and "
        "`bundle_id`, and returns the alias for a file, or `None` for the usual ones.",
    )
    metadata = Setting(
        None,
        _optional(STRING),
        "Dotted path of a callable that receives the complete file and returns a dict "
        "of what JSON can hold, for the item's `meta`.",
    )
    sha256 = Setting(
        False, FLAG, "Whether the item's `meta` has the content's SHA-256, in hex."
    )
    downloads = Setting(
        "stream",
        STRING,
        "Who sends a file: `stream` (Django), `sendfile` (the web server), `redirect` "
        "(the storage), or the dotted path of a callable.",
    )
    downsamplers = Setting(
        {},
        MAPPING,
        "MIME types, such as `image/*`, and the dotted paths of the functions that "
        "make them smaller.",
    )
    maintenance = Setting(
        False,
        MAINTENANCE,
        '`True` answers 503 to all but superusers, `"read-only"` to what changes '
        "anything. Or the dotted path of a callable that is told the request and "
        "returns one of these.",
    )
    access_checks = Setting(
        (),
        STRINGS,
        "Dotted paths of callables that are told the request and let it in by "
        "returning `True` or nothing; anything else refuses it, and so does raising "
        "`PermissionDenied` with the reason.",
    )
    staff_bypass = Setting(
        False,
        FLAG,
        "Whether staff may skip the access checks. Other visitors' files stay theirs.",
    )
    url_namespace = Setting(
        "",
        STRING,
        "The namespace under which the site includes the URLs, for form widgets.",
    )
    lifetime = Setting(
        2, DAYS, "How long a file is kept after its upload, if no form claims it."
    )
    upload_lease = Setting(
        900,
        SECONDS,
        "An upload that has shown no progress for this long is given up.",
    )
    grace = Setting(
        30,
        SECONDS,
        "How long a replaced file is kept for downloads that are about to open it.",
    )
    request_timeout = Setting(
        86_400,
        SECONDS,
        "The longest that any request, task or transaction of the site can live.",
    )

    @classmethod
    def settings(cls) -> Iterator[Setting[Any]]:
        """All settings, in the order of the documentation."""
        return (value for value in vars(cls).values() if isinstance(value, Setting))


conf = Conf()
