"""The widget's pages on a server that tests may kill, and visitors in Chromium."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from .. import browsing
from ..conftest import CHROMIUM
from ..pictures import MODULES
from .examples import EXAMPLES

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

SETTINGS = {
    "ROOT_URLCONF": "tests.browser.widget.pages",
    "MIDDLEWARE": [
        "django.middleware.security.SecurityMiddleware",
        "tests.browser.widget.pages.content_security_policy",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "session_attachments.middleware.visitor_middleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [str(HERE / "templates")],
            "OPTIONS": {
                **django_settings.TEMPLATES[0]["OPTIONS"],
                "loaders": [
                    "django.template.loaders.filesystem.Loader",
                    "django.template.loaders.app_directories.Loader",
                    ("django.template.loaders.locmem.Loader", EXAMPLES),
                ],
            },
        }
    ],
    "STATICFILES_DIRS": [
        str(HERE / "static"),
        *(
            (name, str(MODULES / name / "dist"))
            for name in ("htmx2", "htmx4")
            if (MODULES / name).exists()
        ),
    ],
    "SESSION_ATTACHMENTS_MIN_FREE_SPACE": 1,
    "SESSION_ATTACHMENTS_MAX_FILE_SIZE": 20,
}


class Site:
    """The pages, served by gunicorn: can be killed and comes back at its address."""

    def __init__(self, root):
        self.root, self.port, self.process = root, None, None
        for name in django_settings.FOLDERS:
            (root / name).mkdir()
        self.log = root / "log.txt"
        database = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(root / "db.sqlite3"),
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
        settings = SETTINGS | {"DATABASES": {"default": database}}
        self.env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": str(ROOT),
            "TEST_ROOT": str(root),
            "TEST_DATABASE": "sqlite",
            "TEST_SETTINGS": json.dumps(settings),
        }
        for name in ("NAME", "HOST", "PORT", "USER", "PASSWORD"):
            self.env.pop(f"TEST_DATABASE_{name}", None)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def migrate(self):
        command = [sys.executable, "-m", "django", "migrate", "--run-syncdb"]
        command += ["--verbosity=0"]
        subprocess.run(command, cwd=ROOT, env=self.env, check=True)

    def start(self):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port or 0))
            listener.listen(64)
            self.port = listener.getsockname()[1]
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "gunicorn"),
                        "tests.browser.widget.wsgi",
                        *("--worker-class=gthread", "--threads=8"),
                        *("--timeout=60", "--graceful-timeout=1"),
                        *(f"--bind=fd://{listener.fileno()}", "--no-control-socket"),
                    ],
                    cwd=ROOT,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/several/")
        assert connection.getresponse().status == 200, self.log.read_text()
        connection.close()

    def kill(self):
        """Like a power cut: master and worker at once, in the middle of whatever."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="package")
def running_site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    site.migrate()
    site.start()
    yield site
    site.kill()
    log = site.log.read_text()
    print(log)
    assert "Traceback" not in log


@pytest.fixture
def site(running_site):
    """The site; it runs again after a test that has killed it."""
    yield running_site
    if running_site.process is None:
        running_site.start()


class Visitor(browsing.Visitor):
    """A visitor of the widget's pages."""

    def __init__(self, context, site):
        super().__init__(context, site.url)
        self.site = site

    def open(self, path="several/"):
        return Page(super().open(path), self)

    def sent(self):
        """What this visitor has sent: for each mail the button and its files."""
        return self.context.request.get(self.site.url + "sent/").json()


class Page(browsing.Page):
    def expect_sent(self, *names, button="send"):
        """The last mail has these files, as the server got them."""
        self.page.wait_for_url("**/sent/")
        last_button, files = self.visitor.sent()[-1]
        assert last_button == button
        assert [name for name, _, _ in files] == [*names]
        return files


@pytest.fixture
def enter(site):
    """Make a visitor of a browser's context."""
    return partial(Visitor, site=site)


@pytest.fixture
def remembering_visitor(chromium, site):
    """One whose browser keeps the pages that were left, as everybody's does."""
    browser = chromium.browser_type.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox", "--disable-gpu"],
        ignore_default_args=["--disable-back-forward-cache"],
    )
    visitor = Visitor(browser.new_context(), site)
    yield visitor
    browser.close()
    visitor.check()


@pytest.fixture
def too_large(tmp_path):
    """A file of one byte more than the site takes."""
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(20 * 2**20 + 1)
    return path
