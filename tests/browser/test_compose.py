"""A visitor writes a mail in the demo, with Chromium."""

import os
import re

import pytest
from playwright.sync_api import expect

from .browsing import wait_until
from .conftest import STAFF
from .pictures import document, keep_picture, look_at, picture

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

MIB = 2**20

LOOKS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 1100},
        "has_touch": True,
        "is_mobile": True,
    },
}


def test_attach__by_button(visitor):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam\n"))
    mail.expect_stored("spam.txt")
    expect(mail.row("spam.txt")).to_contain_text("5 bytes")
    mail.expect_said("spam.txt has been uploaded")


def test_attach__several_at_once_without_a_session(visitor):
    """The first upload goes alone, else each would begin a session of its own."""
    mail = visitor.compose()
    names = [f"{number}.txt" for number in range(6)]
    mail.attach(*((name, name.encode()) for name in names))
    mail.expect_stored(*names)
    mail.page.reload()
    mail.expect_stored(*names)


def test_attach__by_drop_anywhere_on_the_mail(visitor, tmp_path):
    mail = visitor.compose()
    (tmp_path / "spam.txt").write_bytes(b"spam\n")
    (tmp_path / "egg.txt").write_bytes(b"egg\n")
    mail.drop(tmp_path / "egg.txt", tmp_path / "spam.txt")
    mail.expect_stored("egg.txt", "spam.txt")


def test_attach__shows_progress(visitor):
    mail = visitor.compose()
    with mail.network(rate=256 * 1024):
        mail.attach(("slow.bin", os.urandom(MIB)))
        expect(mail.row("slow.bin").get_by_role("progressbar")).to_be_visible()
        mail.expect_stored("slow.bin")
    expect(mail.row("slow.bin").get_by_role("progressbar")).to_be_hidden()


def test_attach__same_name_replaces(visitor):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"old"))
    mail.expect_stored("spam.txt")
    mail.attach(("spam.txt", b"and new"))
    mail.expect_said("spam.txt has been replaced")
    mail.expect_stored("spam.txt")
    expect(mail.row("spam.txt")).to_contain_text("7 bytes")
    mail.write()
    mail.submit()
    assert mail.expect_sent().download("The files", "spam.txt") == b"and new"


def test_attach__too_large(visitor, tmp_path):
    """The limits of the site are known to the page: nothing is sent."""
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(25 * MIB + 1)
    mail = visitor.compose()
    sent = []
    mail.page.on("request", lambda request: sent.append(request.method))
    mail.attach(tmp_path / "big.bin")
    mail.attach(("fits.txt", b"fits"))
    expect(mail.row("big.bin")).to_contain_text("The file is larger than 25 MB.")
    expect(mail.row("fits.txt")).to_contain_text("Uploaded")
    assert sent.count("PUT") == 1
    mail.button("Dismiss big.bin").click()
    mail.expect_stored("fits.txt")


def test_attach__refused_by_the_sites_validator(visitor):
    visitor.tolerate("422")
    mail = visitor.compose()
    mail.attach(("holiday.jpeg", b"MZ\x90\x00 and so on"))
    expect(mail.row("holiday.jpeg")).to_contain_text("Programs cannot be sent by mail.")
    mail.page.reload()
    mail.expect_stored()


def test_remove(visitor):
    mail = visitor.compose()
    mail.attach(("egg.txt", b"egg"), ("spam.txt", b"spam"))
    mail.expect_stored("egg.txt", "spam.txt")
    mail.button("Remove egg.txt").click()
    mail.expect_stored("spam.txt")
    mail.page.reload()
    mail.expect_stored("spam.txt")


def test_reload__restores_the_list(visitor):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam\n"))
    mail.expect_stored("spam.txt")
    mail.page.reload()
    mail.expect_stored("spam.txt")
    with mail.page.expect_download() as download:
        mail.page.get_by_role("link", name="spam.txt").click()
    assert download.value.path().read_bytes() == b"spam\n"


def test_second_tab__is_a_second_mail(visitor):
    first, second = visitor.compose(), visitor.compose()
    first.attach(("spam.txt", b"of the first"))
    first.expect_stored("spam.txt")
    second.attach(("spam.txt", b"of the second"))
    second.expect_stored("spam.txt")
    first.button("Remove spam.txt").click()
    first.expect_stored()
    second.page.reload()
    second.expect_stored("spam.txt")


def test_second_visitor__sees_nothing(visitors):
    """Not even with the same bundle, where both have a file of the same name."""
    mine, yours = visitors().compose(), visitors().compose()
    mine.attach(("spam.txt", b"mine"))
    mine.expect_stored("spam.txt")
    yours.element.evaluate(
        "(element, url) => element.setAttribute('url', url)", mine.bundle
    )
    yours.expect_stored()
    yours.attach(("spam.txt", b"yours"), ("egg.txt", b"yours too"))
    yours.expect_stored("spam.txt", "egg.txt")
    mine.page.reload()
    mine.expect_stored("spam.txt")
    mine.write()
    mine.submit()
    assert mine.expect_sent().download("The files", "spam.txt") == b"mine"
    request = yours.page.context.request
    assert len(request.get(yours.visitor.url + yours.bundle[1:]).json()) == 2


def test_send__the_mail_holds_the_bytes(visitors):
    files = {
        "Grüße & Küsse #1 (100%).txt": "Grüße\n".encode(),
        "empty.txt": b"",
        "large.bin": os.urandom(3 * MIB + 1),
        "page.html": b"<script>document.title = 'run'</script>",
    }
    visitor = visitors()
    mail = visitor.compose()
    mail.attach(*files.items())
    mail.expect_stored(*files)
    mail.write("Four files")
    mail.submit()
    sent = mail.expect_sent()
    expect(sent.page.get_by_role("status")).to_have_text("“Four files” was sent.")
    for name, data in files.items():
        assert sent.download("Four files", name) == data
    # Whatever a name is written with, it is written by itself.
    expect(sent.page.locator(".file-name[dir=auto]")).to_have_count(len(files))
    address = sent.page.get_by_role("link", name="empty.txt").get_attribute("href")
    assert visitor.context.request.get(visitor.url + address[1:]).status == 200
    stranger = visitors().context.request.get(visitor.url + address[1:])
    assert stranger.status == 404


def test_send__claims_the_files(visitor):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam"))
    mail.expect_stored("spam.txt")
    bundle = mail.bundle
    mail.write()
    mail.submit()
    mail.expect_sent()
    assert visitor.context.request.get(visitor.url + bundle[1:]).json() == []


def test_send__waits_for_uploads(visitor):
    mail = visitor.compose()
    mail.write("Patience")
    data = os.urandom(MIB)
    with mail.network(rate=512 * 1024):
        mail.attach(("slow.bin", data))
        mail.submit()
        expect(mail.notice).to_contain_text("as soon as all files are uploaded")
        sent = mail.expect_sent()
    assert sent.download("Patience", "slow.bin") == data


def test_send__twice_is_once(visitor):
    """Who clicks twice has sent one mail, and is told so."""
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam"))
    mail.expect_stored("spam.txt")
    mail.write("Only once")
    answers = mail.page.evaluate(
        """async () => {
            const form = document.querySelector("form.compose");
            const send = async () => {
                const options = { method: "POST", body: new FormData(form) };
                const answer = await fetch(form.action, options);
                return [answer.url.endsWith("/sent/"), await answer.text()];
            };
            return Promise.all([send(), send(), send()]);
        }"""
    )
    lost = [text for is_sent, text in answers if not is_sent]
    assert len(lost) == 2
    for text in lost:
        assert re.search("submitted already|have been used", text)
    mail.page.goto(visitor.url + "sent/")
    sent = mail.expect_sent()
    expect(sent.mails).to_have_count(1)
    assert sent.download("Only once", "spam.txt") == b"spam"


def test_send__invalid_keeps_the_files(visitor):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam"))
    mail.expect_stored("spam.txt")
    mail.write()
    mail.page.get_by_label("Subject").fill(" ")
    mail.submit()
    expect(mail.page.get_by_text("This field is required.")).to_be_visible()
    expect(mail.page.get_by_label("Message")).to_have_value("Here they are.")
    mail.expect_stored("spam.txt")


def test_send__without_javascript(visitors, tmp_path):
    """Files go with the form, stay when it has an error, and can be taken out."""
    (tmp_path / "egg.txt").write_bytes(b"egg")
    (tmp_path / "spam.txt").write_bytes(b"spam")
    page = visitors(java_script_enabled=False).open()
    page.get_by_label("To", exact=True).fill("ada@example.org")
    page.get_by_label("Subject").fill(" ")
    files = page.get_by_label("Attachments")
    files.set_input_files([tmp_path / "egg.txt", tmp_path / "spam.txt"])
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("This field is required.")).to_be_visible()
    keep_picture(page, "demo-without-javascript")
    page.get_by_label("Subject").fill("By hand")
    page.get_by_label("Remove egg.txt").check()
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/sent/")
    expect(page.get_by_role("listitem")).to_have_text(re.compile("spam.txt"))


def test_login__keeps_the_files_and_logout_removes_them(visitor):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam"))
    mail.expect_stored("spam.txt")
    elsewhere = visitor.open("admin/login/?next=/sent/")
    elsewhere.get_by_label("Username").fill(STAFF["username"])
    elsewhere.get_by_label("Password").fill(STAFF["password"])
    elsewhere.get_by_role("button", name="Log in").click()
    elsewhere.wait_for_url("**/sent/")
    # The page was made before the login, which has changed the CSRF token.
    mail.attach(("egg.txt", b"egg"))
    mail.expect_stored("spam.txt", "egg.txt")
    mail.write("As staff")
    mail.submit()
    assert mail.expect_sent().download("As staff", "spam.txt") == b"spam"

    unsent = visitor.compose()
    unsent.attach(("spam.txt", b"spam"))
    unsent.expect_stored("spam.txt")
    unsent.page.get_by_role("button", name="Log out").click()
    unsent.page.wait_for_url("**/admin/logout/")
    unsent.page.go_back()
    unsent.ready()
    unsent.expect_stored()


def test_login__leads_back_to_the_mail(visitor):
    """By the page's own link; a new mail is a new one all the same."""
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam"))
    mail.expect_stored("spam.txt")
    mail.page.get_by_role("link", name="Staff login").click()
    mail.page.get_by_label("Username").fill(STAFF["username"])
    mail.page.get_by_label("Password").fill(STAFF["password"])
    mail.page.get_by_role("button", name="Log in").click()
    mail.ready()
    mail.expect_stored("spam.txt")
    mail.page.get_by_role("link", name="Sent").click()
    mail.page.wait_for_url("**/sent/")
    mail.page.get_by_role("link", name="New mail").click()
    mail.ready()
    mail.expect_stored()
    mail.page.go_back()
    mail.page.go_back()
    mail.ready()
    mail.expect_stored("spam.txt")
    mail.write("As staff")
    mail.submit()
    assert mail.expect_sent().download("As staff", "spam.txt") == b"spam"


@pytest.mark.parametrize("look", LOOKS)
def test_page__looks_right(visitors, look):
    visitor = visitors(**{"viewport": {"width": 760, "height": 1000}} | LOOKS[look])
    visitor.tolerate("422")
    mail = visitor.compose()
    look_at(mail.page, f"demo-{look}-empty")
    mail.write(
        "Minutes of the meeting",
        "Dear Ada,\n\nhere are the minutes, and the picture that you asked for.",
    )
    mail.attach(("harbour.png", picture((48, 48)), "image/png"))
    mail.expect_stored("harbour.png")
    long = "The minutes of the meeting, with a name that has to be broken.pdf"
    mail.attach(("setup.exe", b"MZ\x90\x00"), (long, b"%PDF-1.7\n" + bytes(9 * MIB)))
    expect(mail.row(long)).to_contain_text("Uploaded")
    expect(mail.row("setup.exe")).to_contain_text("Programs")
    with mail.network(rate=400_000):
        mail.attach(("Slides.odp", bytes(MIB)))
        bar = mail.row("Slides.odp").get_by_role("progressbar")
        wait_until(lambda: bar.evaluate("bar => bar.value") > 0.3)
        mail.page.mouse.move(0, 0)
        look_at(mail.page, f"demo-{look}-uploading")
        document(mail.page, f"demo-{look}")
        expect(mail.row("Slides.odp")).to_contain_text("Uploaded")
    mail.button("Dismiss setup.exe").click()
    mail.submit()
    look_at(mail.expect_sent().page, f"demo-{look}-sent")
