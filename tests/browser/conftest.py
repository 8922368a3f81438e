"""The demo as a real process, and visitors with real browsers."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from ..services import free_port
from . import browsing
from .browsing import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

STAFF = {"username": "grace", "password": "a long secret of the tests"}


class Demo:
    """The demo with a folder of its own."""

    def __init__(self, var):
        self.var = var
        self.env = {
            **os.environ,
            "DEMO_VAR": str(var),
            "DJANGO_SETTINGS_MODULE": "mailer.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments, **env):
        subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT / "demo",
            env=self.env | env,
            check=True,
        )

    @contextmanager
    def running(self, *command, **env):
        """Run the command until the block ends; yields its log, which is shown."""
        log = self.var / f"{Path(command[1]).stem}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT / "demo",
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            print(log.read_text(errors="replace"))


@pytest.fixture(scope="package")
def demo(tmp_path_factory):
    """The demo, migrated, with a staff user."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    demo.manage("migrate", "--verbosity=0")
    demo.manage(
        "createsuperuser",
        "--noinput",
        "--verbosity=0",
        f"--username={STAFF['username']}",
        "--email=grace@example.org",
        DJANGO_SUPERUSER_PASSWORD=STAFF["password"],
    )
    return demo


@pytest.fixture(scope="package")
def demo_url(demo):
    """The demo's address; it has answered no request with an error of its own."""
    port = free_port()
    command = ("manage.py", "runserver", "--noreload", f"127.0.0.1:{port}")
    with demo.running(*command) as log:
        _wait_for(port, log)
        yield f"http://127.0.0.1:{port}/"
    assert "Traceback" not in log.read_text()


def _wait_for(port, log):
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            with suppress(ConnectionRefusedError):
                connection.request("GET", "/sent/")
                assert connection.getresponse().status == 200
                return
        finally:
            connection.close()
        time.sleep(0.1)
    pytest.fail(f"The demo does not answer:\n{log.read_text()}")


@pytest.fixture(scope="package")
def chromium():
    """One browser for all visitors.

    Of the package's scope and no wider: while Playwright runs, an event loop runs in
    this thread, and Django refuses the database to the tests that follow.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


class Visitor(browsing.Visitor):
    """A visitor of the demo."""

    def compose(self):
        """Open a page to write a new mail on."""
        return Composer(self.open(), self)


class Composer(browsing.Page):
    """The page on which a mail is written, as its visitor sees it."""

    def drop(self, *paths):
        """Drop files or folders anywhere on the mail."""
        super().drop(*paths, on=self.page.locator("form.compose"))

    @property
    def bundle(self):
        """The address of the bundle, as the element has it."""
        return self.element.get_attribute("url")

    def write(self, subject="The files", message="Here they are."):
        self.page.get_by_label("To", exact=True).fill("ada@example.org")
        self.page.get_by_label("Subject").fill(subject)
        self.page.get_by_label("Message").fill(message)

    def expect_sent(self):
        self.page.wait_for_url("**/sent/")
        return SentPage(self.page)


class SentPage:
    def __init__(self, page):
        self.page = page
        self.mails = page.get_by_role("article")

    def download(self, mail, name):
        """The bytes of a file of the mail with that subject."""
        link = self.mails.filter(has_text=mail).get_by_role("link", name=name)
        with self.page.expect_download() as download:
            link.click()
        assert download.value.suggested_filename == name
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def enter(demo_url):
    """Make a visitor of a browser's context."""
    return partial(Visitor, url=demo_url)


@pytest.fixture
def visitors(chromium, enter):
    """Make visitors; their browsers must not complain at the end."""
    made = []

    def visitor(**options):
        made.append(enter(chromium.new_context(**options)))
        return made[-1]

    yield visitor
    for each in made:
        each.context.close()
    for each in made:
        each.check()


@pytest.fixture
def visitor(visitors):
    return visitors()
