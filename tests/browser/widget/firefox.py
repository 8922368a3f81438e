"""Firefox as Debian ships it, by the protocol that it speaks itself: Marionette.

Playwright wants a Firefox of its own, or a newer one than the ESR; geckodriver is not
packaged. What it would translate to is a JSON array with its length before it.
"""

import json
import shutil
import socket
import subprocess
import time
from base64 import b64decode
from contextlib import suppress

BINARY = shutil.which("firefox-esr") or shutil.which("firefox")

# Nothing is fetched, reported or asked; not even the first page.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.page": 0,
    "devtools.jsonview.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.disable_beforeunload": True,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "marionette.port": 0,
    "messaging-system.rsexperimentloader.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Firefox:
    """One window of a Firefox with a profile of its own."""

    def __init__(self, profile, patience=30):
        self._patience, self._last = patience, 0
        profile.mkdir()
        (profile / "user.js").write_text(
            "".join(
                f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                for name, value in PREFERENCES.items()
            )
        )
        self._process = subprocess.Popen(
            [BINARY, "--headless", "--marionette", "--no-remote", "--profile", profile],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = profile / "MarionetteActivePort"
        self._socket = self.wait(lambda: self._connect(port))
        self._receive()
        self("WebDriver:NewSession", strictFileInteractability=False)

    def _connect(self, port):
        with suppress(OSError, ValueError):
            address = ("127.0.0.1", int(port.read_text()))
            return socket.create_connection(address, timeout=self._patience)

    def close(self):
        with suppress(OSError):
            self("Marionette:Quit", flags=["eForceQuit"])
        with suppress(AttributeError):
            self._socket.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __call__(self, command, **parameters):
        """What the command answers; raises AssertionError where it fails."""
        self._last += 1
        message = json.dumps([0, self._last, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, answer = self._receive()
        assert error is None, error
        return answer

    def _receive(self):
        length = b""
        while not length.endswith(b":"):
            length += self._some(1)
        return json.loads(self._some(int(length[:-1])))

    def _some(self, size):
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError("Firefox has gone")
            data += part
        return data

    def wait(self, condition):
        """The first answer of `condition` that is true."""
        deadline = time.monotonic() + self._patience
        while not (answer := condition()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.05)
        return answer

    def open(self, url):
        self("WebDriver:Navigate", url=url)

    def run(self, script, *arguments):
        """Run the body of a function; a promise is waited for."""
        body = f"return (async (...args) => {{ {script} }})(...arguments)"
        answer = self("WebDriver:ExecuteScript", script=body, args=arguments)
        return answer["value"]

    def type(self, element, text):
        """Type into an element that `run` has returned; into a file input its path."""
        self("WebDriver:ElementSendKeys", id=element[ELEMENT], text=str(text))

    def press(self, key):
        """Press a key, where the focus is."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self("WebDriver:PerformActions", actions=[keyboard])

    def click(self, element):
        self("WebDriver:ElementClick", id=element[ELEMENT])

    def picture(self):
        answer = self("WebDriver:TakeScreenshot", full=True, hash=False)
        return b64decode(answer["value"])
