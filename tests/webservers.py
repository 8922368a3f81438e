"""Sites of their own behind real web servers, configured as the documentation says."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from tests import servers, services

ROOT = Path(__file__).resolve().parent.parent
#: The folder in which the documentation has everything, and the address of its Django.
FOLDER, DJANGO = "/srv/example", "127.0.0.1:8000"

#: What Debian's mod_wsgi is made for.
SYSTEM_PYTHON = "/usr/bin/python3"
APACHE_MODULES = Path("/usr/lib/apache2/modules")
#: What Debian enables, as far as it meddles with answers.
APACHE_DEFAULTS = (
    *("mpm_event", "authz_core", "authz_host", "alias", "deflate", "dir", "env"),
    *("filter", "mime", "negotiation", "reqtimeout", "setenvif"),
)

SETTINGS = """
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "session_attachments",
    "mysite",
]
# The first two could spoil a download.
MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "mysite.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "/srv/example/database/db.sqlite3",
        "OPTIONS": {"init_command": "PRAGMA synchronous = OFF"},
    }
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "session_attachments": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": "/srv/example/attachments"},
    },
}
SESSION_ATTACHMENTS_MIN_FREE_SPACE = 0
SESSION_ATTACHMENTS_MAX_FILE_SIZE = 2
"""
MODELS = """
from django.contrib.contenttypes.fields import GenericRelation
from django.db import models

from session_attachments.models import Attachment


class Ticket(models.Model):
    attachments = GenericRelation(Attachment)

    def check_access(self, request, field):
        return True
"""
URLS = """
from django.http import JsonResponse
from django.urls import include, path, reverse

from session_attachments.bundles import Bundle

from .models import Ticket


def own(request, bundle_id):
    with Bundle(request, bundle_id).claim() as files:
        ticket = Ticket.objects.create()
        for file in files:
            file.attachment.claim_for(ticket, "attachments")
    return JsonResponse(
        [
            reverse("owned-attachment", args=[row.public_id])
            for row in ticket.attachments.all()
        ],
        safe=False,
    )


urlpatterns = [
    path("attachments/", include("session_attachments.urls")),
    path("files/", include("session_attachments.owned_urls")),
    path("own/<str:bundle_id>/", own),
]
"""
WSGI = """
import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
application = get_wsgi_application()
"""

#: Ways to send a file that no visitor should get to know, beside the documentation's.
DOWNLOADS = """
from django.core.files.storage import FileSystemStorage, storages
from django.http import FileResponse, HttpResponse
from django_sendfile import sendfile


def simplest(request, attachment):
    return FileResponse(attachment.open())


def copied(request, attachment):
    # Like a site that has claimed the file, and keeps it under its name.
    storage = FileSystemStorage(storages[attachment.storage].path("copies"))
    return FileResponse(storage.open(storage.save(attachment.name, attachment.open())))


def careless(request, attachment):
    response = sendfile(request, storages[attachment.storage].path(attachment.key))
    del response["Content-Length"]
    return response


def reckless(request, attachment):
    return HttpResponse(headers={"X-Sendfile": __file__})
"""


class Address(NamedTuple):
    """Where something listens, as `tests.wire.visit` takes it."""

    host: str
    port: int

    @property
    def kind(self) -> str:
        return "wsgi"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Page:
    """The code on a page of the documentation, by its language."""

    file: str
    heading: str = ""

    def __getitem__(self, language: str) -> str:
        """All blocks in this language below the heading, one after the other."""
        text = (ROOT / "docs" / self.file).read_text(encoding="utf-8")
        if self.heading:
            text = text.partition(f"\n## {self.heading}\n")[2].partition("\n## ")[0]
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
        assert blocks, f"{self.file} has no {language} below {self.heading!r}"
        return "\n".join(blocks)


@dataclass(frozen=True)
class Site:
    """A site that runs: its folder, where its visitors are, and its gunicorn.

    Without a web server the visitors are at gunicorn; a server may run Django itself.
    """

    folder: Path
    visitors: Address
    django: servers.Server | None

    @property
    def attachments(self) -> Path:
        return self.folder / "attachments"

    def files(self) -> list[Path]:
        """What is stored."""
        return [path for path in self.attachments.rglob("*") if not path.is_dir()]

    def fill_in(self, text: str, words: dict[str, object]) -> str:
        """The documentation's text, with this for its words, and the site's folder."""
        for word, replacement in {FOLDER: self.folder, **words}.items():
            assert word in text, f"there is no {word} in the documentation"
            text = text.replace(word, str(replacement))
        return text


#: Serves the site's visitors until the block ends.
Server = Callable[[Site], AbstractContextManager[None]]


@contextmanager
def serve(
    settings: str = "", server: Server | None = None, environment: Path | None = None
) -> Iterator[Site]:
    """A new site with these settings, behind this server or its gunicorn alone.

    With a virtual environment, the server runs Django by itself.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(services.temporary_folder())
        _write_site(folder, SETTINGS + settings)
        if environment is None:
            _migrate(folder, sys.executable)
            django = stack.enter_context(_gunicorn(folder))
        else:
            (folder / "venv").symlink_to(environment)
            _migrate(folder, f"{environment}/bin/python", **services.identity())
            django = None
        if server is None:
            visitors = _address(django)
        else:
            visitors = Address("127.0.0.1", services.free_port())
        site = Site(folder, visitors, django)
        if server is not None:
            stack.enter_context(server(site))
        yield site


@contextmanager
def nginx(site: Site, page: Page) -> Iterator[None]:
    """nginx with the page's `server`, in an `http` that compresses all it can."""
    program = services.find("nginx")
    words = {"listen 80": f"listen {site.visitors}", DJANGO: _address(site.django)}
    server = site.fill_in(page["nginx"], words)
    temporary = "".join(
        f"{name}_temp_path {site.folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = f"""
        daemon off;
        pid {site.folder}/pid;
        error_log stderr;
        events {{ }}
        http {{
            {temporary}
            access_log off;
            default_type text/html;
            sendfile on;
            gzip on;
            gzip_types *;
            gzip_proxied any;
            gzip_min_length 0;
            {server}
        }}
    """
    command = [program, "-e", "stderr", "-p", str(site.folder), "-c"]
    with _running(site, command, configuration):
        yield


@contextmanager
def apache(site: Site, page: Page) -> Iterator[None]:
    """Apache with the page's `VirtualHost` and modules, on top of Debian's defaults."""
    program = services.find("apache2")
    words = {"*:80": f"*:{site.visitors.port}"}
    if site.django is not None:
        words[DJANGO] = _address(site.django)
    host = site.fill_in(page["apache"], words)
    enabled = re.findall(r"^\$ a2enmod (.*)$", page["console"], re.M)
    modules = [*APACHE_DEFAULTS, *" ".join(enabled).split()]
    for name in modules:
        if not Path(f"{APACHE_MODULES}/mod_{name}.so").exists():
            raise services.MissingError(f"no module {name} of Apache")
    load = "\n".join(
        f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in modules
    )
    configuration = f"""
        ServerName localhost
        ServerRoot {site.folder}
        DefaultRuntimeDir {site.folder}
        PidFile {site.folder}/pid
        Mutex file:{site.folder} default
        ErrorLog "|/bin/cat"
        Listen {site.visitors}
        {load}
        <IfModule wsgi_module>
            WSGISocketPrefix {site.folder}/wsgi
        </IfModule>
        TypesConfig /etc/mime.types
        AddOutputFilterByType DEFLATE text/html text/plain application/octet-stream
        <Directory />
            Options FollowSymLinks
            AllowOverride None
            Require all denied
        </Directory>
        {host}
    """
    # Debian's Apache runs in this locale, whatever that of the machine.
    debian = [services.find("env"), "-u", "LC_ALL", "-u", "LC_CTYPE", "LANG=C"]
    with _running(site, [*debian, program, "-D", "FOREGROUND", "-f"], configuration):
        yield


@contextmanager
def lighttpd(site: Site, page: Page) -> Iterator[None]:
    """lighttpd with what the page adds to Debian's defaults."""
    program = services.find("lighttpd")
    words = {'"port" => 8000': f'"port" => {site.django.port}'}
    added = site.fill_in(page["lighttpd"], words)
    configuration = f"""
        server.modules = ("mod_access", "mod_alias", "mod_redirect", "mod_deflate")
        deflate.mimetypes = ("")
        deflate.allowed-encodings = ("gzip")
        server.document-root = "{site.folder}/empty"
        server.upload-dirs = ("{site.folder}")
        server.bind = "{site.visitors.host}"
        server.port = {site.visitors.port}
        server.http-parseopts = (
            "header-strict" => "enable",
            "host-strict" => "enable",
            "host-normalize" => "enable",
            "url-normalize-unreserved" => "enable",
            "url-normalize-required" => "enable",
            "url-ctrls-reject" => "enable",
            "url-path-2f-decode" => "enable",
            "url-path-dotseg-remove" => "enable",
        )
        url.access-deny = ("~", ".inc")
        mimetype.assign = ("" => "text/html")
        {added}
    """
    with _running(site, [program, "-D", "-f"], configuration):
        yield


@contextmanager
def s3(bucket: str) -> Iterator[str]:
    """A server that speaks S3, with this bucket; the settings to reach it."""
    port = services.free_port()
    command = ["-m", "moto.server", "--host=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + services.SECONDS_TO_START
            while not _create_bucket(port, bucket):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"""
STORAGES["session_attachments"]["OPTIONS"] |= {{
    "endpoint_url": "http://127.0.0.1:{port}",
    "access_key": "key",
    "secret_key": "secret",
}}
"""
        finally:
            process.terminate()


def _create_bucket(port: int, name: str) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        try:
            connection.request("PUT", f"/{name}")
            return connection.getresponse().status == 200
        except ConnectionRefusedError:
            return False


def environment(folder: Path) -> None:
    """Make this a virtual environment of the system's Python, with the package."""
    if not Path(SYSTEM_PYTHON).exists():
        raise services.MissingError(f"no program {SYSTEM_PYTHON}")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "session_attachments", source / "session_attachments")
    _call([SYSTEM_PYTHON, "-m", "venv", str(folder)])
    package = f"{source}[sendfile]"
    _call([f"{folder}/bin/python", "-m", "pip", "install", "--quiet", package])


def _write_site(folder: Path, settings: str) -> None:
    """What the servers read, and empty folders for what Django writes."""
    project = folder / "site" / "mysite"
    project.mkdir(parents=True)
    modules = {
        "settings": settings,
        "models": MODELS,
        "urls": URLS,
        "wsgi": WSGI,
        "downloads": Page("downloads.md", "A function of your own")["python"]
        + DOWNLOADS,
    }
    for name, text in modules.items():
        filled_in = text.replace(FOLDER, str(folder))
        (project / f"{name}.py").write_text(filled_in, encoding="utf-8")
    for name in ("attachments", "database"):
        (folder / name).mkdir()
        services.hand_over(folder / name)


def _migrate(folder: Path, python: str, **identity: Any) -> None:
    command = [python, "-m", "django", "migrate", "--run-syncdb", "--verbosity=0"]
    _call(command, env=_variables(folder), **identity)


@contextmanager
def _gunicorn(folder: Path) -> Iterator[servers.Server]:
    # The server inherits a socket that already listens.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "mysite.wsgi", "--workers=2"),
                *("--no-control-socket", f"--bind=fd://{listener.fileno()}"),
            ],
            cwd=folder,
            env=_variables(folder),
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            umask=0o022,  # web servers read what it writes
        )
        with process:
            try:
                yield servers.Server("wsgi", *listener.getsockname(), process)
            finally:
                process.send_signal(signal.SIGINT)  # waits for no connection


def _address(server: servers.Server) -> Address:
    return Address(server.host, server.port)


@contextmanager
def _running(site: Site, command: list[str], configuration: str) -> Iterator[None]:
    """Run a web server, once its command has got the path of the configuration."""
    path = site.folder / "configuration"
    path.write_text(configuration, encoding="utf-8")
    ready = f"import socket; socket.create_connection({tuple(site.visitors)!r})"
    with services.running(
        [*command, str(path)], site.folder, ready=[sys.executable, "-c", ready]
    ):
        yield


def _variables(folder: Path) -> dict[str, str]:
    """The environment of the site's own processes."""
    own = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "PYTHONPATH": os.pathsep.join((str(folder / "site"), str(ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return os.environ | own


def _call(command: list[str], **options: Any) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
