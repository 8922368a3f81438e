"""The element in its form: restored, submitted, validated; and without JavaScript."""

import os
import re

import pytest
from playwright.sync_api import expect

from ..browsing import Held, wait_until
from .conftest import Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("widget")]

MIB = 2**20


def fill(page, subject="Files"):
    page.page.get_by_label("Subject").fill(subject)


def test_reload__restores_the_list(visitor):
    """Though the page that comes has a fresh bundle."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.reload()
    page.expect_stored("spam.txt")
    page.attach(("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")
    page.page.reload()
    page.expect_stored("egg.txt", "spam.txt")
    fill(page)
    page.submit()
    page.expect_sent("egg.txt", "spam.txt")


def test_reload__in_the_middle_of_an_upload(visitor):
    """The visitor is asked first; what was stored is there."""
    page = visitor.open()
    asked = []
    page.page.on("dialog", lambda dialog: asked.append(dialog.type))
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    with page.network(rate=100_000):
        page.attach(("slow.bin", os.urandom(2 * MIB)))
        expect(page.row("slow.bin").get_by_role("progressbar")).to_be_visible()
        page.page.reload()
    assert asked == ["beforeunload"]
    page.expect_stored("spam.txt")


def test_page_opened_anew__is_a_fresh_bundle(visitor):
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.goto(visitor.site.url + "two/")
    page.page.goto(visitor.site.url + "several/")
    page.ready()
    page.expect_stored()


def test_back__restores_the_list(visitor):
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.goto(visitor.site.url + "two/")
    page.page.go_back()
    page.ready()
    page.expect_stored("spam.txt")
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")


def test_back__after_the_form_was_sent(visitor):
    """Its files are used up: the form is as new, and can be sent again."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    bundle = page.page.locator("[name=attachments-bundle]").input_value()
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")
    page.page.go_back()
    page.ready()
    page.expect_stored()
    again = page.page.locator("[name=attachments-bundle]").input_value()
    assert again != bundle
    assert again in page.element.get_attribute("url")
    page.attach(("egg.txt", b"egg"))
    page.expect_stored("egg.txt")
    fill(page)
    page.submit()
    page.expect_sent("egg.txt")


def test_back__to_a_page_that_was_kept(remembering_visitor):
    """As it was left, but for what happened to its files meanwhile."""
    page = remembering_visitor.open("two/")
    page.page.evaluate("window.isKept = true")
    first, second = page.element.nth(0), page.element.nth(1)
    page.attach(("spam.txt", b"spam"), button=first.locator(".add"))
    page.attach(("egg.txt", b"egg"), button=second.locator(".add"))
    expect(page.element.locator("[data-state=stored]")).to_have_count(2)
    page.page.goto(page.visitor.site.url + "several/")
    page.page.go_back(wait_until="commit")
    assert page.page.evaluate("window.isKept")
    expect(page.element.locator("[data-state=stored]")).to_have_count(2)
    page.submit()
    page.expect_sent("spam.txt", "egg.txt")
    page.page.go_back(wait_until="commit")
    assert page.page.evaluate("window.isKept")
    expect(page.rows).to_have_count(0)
    page.attach(("more.txt", b"more"), button=second.locator(".add"))
    expect(page.element.locator("[data-state=stored]")).to_have_count(1)
    page.submit()
    page.expect_sent("more.txt")


def test_back__to_a_page_that_was_kept_and_had_been_sent(remembering_visitor):
    """What it has got since then has not been sent: its loss is said."""
    page = remembering_visitor.open()
    page.page.evaluate("window.isKept = true")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")
    page.page.go_back(wait_until="commit")
    page.expect_stored()
    page.attach(("egg.txt", b"egg"))
    page.expect_stored("egg.txt")
    page.page.goto(page.visitor.site.url + "two/")
    remembering_visitor.context.request.get(page.visitor.site.url + "sign-out/")
    page.page.go_back(wait_until="commit")
    assert page.page.evaluate("window.isKept")
    expect(page.row("egg.txt")).to_contain_text("no longer on the server")


def test_failed_validation__keeps_the_files(visitor):
    page = visitor.open()
    page.page.evaluate("document.forms[0].noValidate = true")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.submit()
    expect(page.page.get_by_text("This field is required.")).to_be_visible()
    page.ready()
    page.expect_stored("spam.txt")
    page.button("Remove spam.txt").click()
    page.expect_stored()
    page.attach(("egg.txt", b"egg"))
    page.expect_stored("egg.txt")
    fill(page)
    page.submit()
    page.expect_sent("egg.txt")


def test_login__keeps_the_files(visitor):
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.goto(visitor.site.url + "sign-in/")
    page.page.go_back()
    page.ready()
    page.expect_stored("spam.txt")
    page.page.reload()
    page.expect_stored("spam.txt")


@pytest.mark.parametrize("is_refused", [False, True])
def test_login__leads_back_to_the_files(visitor, is_refused):
    """By its own way, in this tab, once; also after the form came back with errors."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    if is_refused:
        page.page.evaluate("document.forms[0].noValidate = true")
        page.submit()
        expect(page.page.locator(".errorlist")).to_be_visible()
        page.ready()
        page.expect_stored("spam.txt")
    page.page.goto(visitor.site.url + "sign-in/")
    other = visitor.open()
    other.expect_stored()
    page.page.goto(visitor.site.url + "several/")
    page.ready()
    page.expect_stored("spam.txt")
    page.page.reload()
    page.expect_stored("spam.txt")
    page.page.goto(visitor.site.url + "two/")
    page.page.goto(visitor.site.url + "several/")
    page.ready()
    page.expect_stored()
    page.page.go_back()
    page.page.go_back()
    page.ready()
    page.expect_stored("spam.txt")
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")


def test_login__after_the_form_was_sent(visitor):
    """What was sent does not come back."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    bundle = page.page.locator("[name=attachments-bundle]").input_value()
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")
    page.page.goto(visitor.site.url + "sign-in/")
    page.page.goto(visitor.site.url + "several/")
    page.ready()
    page.expect_stored()
    again = page.page.locator("[name=attachments-bundle]").input_value()
    assert again != bundle
    assert again in page.element.get_attribute("url")


def test_submit__waits_for_the_uploads(visitor):
    """Visibly, then once, by the button that was pressed."""
    page = visitor.open()
    posts = []
    page.page.on(
        "request", lambda r: posts.append(r.url) if r.method == "POST" else None
    )
    fill(page)
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB)))
        for _ in range(3):
            page.submit("Send")
        page.submit("Save draft")
        expect(page.notice).to_contain_text(
            "The form is sent as soon as all files are uploaded."
        )
        page.expect_said("The form is sent as soon as all files are uploaded.")
        assert not posts
        files = page.expect_sent("slow.bin", button="draft")
    assert files[0][1] == MIB
    assert len(posts) == 1


def test_submit__by_enter_and_by_script(visitor):
    page = visitor.open()
    fill(page)
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 2)))
        page.page.get_by_label("Subject").press("Enter")
        expect(page.notice).to_be_visible()
        page.button("Do not send yet").click()
        expect(page.notice).to_be_hidden()
        page.page.evaluate("document.forms[0].requestSubmit()")
        expect(page.notice).to_be_visible()
        page.expect_sent("slow.bin", button="")


def test_submit__not_yet(visitor):
    page = visitor.open()
    fill(page)
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 2)))
        page.submit()
        page.button("Do not send yet").click()
        page.expect_stored("slow.bin")
    page.page.wait_for_timeout(500)
    assert visitor.sent() == []
    page.submit()
    page.expect_sent("slow.bin")


def test_submit__waits_for_a_removal(visitor):
    page = visitor.open()
    fill(page)
    page.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")

    def late(route):
        if route.request.method == "DELETE":
            page.page.wait_for_timeout(1000)
        route.fallback()

    page.page.route("**/attachments/**", late)
    page.button("Remove egg.txt").click()
    page.submit()
    expect(page.notice).to_be_visible()
    page.expect_sent("spam.txt")


DROP_A_FOLDER = """() => {
    // A disk that takes its time.
    const file = new File(["inside"], "inside.txt");
    const entry = {isDirectory: false, name: file.name, file: (done) => done(file)};
    const parts = [[entry], []];
    const readEntries = (done) => setTimeout(() => done(parts.shift()), 1000);
    const folder = {
        isDirectory: true, name: "folder", createReader: () => ({readEntries}),
    };
    DataTransferItem.prototype.webkitGetAsEntry = () => folder;
    const dropped = new DataTransfer();
    dropped.items.add(new File([], "folder"));
    document.querySelector("session-attachments").add(dropped);
}"""


def test_submit__waits_for_a_folder_that_is_read(visitor):
    """And then for the files that were in it."""
    page = visitor.open()
    fill(page)
    page.page.evaluate(DROP_A_FOLDER)
    page.submit()
    page.expect_sent("inside.txt")


def test_submit__reset_while_it_waits(visitor):
    page = visitor.open()
    page.page.get_by_label("Subject").evaluate("input => input.defaultValue = 'Kept'")
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB)))
        page.submit()
        expect(page.notice).to_be_visible()
        page.page.get_by_role("button", name="Reset").click()
        page.expect_stored()
    page.page.wait_for_timeout(500)
    assert visitor.sent() == []


def test_submit__not_without_a_file_that_failed(visitor, too_large):
    """Not before the visitor says so."""
    page = visitor.open()
    fill(page)
    page.attach(("fits.txt", b"fits"))
    page.attach(too_large)
    expect(page.row("big.bin")).to_contain_text("larger than 20 MB")
    page.submit()
    expect(page.notice).to_contain_text("Not sent yet: not all files are uploaded.")
    expect(page.button("Try again")).to_have_count(0)
    expect(page.button("Go on without them")).to_be_focused()
    assert visitor.sent() == []
    page.page.keyboard.press("Enter")
    page.expect_sent("fits.txt")


def test_submit__a_file_that_fails_meanwhile(visitor):
    visitor.tolerate("500")
    page = visitor.open()
    fill(page)
    fails = []

    def fail(route):
        if route.request.method == "PUT" and not fails:
            page.page.wait_for_timeout(1000)
            fails.append(route)
            route.fulfill(status=500, body="oops")
        else:
            route.fallback()

    page.page.route("**/attachments/**", fail)
    page.attach(("spam.txt", b"spam"))
    page.submit()
    expect(page.notice).to_contain_text("Not sent yet")
    expect(page.row("spam.txt")).to_contain_text("refused the file (500)")
    page.button("Try again").click()
    page.expect_stored("spam.txt")
    expect(page.notice).to_be_hidden()
    page.submit()
    page.expect_sent("spam.txt")


def test_submit__a_removal_that_fails_is_not_forgotten(visitor):
    """The visitor did not want the file to be sent."""
    visitor.tolerate("500")
    page = visitor.open()
    fill(page)
    page.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")
    page.page.route(
        "**/attachments/**",
        lambda route: (
            route.fulfill(status=500, body="oops")
            if route.request.method == "DELETE"
            else route.fallback()
        ),
    )
    page.button("Remove egg.txt").click()
    expect(page.row("egg.txt")).to_contain_text("The file could not be removed.")
    page.submit()
    expect(page.notice).to_be_visible()
    expect(page.button("Go on without them")).to_have_count(0)
    page.page.unroute("**/attachments/**")
    page.button("Try again").click()
    page.expect_stored("spam.txt")
    page.submit()
    page.expect_sent("spam.txt")


def test_submit__once_more_while_it_is_on_its_way(visitor):
    """By an impatient click: the files that are used up are no loss to tell of."""
    page = visitor.open("wide/?late")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.evaluate(
        """() => void (async () => {
            const send = document.querySelector("[value=send]");
            const { url } = document.querySelector("session-attachments").attributes;
            send.click();
            while ((await (await fetch(url.value)).json()).length);
            document.dispatchEvent(new Event("visibilitychange"));
            await new Promise((resolve) => setTimeout(resolve, 300));
            send.click();
        })()"""
    )
    error = page.page.locator(".errorlist")
    expect(error).to_contain_text("This form has been submitted already.")
    wait_until(lambda: len(visitor.sent()) == 1)


def test_submit__again_on_a_page_that_has_stayed(visitor):
    """The answer was no page: what is done from then on is waited for and looked at."""
    page = visitor.open()
    fill(page)
    page.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")
    page.page.route(
        "**/several/",
        lambda route: (
            route.fulfill(status=204)
            if route.request.method == "POST"
            else route.fallback()
        ),
    )
    with page.page.expect_response(lambda response: response.status == 204):
        page.submit()
    page.page.unroute("**/several/")
    removals = Held(page.page, "DELETE")
    page.button("Remove egg.txt").click()
    removal = removals.take()
    page.submit()
    expect(page.notice).to_contain_text("is sent as soon as")
    removal.continue_()
    page.expect_sent("spam.txt")


def test_submit__again_where_the_page_sends_it_itself(visitor, too_large):
    """It says so by `preventDefault()`: nothing is on its way that we know of."""
    page = visitor.open()
    fill(page)
    page.page.evaluate(
        """() => {
            window.submits = 0;
            document.forms[0].addEventListener("submit", (event) => {
                event.preventDefault();
                window.submits += 1;
            });
        }"""
    )
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.submit()
    wait_until(lambda: page.page.evaluate("window.submits") == 1)
    visitor.context.request.get(visitor.site.url + "sign-out/")
    page.submit()
    expect(page.notice).to_contain_text("Not sent yet")
    assert page.page.evaluate("window.submits") == 1


def test_submit__other_listeners_see_the_one_that_is_let_through(visitor):
    page = visitor.open()
    fill(page)
    page.page.evaluate(
        """() => {
            window.submits = [];
            document.forms[0].addEventListener("submit", (event) => {
                const files = document.querySelector("session-attachments").files;
                window.submits.push([event.submitter.value, files.map((f) => f.state)]);
                event.preventDefault();
            });
        }"""
    )
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 4)))
        page.submit()
        wait_until(lambda: page.page.evaluate("window.submits.length"))
    assert page.page.evaluate("window.submits") == [["send", ["stored"]]]


def test_submit__does_not_wait_where_the_page_does_not_want_to(visitor):
    """It is asked once."""
    page = visitor.open()
    fill(page)
    Held(page.page, "PUT")
    page.page.evaluate(
        """() => {
            window.asked = 0;
            document.addEventListener("attachments-waiting", (event) => {
                window.asked += 1;
                event.preventDefault();
            });
            document.forms[0].addEventListener("submit", (event) => {
                event.preventDefault();
                window.letThrough = true;
            });
        }"""
    )
    page.attach(("spam.txt", b"spam"))
    page.submit()
    wait_until(lambda: page.page.evaluate("window.letThrough"))
    assert page.page.evaluate("window.asked") == 1


def test_submit__does_not_wait__nor_ask_whether_to_stay(visitor):
    """Not even when something has come in between."""
    page = visitor.open()
    fill(page)
    asked = []
    page.page.on("dialog", lambda dialog: asked.append(dialog.type))
    page.attach(("first.txt", b"makes the session"))
    page.expect_stored("first.txt")
    page.page.evaluate(
        """() => document.addEventListener(
            "attachments-waiting", (event) => event.preventDefault())"""
    )
    Held(page.page, "PUT")
    page.attach(("spam.txt", b"spam"))
    expect(page.row("spam.txt").get_by_role("progressbar")).to_be_visible()
    page.submit()
    page.expect_sent("first.txt")
    assert asked == []


def test_submit__several_fields_in_a_form(visitor):
    page = visitor.open("two/")
    first = page.element.nth(0)
    second = page.element.nth(1)
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 2)), button=first.locator(".add"))
        page.attach(("other.txt", b"other"), button=second.locator(".add"))
        page.submit()
        page.expect_sent("slow.bin", "other.txt")


def test_submit__of_several_fields_one_has_a_file_that_failed(visitor):
    """The visitor is asked at once, and the answer counts while the other uploads."""
    page = visitor.open("two/")
    first, second = page.element.nth(0), page.element.nth(1)
    first.evaluate("element => element.setAttribute('max-size', '3')")
    uploads = Held(page.page, "PUT")
    page.attach(("spam.txt", b"spam"), button=first.locator(".add"))
    page.attach(("egg.txt", b"egg"), button=second.locator(".add"))
    page.submit()
    expect(first.locator(".notice")).to_contain_text("Not sent yet")
    expect(second.locator(".notice")).to_be_hidden()
    page.button("Go on without them").click()
    expect(second.locator(".notice")).to_contain_text("is sent as soon as")
    uploads.take().continue_()
    page.expect_sent("egg.txt")


def test_submit__of_several_fields_one_still_asks_for_its_list(visitor):
    """The answer about the other one's file is not lost meanwhile."""
    page = visitor.open("two/")
    first, second = page.element.nth(0), page.element.nth(1)
    first.evaluate("element => element.setAttribute('max-size', '3')")
    page.attach(("egg.txt", b"egg"), button=second.locator(".add"))
    expect(page.row("egg.txt")).to_contain_text("Uploaded")
    page.attach(("spam.txt", b"spam"), button=first.locator(".add"))
    lists = Held(page.page, "GET")
    page.submit()
    expect(first.locator(".notice")).to_contain_text("Not sent yet")
    asked = lists.take()
    page.button("Go on without them").click()
    lists.end()
    asked.continue_()
    page.expect_sent("egg.txt")


def test_submit__right_after_a_cancel(visitor):
    """The server has stored the file all the same: that is found, and not sent."""
    page = visitor.open()
    fill(page)
    page.attach(("first.txt", b"makes the session"))
    page.expect_stored("first.txt")
    page.button("Remove first.txt").click()
    page.expect_stored()
    upload = Held(page.page, "PUT")
    page.attach(("spam.txt", b"spam"))
    assert upload.take().fetch().status == 201
    lists = Held(page.page, "GET")
    page.button("Cancel spam.txt").click()
    asked = [lists.take()]
    page.submit()
    asked.append(lists.take())
    lists.end()
    for each in asked:
        each.continue_()
    page.expect_sent()


def test_submit__a_file_that_comes_while_the_list_is_asked_for(visitor):
    page = visitor.open()
    fill(page)
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.element.evaluate("element => element.refresh()")
    lists, uploads = Held(page.page, "GET"), Held(page.page, "PUT")
    page.submit()
    asked = lists.take()
    page.attach(("egg.txt", b"egg"))
    upload = uploads.take()
    asked.continue_()
    expect(page.notice).to_contain_text("is sent as soon as")
    lists.end()
    upload.continue_()
    expect(page.notice).to_contain_text("the files have changed")
    page.expect_stored("spam.txt", "egg.txt")
    page.submit()
    page.expect_sent("egg.txt", "spam.txt")


def test_submit__what_the_form_consists_of(visitor):
    """Nothing of what works without JavaScript."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    names = page.page.evaluate("[...new FormData(document.forms[0]).keys()]")
    assert names == [
        "csrfmiddlewaretoken",
        "subject",
        "attachments-bundle",
        "attachments-shown",
    ]


def test_submit__the_form_says_what_was_seen(visitor):
    """One that gets lost on the way is an error, not a silent loss."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    fill(page)
    visitor.context.request.get(visitor.site.url + "sign-out/")
    page.page.evaluate("document.forms[0].submit()")
    expect(page.page.locator(".errorlist")).to_contain_text("Some of the files")
    page.ready()
    page.expect_stored()


def test_required__is_said_by_the_browser(visitor):
    page = visitor.open("required/")
    element = page.element
    assert element.evaluate("e => e.checkValidity()") is False
    assert element.evaluate("e => e.validity.valueMissing") is True
    page.submit()
    expect(page.add).to_be_focused()
    assert page.page.url.endswith("required/")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    assert element.evaluate("e => e.checkValidity()") is True
    page.button("Remove spam.txt").click()
    page.expect_stored()
    assert element.evaluate("e => e.matches(':invalid')") is True
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 4)))
        page.submit()
        page.expect_sent("slow.bin")


def described(page, name, role="button"):
    """How the accessibility tree describes the first one with that name and role."""
    with page.devtools() as devtools:
        nodes = devtools.send("Accessibility.getFullAXTree")["nodes"]
    return next(
        node["description"]["value"]
        for node in nodes
        if (node.get("name", {}).get("value"), node["role"]["value"]) == (name, role)
    )


def test_label__reaches_the_element(visitor):
    page = visitor.open()
    page.page.locator("label", has_text="Attachments").click()
    expect(page.add).to_be_focused()
    expect(page.element.get_by_role("group", name="Attachments")).to_be_visible()
    description = described(page, "Add files")
    assert "For instance a résumé." in description
    assert "Up to 100 files" in description


def test_help_and_errors__reach_the_element(visitor):
    """In browsers, too, that know no references from a shadow root to the page."""
    visitor.context.add_init_script("delete Element.prototype.ariaDescribedByElements")
    page = visitor.open()
    page.page.evaluate(
        """() => {
            const error = document.createElement("p");
            error.id = "error";
            error.textContent = "Something is wrong.";
            document.forms[0].append(error);
            const element = document.querySelector("session-attachments");
            const input = element.querySelector("input[type=file]");
            const ids = input.getAttribute("aria-describedby");
            input.setAttribute("aria-describedby", `${ids} error`);
            element.setAttribute("max-files", "7");
        }"""
    )
    assert described(page, "Add files").startswith(
        "For instance a résumé. Something is wrong. Up to 7 files"
    )


def test_required__is_said_to_those_who_do_not_see(visitor):
    """Once, also where it is the error."""
    page = visitor.open("required/")
    assert "This field is required." in described(page, "Add files")
    page.page.evaluate("document.forms[0].noValidate = true")
    page.submit()
    expect(page.page.locator(".errorlist")).to_be_visible()
    page.ready()
    assert described(page, "Add files").count("This field is required.") == 1
    assert "required" not in described(visitor.open(), "Add files")


def test_label__is_one_with_the_input_without_javascript(visitors):
    page = visitors(java_script_enabled=False).open()
    expect(page.page.get_by_label("Attachments")).to_have_attribute("type", "file")


@pytest.mark.parametrize("script", [True, False])
def test_limits__are_shown_once_with_a_script_and_without(visitors, script):
    page = visitors(java_script_enabled=script).open().page
    shown = page.get_by_text(re.compile("Up to 100 files · Up to .* each"))
    expect(shown.locator("visible=true")).to_have_count(1)


def test_disabled__shows_and_changes_nothing(visitor):
    page = visitor.open("shared/")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.goto(visitor.site.url + "disabled/")
    page.expect_stored("spam.txt")
    expect(page.element.get_by_role("button")).to_have_count(0)
    expect(page.page.get_by_role("link", name="spam.txt")).to_be_visible()


def test_fieldset__disables_too(visitor):
    page = visitor.open()
    page.page.evaluate(
        """() => {
            const set = document.createElement("fieldset");
            const form = document.forms[0];
            form.before(set);
            set.append(form);
            set.disabled = true;
        }"""
    )
    expect(page.element.get_by_role("button")).to_have_count(0)


def test_formset__copied_rows_have_bundles_of_their_own(visitor):
    page = visitor.open("rows/")
    page.page.evaluate(
        """() => {
            // As Django's admin does: clone, then rename.
            const { content } = document.querySelector("template");
            const total = document.querySelector("[name=form-TOTAL_FORMS]");
            for (let row = 1; row <= 2; row += 1) {
                const copy = document.importNode(content, true);
                for (const each of copy.querySelectorAll("*")) {
                    for (const name of ["id", "name", "for"]) {
                        const value = each.getAttribute(name);
                        if (value) {
                            each.setAttribute(name, value.replace("__prefix__", row));
                        }
                    }
                }
                document.querySelector("template").before(copy);
                total.value = row + 1;
            }
        }"""
    )
    expect(page.element).to_have_count(3)
    for row in range(3):
        page.attach(
            ("spam.txt", b"x" * (row + 1)), button=page.element.nth(row).locator(".add")
        )
        expect(page.element.nth(row).locator("[data-state=stored]")).to_have_count(1)
    page.submit()
    files = page.expect_sent("spam.txt", "spam.txt", "spam.txt")
    assert [size for _, size, _ in files] == [1, 2, 3]


def test_admin__rows_of_inlines_are_added_removed_and_saved(visitor):
    """By the admin's own script, which renames all that has a name."""
    visitor.context.request.get(visitor.site.url + "sign-in/")
    page = visitor.open("admin/mailbox/mail/add/")
    page.page.get_by_label("Subject").fill("By staff")
    rows = page.page.locator("tr.dynamic-files")
    for number in range(3):
        page.page.locator(".add-row a").click()
        row = rows.nth(number)
        with page.page.expect_file_chooser() as chooser:
            row.locator("button.add").click()
        file = {"name": f"{number}.txt", "mimeType": "text/plain", "buffer": b"x"}
        chooser.value.set_files([file])
        expect(row.locator("[data-state=stored] .name")).to_have_text(f"{number}.txt")
    rows.nth(1).locator(".inline-deletelink").click()
    expect(rows).to_have_count(2)
    page.page.get_by_role("button", name="Save", exact=True).click()
    page.page.wait_for_url("**/admin/mailbox/mail/")
    page.page.locator("#result_list").get_by_role("link", name="By staff").click()
    saved = page.page.locator("tr.has_original .field-document")
    expect(saved).to_contain_text(["0.txt", "2.txt"])


def test_two_forms_with_a_field_of_one_name__keep_their_files_apart(visitor):
    page = visitor.open("several/?page=twice")
    for number, name in enumerate(["first.txt", "second.txt"]):
        page.attach((name, b"x"), button=page.element.nth(number).locator(".add"))
        stored = page.element.nth(number).locator("[data-state=stored] .name")
        expect(stored).to_have_text(name)
    page.page.reload()
    for number, name in enumerate(["first.txt", "second.txt"]):
        stored = page.element.nth(number).locator("[data-state=stored] .name")
        expect(stored).to_have_text(name)


def failed_page(visitor):
    """A page that came back with two files, on which the list does not come."""
    visitor.tolerate("503")
    page = visitor.open()
    page.page.evaluate("document.forms[0].noValidate = true")
    page.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")
    page.page.route(
        "**/attachments/**",
        lambda route: (
            route.fulfill(status=503, body="busy")
            if route.request.method == "GET"
            else route.continue_()
        ),
    )
    page.submit()
    expect(page.page.locator(".errorlist")).to_be_visible()
    expect(page.notice).to_contain_text("Your files cannot be listed.")
    return page


def test_list_that_does_not_come__what_was_shown_still_counts(visitor):
    """A file that went in another tab is an error, and no mail without it."""
    page = failed_page(visitor)
    url = visitor.site.url + page.element.get_attribute("url")[1:]
    token = page.page.locator("[name=csrfmiddlewaretoken]").input_value()
    gone = visitor.context.request.delete(
        f"{url}egg.txt/", headers={"X-CSRFToken": token}
    )
    assert gone.status == 200
    fill(page)
    page.submit()
    expect(page.page.locator(".errorlist")).to_contain_text("have expired")
    assert visitor.sent() == []


def test_list_that_does_not_come__a_required_field_may_have_files(visitor):
    visitor.tolerate("503")
    page = visitor.open("required/")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.route(
        "**/attachments/**", lambda route: route.fulfill(status=503, body="busy")
    )
    page.page.reload()
    expect(page.notice).to_contain_text("Your files cannot be listed.")
    page.submit()
    page.expect_sent("spam.txt")


def test_formset__a_row_that_is_renamed_in_the_page(visitor):
    """Until then it sleeps: it asks the server for nothing."""
    page = visitor.open("rows/")
    asked = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.evaluate(
        """() => {
            const { content } = document.querySelector("template");
            document.querySelector("template").before(content.cloneNode(true));
        }"""
    )
    expect(page.element).to_have_count(2)
    page.page.wait_for_timeout(300)
    assert not asked
    page.page.evaluate(
        """() => {
            const row = document.querySelectorAll("session-attachments")[1];
            for (const each of row.querySelectorAll("input")) {
                each.name = each.name.replace("__prefix__", 1);
            }
            document.querySelector("[name=form-TOTAL_FORMS]").value = 2;
        }"""
    )
    page.attach(("spam.txt", b"spam"), button=page.element.nth(1).locator(".add"))
    expect(page.element.nth(1).locator("[data-state=stored]")).to_have_count(1)
    page.submit()
    page.expect_sent("spam.txt")


def test_formset__a_row_that_sleeps_when_the_form_is_reset(visitor):
    page = visitor.open("rows/")
    asked = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.evaluate(
        """() => {
            const { content } = document.querySelector("template");
            document.querySelector("template").before(content.cloneNode(true));
        }"""
    )
    page.page.get_by_role("button", name="Reset").click()
    page.element.first.evaluate("element => element.refresh()")
    assert asked
    assert not [url for url in asked if "__prefix__" in url]


def test_parser__is_slower_than_the_script(visitor):
    """The element is there before its children are."""
    page = visitor.open("early/")
    page.page.locator("label", has_text="Attachments").click()
    expect(page.add).to_be_focused()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")


def test_script_that_comes_late__takes_the_chosen_files(visitor):
    """They were in the input that works without it."""
    page = visitor.context.new_page()
    script = Held(page, "GET", "**/attachments.js")
    page.goto(visitor.site.url + "several/", wait_until="commit")
    files = [{"name": "early.txt", "mimeType": "text/plain", "buffer": b"early"}]
    page.get_by_label("Attachments").set_input_files(files)
    script.take().continue_()
    page = Page(page, visitor)
    page.expect_stored("early.txt")
    fill(page)
    page.submit()
    page.expect_sent("early.txt")


def test_script_that_comes_late__removes_what_was_ticked(visitor):
    page = visitor.open()
    page.page.evaluate("document.forms[0].noValidate = true")
    page.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")
    script = Held(page.page, "GET", "**/attachments.js")
    page.page.get_by_role("button", name="Send").click(no_wait_after=True)
    expect(page.page.locator(".errorlist")).to_be_visible()
    page.page.get_by_label("Remove egg.txt").check()
    script.take().continue_()
    page.expect_stored("spam.txt")
    fill(page)
    page.submit()
    page.expect_sent("spam.txt")


def test_formset__a_row_that_is_cloned_when_alive(visitor):
    page = visitor.open("rows/")
    page.page.evaluate(
        """() => {
            const row = document.querySelector("session-attachments");
            const copy = row.cloneNode(true);
            for (const each of [copy, ...copy.querySelectorAll("*")]) {
                for (const name of ["id", "name"]) {
                    const value = each.getAttribute(name);
                    if (value) each.setAttribute(name, value.replace("-0-", "-1-"));
                }
            }
            row.after(copy);
            document.querySelector("[name=form-TOTAL_FORMS]").value = 2;
        }"""
    )
    for row in range(2):
        page.attach(
            ("spam.txt", b"x" * (row + 1)), button=page.element.nth(row).locator(".add")
        )
        expect(page.element.nth(row).locator("[data-state=stored]")).to_have_count(1)
    page.submit()
    files = page.expect_sent("spam.txt", "spam.txt")
    assert [size for _, size, _ in files] == [1, 2]


def test_moved__goes_on(visitor):
    page = visitor.open()
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 2)))
        expect(page.row("slow.bin").get_by_role("progressbar")).to_be_visible()
        page.page.evaluate(
            """() => document.forms[0].append(
                document.querySelector("session-attachments"))"""
        )
        page.expect_stored("slow.bin")


def test_moved__to_another_form(visitor):
    """Which asks it from then on; the form that it has left does not any more."""
    page = visitor.open("several/?page=twice")
    moved = page.element.first
    moved.evaluate("element => element.setAttribute('max-size', '3')")
    page.attach(("spam.txt", b"spam"), button=moved.locator(".add"))
    expect(page.row("spam.txt")).to_contain_text("larger")
    let_through = page.page.evaluate(
        """() => {
            const [before, after] = document.forms;
            const letThrough = [];
            for (const form of [before, after]) {
                form.addEventListener("submit", (event) => {
                    event.preventDefault();
                    letThrough.push(form === before ? "before" : "after");
                });
            }
            after.append(before.querySelector("session-attachments"));
            before.requestSubmit();
            after.requestSubmit();
            return letThrough;
        }"""
    )
    assert let_through == ["before"]
    expect(page.notice.last).to_contain_text("Not sent yet")


def test_removed_from_the_page__stops(visitor):
    page = visitor.open()
    with page.network(rate=100_000):
        page.attach(("slow.bin", os.urandom(MIB)))
        expect(page.row("slow.bin").get_by_role("progressbar")).to_be_visible()
        with page.page.expect_event("requestfailed"):
            page.page.evaluate("document.querySelector('session-attachments').remove()")


def test_reset__shows_what_the_server_has(visitor, too_large):
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.attach(too_large)
    expect(page.row("big.bin")).to_contain_text("larger")
    expect(page.row("spam.txt")).to_contain_text("Uploaded")
    page.page.get_by_role("button", name="Reset").click()
    page.expect_stored("spam.txt")


def test_reset__ends_an_upload_that_waits_for_a_removal(visitor):
    page = visitor.open()
    page.attach(("spam.txt", b"old"))
    page.expect_stored("spam.txt")
    removals = Held(page.page, "DELETE")
    page.button("Remove spam.txt").click()
    page.attach(("spam.txt", b"new"))
    expect(page.row("spam.txt")).to_contain_text("Waiting")
    page.page.get_by_role("button", name="Reset").click()
    removals.take().continue_()
    page.element.evaluate("element => element.settled()")
    page.expect_stored()


@pytest.mark.parametrize("came", ["anew", "with an error"])
def test_reset__after_the_form_was_sent_by_script(visitor, came):
    """The next one has a bundle of its own."""
    page = visitor.open()
    if came == "with an error":
        fill(page, " ")
        page.submit()
        expect(page.page.get_by_text("This field is required.")).to_be_visible()
    page.page.evaluate(
        """() => {
            const form = document.forms[0];
            form.addEventListener("submit", async (event) => {
                event.preventDefault();
                await fetch(form.action, {method: "POST", body: new FormData(form)});
                form.reset();
            });
        }"""
    )
    for name in ("spam.txt", "egg.txt"):
        page.attach((name, b"x"))
        page.expect_stored(name)
        fill(page)
        page.submit()
        page.expect_stored()
    fill(page)
    page.submit()
    wait_until(lambda: len(visitor.sent()) == 3)
    sent = [[name for name, *_ in files] for _, files in visitor.sent()]
    assert sent == [["spam.txt"], ["egg.txt"], []]


class TestWithoutJavaScript:
    @pytest.fixture
    def page(self, visitors):
        return visitors(java_script_enabled=False).open().page

    def choose(self, page, *files):
        page.get_by_label("Attachments").set_input_files(
            [
                {"name": name, "mimeType": "text/plain", "buffer": data}
                for name, data in files
            ]
        )

    def sent(self, page):
        page.wait_for_url("**/sent/")
        return page.inner_text("body")

    def test_upload_on_submit(self, page):
        self.choose(page, ("spam.txt", b"spam"), ("egg.txt", b"egg"))
        page.get_by_label("Subject").fill("Files")
        page.get_by_role("button", name="Send").click()
        assert '"spam.txt", 4' in self.sent(page)
        assert '"egg.txt", 3' in self.sent(page)

    def test_kept_when_the_form_has_errors(self, page):
        """With a box to remove each, and room for more."""
        page.get_by_label("Subject").fill(" ")
        self.choose(page, ("spam.txt", b"spam"), ("egg.txt", b"egg"))
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("This field is required.")).to_be_visible()
        expect(page.locator("[role=listitem]")).to_have_count(2)
        page.get_by_label("Remove egg.txt").check()
        self.choose(page, ("more.txt", b"more"))
        page.get_by_label("Subject").fill("Files")
        page.get_by_role("button", name="Send").click()
        sent = self.sent(page)
        assert '"spam.txt", 4' in sent
        assert '"more.txt", 4' in sent
        assert "egg" not in sent

    def test_errors_of_the_files(self, visitors):
        page = visitors(java_script_enabled=False).open("limited/").page
        self.choose(page, ("big.txt", b"x" * (MIB + 1)), ("fits.txt", b"fits"))
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".errorlist")).to_contain_text("big.txt")
        expect(page.locator(".errorlist")).to_contain_text("1.0\xa0MB")
        expect(page.locator("[role=listitem]")).to_have_count(1)

    def test_an_older_browser_is_like_none(self, visitor):
        """What the element needs is not there: the plain input stays."""
        visitor.context.add_init_script("delete HTMLElement.prototype.attachInternals")
        page = visitor.open()
        expect(page.page.get_by_label("Attachments")).to_have_attribute("type", "file")
        page.page.get_by_label("Attachments").set_input_files(
            {"name": "spam.txt", "mimeType": "text/plain", "buffer": b"spam"}
        )
        fill(page)
        page.submit()
        page.expect_sent("spam.txt")
