"""What `manage.py check` says of a site's settings."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.signed_cookies import (
    SessionStore as SignedCookieSession,
)
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import checks
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import connections, router
from django.urls import get_resolver
from django.utils.module_loading import import_string

from . import csrf, downloads, storage
from .conf import PREFIX, Conf, Setting, conf
from .middleware import visitor_middleware
from .models import Attachment
from .workflow import READ_ONLY

#: The first bytes of every PNG (ISO/IEC 15948, section 5.2), and its first chunk.
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0"

OWN_STORAGE = (
    "Give them a private storage of their own: STORAGES = {..., "
    f"{storage.ALIAS!r}: {{'BACKEND': "
    "'django.core.files.storage.FileSystemStorage', "
    "'OPTIONS': {'location': '/a/private/folder'}}}."
)

#: The backend of django-sendfile2 that tells the web server a path, as it is.
SENDFILE_BY_PATH = "django_sendfile.backends.xsendfile"

#: Backends of django-sendfile2 that tell the web server a URL.
SENDFILE_BY_URL = {
    "django_sendfile.backends.mod_wsgi",
    "django_sendfile.backends.nginx",
}


def check_settings(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Each setting exists and has its type."""
    for setting in Conf.settings():
        if not setting.accepted:
            yield checks.Error(
                f"{setting.name} is {setting.raw!r}.",
                hint=f"Write: {setting.unit.name}.",
                id="session_attachments.E001",
            )
    known = [setting.name for setting in Conf.settings()]
    for name in dir(settings):
        if name.startswith(PREFIX) and name not in known:
            similar = get_close_matches(name, known, n=1)
            yield checks.Warning(
                f"There is no setting {name}.",
                hint=f"Did you mean {similar[0]}?" if similar else "Remove it.",
                id="session_attachments.W007",
            )


def check_limits(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The limits can be reached, and those of time fit together."""
    if not all(setting.accepted for setting in Conf.settings()):
        return
    if conf.upload_lease > conf.request_timeout:
        yield checks.Error(
            f"{Conf.upload_lease.name} is longer than {Conf.request_timeout.name}.",
            hint="No upload can run for longer than the longest request.",
            id="session_attachments.E002",
        )
    for inner, outer in [
        (Conf.max_file_size, Conf.max_session_size),
        (Conf.max_session_size, Conf.max_site_size),
    ]:
        if inner.raw is not None and outer.raw is not None and inner.raw > outer.raw:
            yield checks.Warning(
                f"{inner.name} can never be reached: {outer.name} is lower.",
                hint="Raise the one or lower the other.",
                id="session_attachments.W008",
            )


def check_callables(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What the settings name can be imported and called."""
    for setting in (
        Conf.validators,
        Conf.storage_chooser,
        Conf.metadata,
        Conf.downsamplers,
        Conf.maintenance,
        Conf.access_checks,
    ):
        for path in _paths(setting):
            problem = _problem(path)
            if problem is None and not callable(import_string(path)):
                problem = f"{path} cannot be called"
            if problem is not None:
                yield checks.Error(
                    f"{setting.name}: {problem}.",
                    hint="Give dotted paths of callables.",
                    id="session_attachments.E003",
                )


def check_fallbacks(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What makes an upload move on to the next storage is an exception."""
    if not Conf.storages.accepted:
        return
    for path in itertools.chain.from_iterable(conf.storages.values()):
        problem = _problem(path)
        if problem is None and not _is_class(import_string(path), Exception):
            problem = f"{path} is no exception"
        if problem is not None:
            yield checks.Error(
                f"{Conf.storages.name}: {problem}.",
                hint="Give dotted paths of exceptions, such as 'builtins.OSError'.",
                id="session_attachments.E009",
            )


def check_middleware(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Sessions and CSRF checks are installed."""
    problems = [problem for problem in map(_problem, settings.MIDDLEWARE) if problem]
    for problem in problems:
        yield checks.Error(
            f"MIDDLEWARE: {problem}.",
            hint="Correct the path or remove it.",
            id="session_attachments.E007",
        )
    if problems:
        return
    middleware = map(import_string, settings.MIDDLEWARE)
    if not any(_is_class(each, SessionMiddleware) for each in middleware):
        yield checks.Error(
            "Attachments belong to sessions, and the site has none.",
            hint="Add 'django.contrib.sessions.middleware.SessionMiddleware' to "
            "MIDDLEWARE.",
            id="session_attachments.E004",
        )
    if not csrf.is_enforced():
        yield checks.Warning(
            "Other sites can upload and delete files in a visitor's name.",
            hint="Add 'django.middleware.csrf.CsrfViewMiddleware' to MIDDLEWARE.",
            id="session_attachments.W001",
        )


def check_forms(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Form fields, where the site has any, can find their visitor."""
    if any(map(_problem, settings.MIDDLEWARE)):
        return
    order = [
        middleware
        for middleware in map(import_string, settings.MIDDLEWARE)
        if middleware is visitor_middleware or _is_class(middleware, SessionMiddleware)
    ]
    if visitor_middleware in order:
        is_right = order[0] is not visitor_middleware
    else:
        is_right = not _has_forms()
    if not is_right:
        yield checks.Error(
            "The fields of forms cannot find the visitor's files.",
            hint="Add 'session_attachments.middleware.visitor_middleware' to "
            "MIDDLEWARE, after SessionMiddleware.",
            id="session_attachments.E014",
        )


def check_sessions(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The session engine keeps what the documentation promises."""
    path = f"{settings.SESSION_ENGINE}.SessionStore"
    problem = _problem(path)
    if problem is not None:
        yield checks.Error(
            f"SESSION_ENGINE: {problem}.",
            hint="Name a module such as 'django.contrib.sessions.backends.db'.",
            id="session_attachments.E008",
        )
    elif issubclass(import_string(path), SignedCookieSession):
        yield checks.Warning(
            "With signed-cookie sessions, several first uploads in parallel may lose "
            "all but one file; an old cookie can still read a session's files after "
            "a login, and brings back an empty session after a logout.",
            hint="Use a session engine that keeps sessions on the server.",
            id="session_attachments.W002",
        )
    if settings.SESSION_SAVE_EVERY_REQUEST:
        yield checks.Warning(
            "SESSION_SAVE_EVERY_REQUEST makes a long upload write its old copy of the "
            "session over what other requests have changed meanwhile.",
            hint="Set it to False.",
            id="session_attachments.W003",
        )


def check_storages(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The files are private, and their temporary files are near."""
    if Conf.storages.accepted and Conf.storage_chooser.accepted:
        for alias in storage.candidates():
            yield from _check_storage(alias)


def _check_storage(alias: str) -> Iterator[checks.CheckMessage]:
    try:
        site_storage = storages[alias]
    except Exception as error:
        yield checks.Error(
            f"The storage for attachments cannot be used: {error}",
            hint=f"Correct STORAGES[{alias!r}].",
            id="session_attachments.E005",
        )
        return
    if not storage.can_be_listed(site_storage):
        yield checks.Warning(
            f"The storage {alias!r} cannot be listed: files that were stored in a "
            "transaction which was rolled back stay there for ever.",
            hint="Give its class listdir() and get_modified_time(), or store no file "
            "inside a transaction.",
            id="session_attachments.W011",
        )
    if not isinstance(site_storage, FileSystemStorage):
        return
    if not Path(site_storage.base_location).is_absolute():
        yield checks.Warning(
            "Attachments are stored below the folder in which a process happens to be "
            "started.",
            hint=OWN_STORAGE,
            id="session_attachments.W009",
        )
    folder = Path(site_storage.path(storage.PREFIX)).resolve()
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        root = getattr(settings, name)
        if root and folder.is_relative_to(Path(root).resolve()):
            yield checks.Warning(
                f"Attachments are stored inside {name}, which web servers publish.",
                hint=OWN_STORAGE,
                id="session_attachments.W004",
            )
    if not storage.is_direct() and _is_far(folder, storage.spool_folder()):
        yield checks.Warning(
            "Uploads are written to another file system first, and copied from there.",
            hint="Set FILE_UPLOAD_TEMP_DIR to a folder beside the attachments.",
            id="session_attachments.W005",
        )


def check_downloads(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Files can be sent in the way that the site wants."""
    if not Conf.downloads.accepted or not Conf.storages.accepted:
        return
    path = downloads.BACKENDS.get(conf.downloads, conf.downloads)
    problem = _problem(path)
    if problem is None and not callable(import_string(path)):
        problem = f"{path} cannot be called"
    if problem is not None:
        yield checks.Error(
            f"{Conf.downloads.name}: {problem}.",
            hint="Write 'stream', 'redirect', 'sendfile' (with django-sendfile2) or a "
            "dotted path.",
            id="session_attachments.E010",
        )
    elif conf.downloads == "sendfile":
        yield from _check_sendfile()
    elif conf.downloads == "redirect":
        yield from _check_senders(storage.signs)


def _check_sendfile() -> Iterator[checks.CheckMessage]:
    backend = getattr(settings, "SENDFILE_BACKEND", None)
    needed = ["SENDFILE_BACKEND", "SENDFILE_ROOT"]
    if backend in SENDFILE_BY_URL:
        needed.append("SENDFILE_URL")
    problems = [f"{name} is not set" for name in needed if not _is_set(name)]
    if not problems and (problem := _problem(f"{backend}.sendfile")):
        problems.append(f"SENDFILE_BACKEND: {problem}")
    root = str(getattr(settings, "SENDFILE_ROOT", ""))
    if backend == SENDFILE_BY_PATH and (not root.isascii() or "%" in root):
        problems.append(f"SENDFILE_ROOT is {root!r}, which no header can tell")
    for problem in problems:
        yield checks.Error(
            f"{problem}.",
            hint="Set it as django-sendfile2 says, or let Django stream: "
            f"{Conf.downloads.name} = 'stream'.",
            id="session_attachments.E011",
        )
    if problems:
        return
    root = settings.SENDFILE_ROOT  # type: ignore[misc]
    for alias, site_storage in _storages():
        if storage.is_local(site_storage) and not storage.is_inside(site_storage, root):
            yield checks.Error(
                f"The storage {alias!r} is outside of SENDFILE_ROOT.",
                hint=f"Set it to {site_storage.path('')!r} or a folder around that.",
                id="session_attachments.E012",
            )
    yield from _check_senders(storage.is_local)


def _check_senders(
    can_send: Callable[[Storage], bool],
) -> Iterator[checks.CheckMessage]:
    """All storages can send files in the site's way, or at least one."""
    able = {alias: can_send(site_storage) for alias, site_storage in _storages()}
    if able and not any(able.values()):
        yield checks.Error(
            f"{Conf.downloads.name} is {conf.downloads!r}, which no storage for "
            "attachments can do.",
            hint="'sendfile' needs Django's own FileSystemStorage, 'redirect' one that "
            "signs its addresses, as S3's does.",
            id="session_attachments.E013",
        )
    elif unable := [alias for alias in able if not able[alias]]:
        yield checks.Warning(
            f"{Conf.downloads.name} is {conf.downloads!r}, which not all storages can "
            f"do: Django streams files from {', '.join(map(repr, unable))}.",
            hint="Silence this if they are to hold few or small files.",
            id="session_attachments.W010",
        )


def check_database(
    databases: Iterable[str] | None = None, **kwargs: Any
) -> Iterator[checks.CheckMessage]:
    """The database lets a claim follow what a transaction has read, and has owners."""
    connection = connections[router.db_for_write(Attachment)]
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode")
    if connection.vendor == "sqlite" and str(mode).upper() not in (
        "IMMEDIATE",
        "EXCLUSIVE",
    ):
        yield checks.Warning(
            "On SQLite, a transaction that has read before it claims files fails "
            "(database is locked) when another request writes at the same time.",
            hint="Set 'OPTIONS': {'transaction_mode': 'IMMEDIATE'} in DATABASES.",
            id="session_attachments.W006",
        )
    if router.db_for_write(Attachment) != router.db_for_write(ContentType):
        yield checks.Warning(
            "The attachments are in another database than the content types: no "
            "object can own any.",
            hint="Route both apps, and the models of the owners, to one database; or "
            "use no claim_for().",
            id="session_attachments.W012",
        )


def check_sniffing(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The type of a content can be found out."""
    try:
        from .sniffing import sniff

        found = sniff(PNG)
    except Exception as error:
        found = str(error)
    if found != "image/png":
        yield checks.Error(
            f"libmagic does not work: it says {found!r} of a PNG.",
            hint="Install pylibmagic, or the system's package of libmagic.",
            id="session_attachments.E006",
        )


CHECKS = [
    check_settings,
    check_limits,
    check_callables,
    check_fallbacks,
    check_middleware,
    check_forms,
    check_sessions,
    check_storages,
    check_downloads,
    check_database,
    check_sniffing,
]


def _paths(setting: Setting[Any]) -> list[str]:
    """The dotted paths that a setting names."""
    value = setting.unit.read(setting.raw) if setting.accepted else None
    if isinstance(value, str):
        return [] if value == READ_ONLY else [value]
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, tuple) else []


def _storages() -> Iterator[tuple[str, Storage]]:
    """The storages of new files, but for those that cannot be made."""
    for alias in storage.candidates():
        with contextlib.suppress(Exception):
            yield alias, storages[alias]


def _is_set(name: str) -> bool:
    return bool(getattr(settings, name, None))


def _is_class(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)


def _problem(path: str) -> str | None:
    """Why a dotted path leads nowhere; None where it leads somewhere."""
    try:
        import_string(path)
    except Exception as error:
        return f"{path!r} cannot be imported ({error})"
    return None


def _has_forms() -> bool:
    """Whether the site uses the form fields: what its URLs lead to is imported."""
    with contextlib.suppress(Exception):  # Django's own checks tell of a wrong URLconf.
        _ = get_resolver().url_patterns
    return f"{__package__}.forms" in sys.modules


def _is_far(folder: Path, other: Path) -> bool:
    """Whether two folders, as far as they can be looked into, are on two disks."""
    try:
        devices = {storage.existing(path).stat().st_dev for path in (folder, other)}
    except OSError:
        return False
    return len(devices) == 2
