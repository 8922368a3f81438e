"""How the element looks, and how it is for those who do not see it."""

import os

import pytest
from playwright.sync_api import expect

from ..browsing import Held, wait_until
from ..pictures import document, keep_picture, look_at, picture

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("widget")]


MIB = 2**20

LOOKS = {
    "light": ("", {}),
    "dark": ("?theme=dark", {"color_scheme": "dark"}),
    # A dark theme that does not say that it is one.
    "night": ("?theme=night", {}),
    "rtl": ("?dir=rtl", {}),
    "phone": (
        "",
        {
            "viewport": {"width": 390, "height": 844},
            "has_touch": True,
            "is_mobile": True,
        },
    ),
    "contrast": ("", {"forced_colors": "active", "reduced_motion": "reduce"}),
}


@pytest.fixture(params=LOOKS)
def look(request):
    return request.param


@pytest.fixture
def open_page(visitors, look):
    """Open a page with this look; yields a function that looks at it."""
    query, options = LOOKS[look]
    visitor = visitors(**{"viewport": {"width": 720, "height": 640}} | options)
    visitor.tolerate("net::ERR")

    def open_it(path):
        page = visitor.open(path + query)
        page.look = lambda state: look_at(page.page, f"{look}-{state}")
        return page

    return open_it


def test_states__have_nothing_that_axe_finds(open_page, look, tmp_path):
    page = open_page("limited/")
    page.look("empty")
    page.attach(("holiday.png", picture(), "image/png"))
    page.expect_stored("holiday.png")
    long = "The minutes of a meeting with a name that has to be broken somewhere.pdf"
    with page.network(rate=40_000):
        page.attach(
            (long, b"%PDF-1.4\n" + os.urandom(MIB // 4), "application/pdf"),
            ("big.png", b"x" * (3 * MIB), "image/png"),
        )
        bar = page.row(long).get_by_role("progressbar")
        wait_until(lambda: bar.evaluate("bar => bar.value") > 0.3)
        page.look("uploading")
        if look == "rtl":
            page.page.mouse.move(0, 0)
            document(page.page, "widget-rtl")
        page.submit()
        expect(page.button("Go on without them")).to_be_focused()
        page.look("undecided")
        page.button("Dismiss big.png").click()
        page.submit()
        expect(page.button("Do not send yet")).to_be_visible()
        page.look("waiting")
        page.button("Do not send yet").click()
        page.button(f"Cancel {long}").click()
    page.expect_stored("holiday.png")
    page.page.mouse.move(0, 0)
    page.look("stored")
    page.visitor.context.set_offline(True)
    page.attach(("note.txt", b"note"))
    expect(page.row("note.txt")).to_contain_text("Waiting for the connection")
    page.look("offline")
    page.visitor.context.set_offline(False)


def test_failures__have_nothing_that_axe_finds(open_page, look):
    page = open_page("several/")
    page.page.route("**/attachments/*/*/", lambda route: route.abort())
    page.attach(("spam.txt", b"spam"))
    expect(page.row("spam.txt")).to_contain_text("Trying again in")
    page.look("retrying")
    page.page.route("**/attachments/*/", lambda route: route.abort())
    page.element.evaluate("element => void element.refresh()")
    expect(page.notice).to_contain_text("Your files cannot be listed.")
    page.look("unlisted")


def test_removal_and_loss__have_nothing_that_axe_finds(open_page, look):
    page = open_page("several/")
    page.attach(("spam.txt", b"spam"), ("holiday.png", picture(), "image/png"))
    page.expect_stored("spam.txt", "holiday.png")
    removals = Held(page.page, "DELETE")
    page.button("Remove spam.txt").click()
    expect(page.row("spam.txt")).to_contain_text("Removing…")
    page.look("removing")
    removals.take().continue_()
    page.expect_stored("holiday.png")
    visitor = page.visitor
    visitor.context.request.get(visitor.site.url + "sign-out/")
    page.element.evaluate("element => element.refresh()")
    lost = page.row("holiday.png")
    expect(lost).to_contain_text("The file is no longer on the server.")
    page.look("lost")


def test_single_and_disabled__have_nothing_that_axe_finds(open_page, look):
    page = open_page("single/")
    page.look("single")
    shared = open_page("shared/")
    shared.attach(("spam.txt", b"spam"))
    shared.expect_stored("spam.txt")
    disabled = open_page("disabled/")
    disabled.expect_stored("spam.txt")
    disabled.look("disabled")


def test_errors__have_nothing_that_axe_finds(open_page, look):
    """The page after a failed validation."""
    page = open_page("required/")
    page.page.evaluate("document.forms[0].noValidate = true")
    page.submit()
    expect(page.page.locator(".errorlist")).to_be_visible()
    page.ready()
    page.look("invalid")
    expect(page.element.locator(".zone")).to_have_attribute("data-invalid", "")


def test_dropping__shows_where(visitor, tmp_path):
    page = visitor.open("several/")
    box = page.element.bounding_box()
    data = {"items": [], "files": [str(tmp_path / "a.txt")], "dragOperationsMask": 1}
    (tmp_path / "a.txt").write_text("a")
    zone = page.element.locator(".zone")
    with page.devtools() as devtools:

        def drag(kind, x, y):
            devtools.send(
                "Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data}
            )

        drag("dragEnter", 5, 5)
        drag("dragOver", 5, 5)
        expect(zone).to_have_attribute("data-drop", "near")
        drag("dragOver", box["x"] + 50, box["y"] + 20)
        expect(zone).to_have_attribute("data-drop", "over")
        keep_picture(page.page, "dropping")
        drag("dragCancel", 5, 5)
        assert zone.get_attribute("data-drop") == "over"
        expect(zone).not_to_have_attribute("data-drop", "over")


def test_keyboard__reaches_everything(visitor):
    """In the order in which it is seen, with a ring around what has the focus."""
    page = visitor.open("several/")
    page.attach(("spam.txt", b"spam"), ("egg.txt", b"egg"))
    page.expect_stored("spam.txt", "egg.txt")
    page.page.get_by_label("Subject").focus()
    seen = []
    for _ in range(7):
        page.page.keyboard.press("Tab")
        seen.append(
            page.page.evaluate(
                """() => {
                    const inside = document.activeElement.shadowRoot?.activeElement;
                    const at = inside ?? document.activeElement;
                    const ring = getComputedStyle(at);
                    return [
                        at.getAttribute("aria-label") ?? at.textContent.trim(),
                        inside ? ring.outlineStyle + " " + ring.outlineWidth : "",
                    ];
                }"""
            )
        )
    assert [name for name, _ in seen] == [
        "Add files",
        "Add a folder",
        "spam.txt",
        "Remove spam.txt",
        "egg.txt",
        "Remove egg.txt",
        "Save draft",
    ]
    assert {ring for _, ring in seen[:6]} == {"solid 2px"}
    with page.page.expect_file_chooser():
        page.add.press("Enter")
    with page.page.expect_file_chooser():
        page.add.press("Space")


def test_targets__are_large_enough(visitors):
    for options, least in (({}, 24), ({"has_touch": True, "is_mobile": True}, 44)):
        page = visitors(**options).open("several/")
        page.attach(("spam.txt", b"spam"))
        page.expect_stored("spam.txt")
        for button in page.element.locator("button:visible").all():
            box = button.bounding_box()
            assert box["width"] >= least
            assert box["height"] >= least


def test_live_region__says_each_step_once(visitor):
    """Started, finished, failed, removed; and not every percent."""
    page = visitor.open("several/")
    page.page.evaluate(
        """() => {
            window.said = [];
            const root = document.querySelector("session-attachments").shadowRoot;
            const live = root.querySelector("[role=status]");
            new MutationObserver((records) => {
                for (const { addedNodes } of records) {
                    for (const node of addedNodes) window.said.push(node.textContent);
                }
            }).observe(live, { childList: true });
        }"""
    )
    with page.network(rate=150_000):
        page.attach(("slow.bin", os.urandom(MIB // 4)))
        page.expect_stored("slow.bin")
    page.expect_said("slow.bin has been uploaded")
    page.button("Remove slow.bin").click()
    page.expect_said("slow.bin has been removed")
    assert page.page.evaluate("window.said") == [
        "slow.bin is being uploaded",
        "slow.bin has been uploaded",
        "slow.bin has been removed",
    ]


def test_language__is_the_pages(visitor):
    page = visitor.open("several/?lang=de")
    page.attach(("spam.bin", b"x" * 1536))
    page.expect_stored("spam.bin")
    expect(page.row("spam.bin")).to_contain_text("1,5 kB")


def test_language__is_the_visitors(visitors):
    """In the words of the package's translation, from the server's too."""
    visitor = visitors(locale="de-DE")
    visitor.tolerate("413")
    page = visitor.open("limited/?lang=de")
    expect(page.add).to_have_text("Dateien hinzufügen")
    page.attach(("notiz.txt", b"x" * 1536))
    page.expect_said("notiz.txt wurde hochgeladen")
    page.attach(("gross.png", b"x" * (3 * MIB), "image/png"))
    expect(page.row("gross.png")).to_contain_text("Die Datei ist größer als 1 MB.")
    keep_picture(page.page, "german")


def test_narrow__nothing_runs_out_of_the_page_without_javascript(visitors):
    options = {"java_script_enabled": False, "viewport": {"width": 360, "height": 640}}
    page = visitors(**options).open().page
    name = f"a-long-name-without-a-space-{'x' * 80}.txt"
    file = {"name": name, "mimeType": "text/plain", "buffer": b"x"}
    page.get_by_label("Attachments").set_input_files(file)
    page.get_by_label("Subject").fill(" ")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label(f"Remove {name}")).to_be_visible()
    keep_picture(page, "narrow-without-javascript")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_parts_and_properties__style_it(visitor):
    page = visitor.open("several/")
    page.page.evaluate(
        """() => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(`
                session-attachments { --attachments-radius: 20px; }
                session-attachments::part(add) { color: rgb(1, 2, 3); }
                session-attachments:state(busy) { outline: 1px solid rgb(4, 5, 6); }
            `);
            document.adoptedStyleSheets = [sheet];
        }"""
    )
    expect(page.add).to_have_css("border-radius", "20px")
    expect(page.add).to_have_css("color", "rgb(1, 2, 3)")
    with page.network(rate=150_000):
        page.attach(("slow.bin", os.urandom(MIB // 4)))
        expect(page.element).to_have_css("outline-color", "rgb(4, 5, 6)")
        page.expect_stored("slow.bin")
    expect(page.element).not_to_have_css("outline-color", "rgb(4, 5, 6)")
