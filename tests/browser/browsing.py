"""Visitors with a real browser, and the pages with the element that they look at."""

import time
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import expect

# Two slow processors share the server, the browser and other tests.
PATIENCE = 30_000  # ms


class Visitor:
    """Somebody with cookies of their own, whose browser must not complain."""

    def __init__(self, context, url):
        self.context, self.url = context, url
        self.violations, self.complaints, self.tolerated = [], [], []
        context.set_default_timeout(PATIENCE)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.expose_binding("violated", lambda _, what: self.violations.append(what))
        context.add_init_script(
            """document.addEventListener("securitypolicyviolation", (event) => {
                const { disposition, effectiveDirective, blockedURI, sample } = event;
                window.violated([disposition, effectiveDirective, blockedURI, sample]);
            });
            window.heard = [];
            for (const step of [
                "added", "refused", "started", "progress", "retrying", "stored",
                "failed", "cancelled", "removing", "removed",
            ]) {
                document.addEventListener(`attachment-${step}`, (event) => {
                    window.heard.push([step, event.detail.name]);
                });
            }"""
        )

    def _heard(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def tolerate(self, part):
        """Lines of the console with this in them are no fault here."""
        self.tolerated.append(part)

    def check(self):
        untold = [
            line
            for line in self.complaints
            if not any(part in line for part in self.tolerated)
        ]
        assert (self.violations, untold) == ([], [])

    def open(self, path=""):
        page = self.context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(self.url + path)
        return page


class Page:
    """A page with the element, as its visitor sees it."""

    def __init__(self, page, visitor, element="session-attachments", *, is_listed=True):
        self.page, self.visitor = page, visitor
        self.element = page.locator(element)
        self.rows = self.element.get_by_role("listitem")
        self.add = self.element.locator("button.add")
        self.notice = self.element.locator(".notice")
        self.live = self.element.get_by_role("status")
        if is_listed:
            self.ready()

    def ready(self):
        """The script has run, and the server's list is there."""
        self.page.wait_for_load_state("networkidle")

    def row(self, name):
        exactly = self.page.get_by_text(name, exact=True)
        return self.rows.filter(has=exactly)

    def button(self, name):
        return self.element.get_by_role("button", name=name, exact=True)

    def attach(self, *files, button=None):
        """Choose files by the button, each a path or a pair of name and bytes."""
        with self.page.expect_file_chooser() as chooser:
            (button or self.add).click()
        chooser.value.set_files(
            [
                file
                if isinstance(file, str | Path)
                else {
                    "name": file[0],
                    "mimeType": file[2] if len(file) > 2 else "text/plain",
                    "buffer": file[1],
                }
                for file in files
            ]
        )

    def expect_stored(self, *names):
        """The list consists of these files, and all are stored."""
        stored = self.element.locator("[data-state=stored] .name")
        expect(stored).to_have_text(names)
        expect(self.rows).to_have_count(len(names))

    def expect_said(self, text):
        expect(self.live).to_contain_text(text)

    def submit(self, name="Send"):
        self.page.get_by_role("button", name=name, exact=True).click()

    def heard(self):
        """The element's events: pairs of step and name, repetitions left out."""
        found = self.page.evaluate("window.heard")
        return [
            tuple(each)
            for before, each in zip([None, *found], found, strict=False)
            if each != before
        ]

    def drop(self, *paths, on=None):
        """Drop files or folders of the disk, as the desktop does."""
        box = (on or self.element).bounding_box()
        event = {
            "x": box["x"] + box["width"] / 2,
            "y": box["y"] + min(box["height"] / 2, 40),
            "data": {
                "items": [],
                "files": [str(path) for path in paths],
                "dragOperationsMask": 1,
            },
        }
        with self.devtools() as devtools:
            for kind in ("dragEnter", "dragOver", "drop"):
                devtools.send("Input.dispatchDragEvent", event | {"type": kind})

    @contextmanager
    def devtools(self):
        session = self.page.context.new_cdp_session(self.page)
        try:
            yield session
        finally:
            with suppress(Exception):
                session.detach()

    @contextmanager
    def network(self, rate=-1, offline=False):
        """Upload with `rate` bytes in a second, or not at all, until the block ends."""
        with self.devtools() as devtools:
            devtools.send("Network.enable")
            limits = {"latency": 0, "downloadThroughput": -1}
            for throughput, is_offline in ((rate, offline), (-1, False)):
                devtools.send(
                    "Network.emulateNetworkConditions",
                    limits | {"uploadThroughput": throughput, "offline": is_offline},
                )
                if (throughput, is_offline) == (rate, offline):
                    yield


class Held:
    """The requests of one method to the attachments, which wait to be let go."""

    def __init__(self, page, method, url="**/attachments/**"):
        self._page, self._method, self._routes = page, method, []
        page.route(url, self._hold)

    def _hold(self, route):
        if route.request.method == self._method:
            self._routes.append(route)
        else:
            route.fallback()

    def take(self):
        """The first that waits, as soon as there is one."""
        wait_until(lambda: self._routes or self._page.wait_for_timeout(50))
        return self._routes.pop(0)

    def end(self):
        """Hold no more; those that were taken still wait."""
        self._method = None


def wait_until(condition, message="it did not happen"):
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
