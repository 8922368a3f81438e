"""The element in Firefox: what browsers do differently, in a few minutes' use."""

import pytest

from ..pictures import picture
from . import firefox as marionette

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("widget")]

ENTER, TAB = "\ue007", "\ue004"

# Shadow roots and states, as the tests ask for them, once the page's script has run.
HELP = """
    await customElements.whenDefined("session-attachments");
    window.element = document.querySelector("session-attachments");
    window.root = element.shadowRoot;
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        violations.push(event.effectiveDirective + " " + event.blockedURI);
    });
    window.find = (name) => [...root.querySelectorAll("button")].find(
        (button) => (button.getAttribute("aria-label") ?? button.textContent) === name);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if marionette.BINARY is None:
        pytest.skip("there is no firefox")
    firefox = marionette.Firefox(tmp_path_factory.mktemp("firefox") / "profile")
    yield firefox
    firefox.close()


@pytest.fixture
def firefox(browser, site):
    """A new visitor; nothing may violate the policy."""
    browser.open(site.url + "empty/")
    browser("WebDriver:DeleteAllCookies")
    yield browser
    assert browser.run("return window.violations ?? []") == []


@pytest.fixture
def page(firefox, site):
    def open_it(path):
        firefox.open(site.url + path)
        firefox.run(HELP)
        firefox.run("await element.refresh()")
        return firefox

    return open_it


def stored(firefox):
    return firefox.run(
        "return element.files.map(({name, state}) => `${name} ${state}`)"
    )


def test_choose_restore_and_submit(page, site, tmp_path):
    firefox = page("several/")
    for name in ("spam.txt", "egg.txt"):
        (tmp_path / name).write_text(name)
        firefox.type(firefox.run("return root.querySelector('input')"), tmp_path / name)
    firefox.wait(lambda: stored(firefox) == ["spam.txt stored", "egg.txt stored"])
    live = "return root.querySelector('[role=status]').textContent"
    firefox.wait(lambda: "spam.txt has been uploaded" in firefox.run(live))
    firefox("WebDriver:Refresh")
    firefox.run(HELP)
    firefox.wait(lambda: stored(firefox) == ["egg.txt stored", "spam.txt stored"])
    firefox.run("document.querySelector('[name=subject]').value = 'From Firefox'")
    firefox.click(firefox.run("return document.querySelector('[value=send]')"))
    firefox.wait(lambda: firefox.run("return location.pathname") == "/sent/")
    mails = firefox.run("return (await fetch('/sent/')).json()")
    assert [name for name, *_ in mails[-1][1]] == ["egg.txt", "spam.txt"]
    firefox.run("history.back()")
    firefox.wait(lambda: firefox.run("return location.pathname") == "/several/")
    firefox.run(HELP)
    firefox.wait(lambda: firefox.run("return !element.busy && !element.files.length"))


def test_submit_waits(page):
    firefox = page("several/")
    firefox.run(
        """
        const { send } = XMLHttpRequest.prototype;
        XMLHttpRequest.prototype.send = function (body) {
            setTimeout(() => send.call(this, body), 1500);
        };
        document.querySelector("[name=subject]").value = "Later";
        element.add([new File(["spam"], "spam.txt")]);
        """
    )
    firefox.click(firefox.run("return document.querySelector('[value=draft]')"))
    notice = firefox.run("return root.querySelector('.notice').textContent")
    assert "as soon as all files are uploaded" in notice
    firefox.wait(lambda: firefox.run("return location.pathname") == "/sent/")
    mails = firefox.run("return (await fetch('/sent/')).json()")
    assert mails[-1][0] == "draft"
    assert [name for name, *_ in mails[-1][1]] == ["spam.txt"]


def test_keyboard_label_and_focus(page):
    firefox = page("several/")
    firefox.click(firefox.run("return document.querySelector('label[for$=ments]')"))
    assert firefox.run("return root.activeElement === find('Add files')")
    firefox.run(
        """
        element.add(["a.txt", "b.txt"].map((name) => new File([name], name)));
        await element.settled();
        find("Remove a.txt").focus();
        """
    )
    firefox.press(ENTER)
    firefox.wait(lambda: stored(firefox) == ["b.txt stored"])
    assert firefox.run("return root.activeElement === find('Remove b.txt')")
    firefox.press(ENTER)
    firefox.wait(lambda: stored(firefox) == [])
    assert firefox.run("return root.activeElement === find('Add files')")


def test_drop_paste_and_preview(page):
    firefox = page("several/")
    firefox.run(
        """
        const image = new File([new Uint8Array(args[0])], "image.png",
            {type: "image/png"});
        const carry = (Event, type, key, target) => {
            const data = new DataTransfer();
            data.items.add(image);
            const init = {bubbles: true, cancelable: true, composed: true, [key]: data};
            return target.dispatchEvent(new Event(type, init));
        };
        carry(DragEvent, "dragover", "dataTransfer", find("Add files"));
        carry(DragEvent, "drop", "dataTransfer", find("Add files"));
        """,
        list(picture()),
    )
    firefox.wait(lambda: stored(firefox) == ["image.png stored"])
    firefox.wait(
        lambda: firefox.run("return root.querySelector('img').naturalWidth === 48")
    )
    firefox.run(
        """
        const event = new ClipboardEvent("paste", {bubbles: true, cancelable: true});
        const image = new File(["x"], "image.png", {type: "image/png"});
        event.clipboardData.items.add(image);
        document.body.dispatchEvent(event);
        """
    )
    expected = ["image.png stored", "image (2).png stored"]
    firefox.wait(lambda: stored(firefox) == expected)


def test_required_disabled_and_states(page):
    firefox = page("required/")
    assert firefox.run("return element.validity.valueMissing")
    firefox.click(firefox.run("return document.querySelector('[value=send]')"))
    assert firefox.run("return location.pathname") == "/required/"
    busy = firefox.run(
        """
        element.add([new File(["spam"], "spam.txt")]);
        const busy = element.matches(":state(busy)");
        await element.settled();
        return [busy, element.matches(":state(busy)"), element.checkValidity()];
        """
    )
    assert busy == [True, False, True]
    firefox.run("element.disabled = true")
    assert firefox.run("return find('Add files').checkVisibility()") is False


def test_too_large_and_refused(page):
    firefox = page("limited/")
    firefox.run(
        """
        element.add([
            new File([new Uint8Array(2 ** 20 + 1)], "big.png", {type: "image/png"}),
            new File(["x"], "n".repeat(252) + ".txt", {type: "text/plain"}),
        ]);
        await element.settled();
        """
    )
    errors = firefox.run("return element.files.map(({error}) => error.message)")
    assert errors[0] == "The file is larger than 1 MB."
    assert "at most 255 bytes" in errors[1]


def test_tab_that_is_looked_at_again__shows_what_another_has_done(page, site):
    """Before the visitor writes on about a file that is not there any more."""
    firefox = page("shared/")
    firefox.run(
        """
        element.add(["spam.txt", "egg.txt"].map((name) => new File([name], name)));
        await element.settled();
        await element.refresh();
        """
    )
    first = firefox("WebDriver:GetWindowHandle")["value"]
    second = firefox("WebDriver:NewWindow", type="tab", focus=True)["handle"]
    firefox("WebDriver:SwitchToWindow", handle=second)
    page("shared/")
    firefox.run("await element.removeFile('spam.txt')")
    assert stored(firefox) == ["egg.txt stored"]
    firefox("WebDriver:SwitchToWindow", handle=first, focus=False)
    assert firefox.run("return document.visibilityState") == "hidden"
    assert stored(firefox) == ["spam.txt stored", "egg.txt stored"]
    firefox("WebDriver:SwitchToWindow", handle=second)
    firefox("WebDriver:CloseWindow")
    firefox("WebDriver:SwitchToWindow", handle=first)
    firefox.wait(lambda: stored(firefox) == ["spam.txt failed", "egg.txt stored"])
    live = "return root.querySelector('[role=status]').textContent"
    firefox.wait(lambda: "no longer on the server" in firefox.run(live))
