"""The connection is lost, the server dies, the session ends, somebody else comes."""

import os

import pytest
from playwright.sync_api import expect

from ..browsing import Held, wait_until
from .conftest import Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("widget")]

MIB = 2**20

LOST = "net::ERR_"


def test_killed_server__the_upload_is_tried_again(visitor, site):
    visitor.tolerate(LOST)
    page = visitor.open()
    page.attach(("first.txt", b"makes the session"))
    page.expect_stored("first.txt")
    data = os.urandom(MIB)
    with page.network(rate=300_000):
        page.attach(("slow.bin", data), ("next.txt", b"next"))
        bar = page.row("slow.bin").get_by_role("progressbar")
        wait_until(lambda: 0.2 < bar.evaluate("bar => bar.value") < 1)
        site.kill()
        row = page.row("slow.bin")
        expect(row).to_contain_text("Trying again in")
        expect(row).to_contain_text("The server cannot be reached.")
    page.page.wait_for_timeout(2500)
    site.start()
    page.expect_stored("first.txt", "slow.bin", "next.txt")
    assert ("retrying", "slow.bin") in page.heard()
    page.page.get_by_label("Subject").fill("Patience")
    page.submit()
    files = page.expect_sent("first.txt", "next.txt", "slow.bin")
    assert files[2][1] == MIB


def test_killed_server__retry_at_once(visitor, site):
    """By the button, before the time is over."""
    visitor.tolerate(LOST)
    page = visitor.open()
    site.kill()
    page.attach(("spam.txt", b"spam"))
    for _ in range(4):
        page.button("Retry spam.txt").click()
        page.page.wait_for_timeout(100)
    site.start()
    page.button("Retry spam.txt").click(timeout=10_000)
    page.expect_stored("spam.txt")


def test_killed_server__the_page_is_opened(visitor, site):
    """The list cannot be read, and comes by itself later."""
    visitor.tolerate(LOST)
    page = visitor.open("shared/")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    refused = []

    def refuse(route):
        refused.append(route)
        route.abort("connectionrefused")

    page.page.route("**/attachments/shared/", refuse)
    page.page.reload()
    expect(page.notice).to_contain_text("Your files cannot be listed.")
    page.page.unroute("**/attachments/shared/")
    page.expect_stored("spam.txt")
    expect(page.notice).to_be_hidden()


def test_list_that_does_not_come__focus_and_words(visitor):
    """Who asks for it again by the button is answered, and stays where it was."""
    visitor.tolerate("503")
    visitor.tolerate(LOST)
    page = visitor.open("shared/")
    url = "**/attachments/shared/"
    problem = {"content_type": "application/problem+json", "status": 503}
    body = '{"code": "busy", "detail": "The server is busy."}'
    page.page.route(url, lambda route: route.fulfill(body=body, **problem))
    page.element.evaluate("element => element.refresh()")
    again = page.button("Try again")
    said = page.live.get_by_text("Your files cannot be listed. The server is busy.")
    expect(said).to_have_count(1)
    again.press("Enter")
    expect(said).to_have_count(2)
    expect(again).to_be_focused()
    page.page.unroute(url)
    page.page.route(url, lambda route: route.abort())
    page.element.evaluate("element => element.refresh()")
    expect(page.notice).to_contain_text("The server cannot be reached.")
    expect(again).to_be_focused()


def test_list_that_is_never_answered__does_not_hold_the_files_up(visitor):
    """Nor the form. The clock is turned on: nobody waits that long here."""
    page = visitor.context.new_page()
    page.clock.install()
    Held(page, "GET")
    page.goto(visitor.site.url + "several/", wait_until="commit")
    page.get_by_label("Subject").fill("Files")
    page = Page(page, visitor, is_listed=False)
    page.attach(("spam.txt", b"spam"))
    page.submit()
    expect(page.notice).to_contain_text("is sent as soon as")
    expect(page.row("spam.txt")).to_contain_text("Waiting")
    page.page.clock.fast_forward(15_000)
    expect(page.row("spam.txt")).to_contain_text("Uploaded")
    page.page.clock.fast_forward(5_000)
    page.expect_sent("spam.txt")


def test_busy_server__retry_after(visitor):
    """A 503 says when; its words are shown meanwhile."""
    visitor.tolerate("503")
    page = visitor.open()
    answers = []

    def busy(route):
        if route.request.method == "PUT" and len(answers) < 2:
            answers.append(route)
            route.fulfill(
                status=503,
                headers={"Retry-After": "2"},
                content_type="application/problem+json",
                body='{"code": "busy", "detail": "The server is busy."}',
            )
        else:
            route.fallback()

    page.page.route("**/attachments/**", busy)
    page.attach(("spam.txt", b"spam"))
    row = page.row("spam.txt")
    expect(row).to_contain_text("The server is busy.")
    expect(row).to_contain_text("Trying again in 2 sec")
    page.expect_stored("spam.txt")
    assert len(answers) == 2
    page.expect_said("spam.txt has been uploaded")
    expect(page.live.get_by_text("The server is busy.")).to_have_count(1)


def test_offline__waits_for_the_connection(visitor):
    visitor.tolerate(LOST)
    page = visitor.open()
    visitor.context.set_offline(True)
    page.attach(("spam.txt", b"spam"))
    expect(page.row("spam.txt")).to_contain_text("Waiting for the connection")
    page.expect_said("spam.txt: Waiting for the connection")
    page.page.wait_for_timeout(2000)
    expect(page.row("spam.txt")).to_contain_text("Waiting for the connection")
    visitor.context.set_offline(False)
    page.expect_stored("spam.txt")


def test_file_gone__is_not_tried_again(visitor, tmp_path):
    """A browser says the same as when the connection is lost."""
    visitor.tolerate(LOST)
    page = visitor.open()
    path = tmp_path / "gone.txt"
    path.write_text("spam")
    visitor.context.set_offline(True)
    page.attach(path)
    expect(page.row("gone.txt")).to_contain_text("Waiting for the connection")
    path.unlink()
    visitor.context.set_offline(False)
    expect(page.row("gone.txt")).to_contain_text("The file cannot be read.")
    assert page.heard()[-1] == ("failed", "gone.txt")


def test_proxy__answers_with_a_page_of_its_own(visitor):
    visitor.tolerate("413")
    page = visitor.open()
    page.page.route(
        "**/attachments/*/*/",
        lambda route: route.fulfill(status=413, body="<h1>Too large</h1>"),
    )
    page.attach(("spam.txt", b"spam"))
    expect(page.row("spam.txt")).to_contain_text("too large for the server")


def test_login_page__is_not_a_stored_file(visitor):
    page = visitor.open()
    page.page.route(
        "**/attachments/*/*/",
        lambda route: route.fulfill(status=200, body="<form>Log in</form>"),
    )
    page.attach(("spam.txt", b"spam"))
    expect(page.row("spam.txt")).to_contain_text("refused the file (200)")
    assert ("stored", "spam.txt") not in page.heard()


def test_expired_session__what_is_lost_is_said(visitor):
    """The next upload is stored in a new session, and the old files are gone."""
    page = visitor.open()
    page.attach(("old.txt", b"old"))
    page.expect_stored("old.txt")
    visitor.context.request.get(visitor.site.url + "sign-out/")
    page.attach(("new.txt", b"new"))
    row = page.row("old.txt")
    expect(row).to_contain_text("The file is no longer on the server.")
    expect(page.row("new.txt")).to_contain_text("Uploaded")
    page.expect_said("old.txt: The file is no longer on the server.")
    # The page still has it.
    page.button("Retry old.txt").click()
    page.expect_stored("old.txt", "new.txt")
    page.page.get_by_label("Subject").fill("Both")
    page.submit()
    page.expect_sent("new.txt", "old.txt")


def test_expired_session__seen_before_the_form_is_sent(visitor):
    page = visitor.open()
    page.attach(("old.txt", b"old"))
    page.expect_stored("old.txt")
    page.page.get_by_label("Subject").fill("Lost")
    visitor.context.request.get(visitor.site.url + "sign-out/")
    page.submit()
    expect(page.notice).to_contain_text("Not sent yet: not all files are uploaded.")
    page.button("Try again").click()
    page.expect_stored("old.txt")
    page.submit()
    page.expect_sent("old.txt")


def test_expired_session__the_next_upload_makes_one_for_all(visitor):
    """Side by side, each would begin a session of its own."""
    page = visitor.open()
    page.attach(("old.txt", b"old"))
    page.expect_stored("old.txt")
    visitor.context.request.get(visitor.site.url + "sign-out/")
    page.element.evaluate("element => element.refresh()")
    page.button("Dismiss old.txt").click()
    names = ["1.txt", "2.txt", "3.txt"]
    page.attach(*((name, b"new") for name in names))
    page.expect_stored(*names)
    page.page.reload()
    page.expect_stored(*names)


def test_login_elsewhere__the_token_is_renewed(visitor):
    """In the page, which was made before; also for the form."""
    page = visitor.open()
    page.attach(("before.txt", b"before"))
    page.expect_stored("before.txt")
    visitor.context.request.get(visitor.site.url + "sign-in/")
    page.attach(("after.txt", b"after"))
    page.expect_stored("before.txt", "after.txt")
    page.button("Remove before.txt").click()
    page.expect_stored("after.txt")
    page.page.get_by_label("Subject").fill("As staff")
    page.submit()
    page.expect_sent("after.txt")


def test_login_elsewhere__before_a_page_that_the_browser_had_kept(visitor):
    """Its token is old from the start: only the server can tell."""
    visitor.tolerate("403")
    page = visitor.open()
    page.page.locator("[name=csrfmiddlewaretoken]").evaluate(
        "input => { input.value = 'x'.repeat(64); }"
    )
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.page.get_by_label("Subject").fill("Files")
    page.submit()
    page.expect_sent("spam.txt")


def test_login_elsewhere__the_form_can_be_sent(visitor):
    """Though nothing has been uploaded since, by which the page could notice."""
    page = visitor.open()
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    visitor.context.request.get(visitor.site.url + "sign-in/")
    page.page.get_by_label("Subject").fill("Files")
    page.submit()
    page.expect_sent("spam.txt")


def test_second_tab__is_a_second_bundle(visitor):
    first, second = visitor.open(), visitor.open()
    first.attach(("spam.txt", b"first"))
    first.expect_stored("spam.txt")
    second.attach(("spam.txt", b"the second"))
    second.expect_stored("spam.txt")
    first.button("Remove spam.txt").click()
    first.expect_stored()
    second.page.reload()
    second.expect_stored("spam.txt")


def test_second_tab__of_a_visitor_without_a_session(visitor):
    """Its cookie comes with the end of the first upload: the other tab waits."""
    first, second = visitor.open(), visitor.open()
    with first.network(rate=200_000):
        first.attach(("slow.bin", os.urandom(MIB // 2)))
        expect(first.row("slow.bin").get_by_role("progressbar")).to_be_visible()
        second.attach(("spam.txt", b"spam"))
        expect(second.row("spam.txt")).to_contain_text("Waiting")
        first.expect_stored("slow.bin")
        second.expect_stored("spam.txt")
    first.page.reload()
    first.expect_stored("slow.bin")


def test_second_tab__of_the_same_bundle(visitor):
    """What another tab has removed is said, and offered again."""
    first, second = visitor.open("shared/"), visitor.open("shared/")
    first.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    first.expect_stored("spam.txt", "egg.txt")
    second.page.reload()
    second.expect_stored("egg.txt", "spam.txt")
    second.button("Remove spam.txt").click()
    second.expect_stored("egg.txt")
    first.submit()
    expect(first.row("spam.txt")).to_contain_text("no longer on the server")
    first.button("Dismiss spam.txt").click()
    expect(first.notice).to_be_hidden()
    first.submit()
    first.expect_sent("egg.txt")


def test_second_tab__replaces_a_file_that_this_one_removes(visitor):
    """It removes what the visitor saw, and nothing else."""
    visitor.tolerate("412")
    first, second = visitor.open("shared/"), visitor.open("shared/")
    first.attach(("spam.txt", b"spam"))
    first.expect_stored("spam.txt")
    second.attach(("spam.txt", b"newer"))
    expect(second.row("spam.txt")).to_contain_text("5 bytes")
    first.button("Remove spam.txt").click()
    row = first.row("spam.txt")
    expect(row).to_contain_text("The file could not be removed.")
    first.button("Dismiss spam.txt").click()
    expect(row).to_contain_text("5 bytes · Uploaded")
    first.button("Remove spam.txt").click()
    first.expect_stored()


def test_second_tab__adds_a_file(visitor):
    """What is sent is what the visitor saw."""
    first, second = visitor.open("shared/"), visitor.open("shared/")
    first.attach(("spam.txt", b"spam"))
    first.expect_stored("spam.txt")
    second.attach(("egg.txt", b"egg"))
    expect(second.row("egg.txt")).to_contain_text("Uploaded")
    first.submit()
    expect(first.notice).to_contain_text("the files have changed")
    expect(first.row("egg.txt")).to_contain_text("Uploaded")
    first.submit()
    first.expect_sent("egg.txt", "spam.txt")


def test_second_visitor__sees_nothing(visitors):
    """Not even at the same address, where both have a file of the same name."""
    mine, yours = visitors().open("shared/"), visitors().open("shared/")
    mine.attach(("spam.txt", b"mine"))
    mine.expect_stored("spam.txt")
    yours.expect_stored()
    yours.attach(("spam.txt", b"yours"), ("egg.txt", b"too"))
    yours.expect_stored("spam.txt", "egg.txt")
    mine.submit()
    [[_, size, _]] = mine.expect_sent("spam.txt")
    assert size == 4
    yours.page.reload()
    yours.expect_stored("egg.txt", "spam.txt")
