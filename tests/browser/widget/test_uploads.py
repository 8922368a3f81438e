"""Files on their way: chosen, dropped, pasted, refused, cancelled, removed."""

import os
import zlib

import pytest
from playwright.sync_api import expect

from ..browsing import Held, wait_until
from ..pictures import picture

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("widget")]

MIB = 2**20


def most_at_once(page):
    """How many uploads were on their way at the same time, at most."""
    return page.page.evaluate("window.most")


def count_at_once(page):
    page.page.evaluate(
        """() => {
            const root = document.querySelector("session-attachments").shadowRoot;
            window.most = 0;
            new MutationObserver(() => {
                const sending = root.querySelectorAll("[data-state=sending]").length;
                window.most = Math.max(window.most, sending);
            }).observe(root, { subtree: true, childList: true, attributes: true });
        }"""
    )


@pytest.mark.parametrize(("is_reloaded", "count"), [(False, 5), (True, 3)])
def test_uploads__three_at_a_time_once_there_is_a_session(visitor, is_reloaded, count):
    """A page that shows files knows that there is one."""
    page = visitor.open()
    page.attach(("first.txt", b"makes the session"))
    page.expect_stored("first.txt")
    if is_reloaded:
        page.page.reload()
        page.expect_stored("first.txt")
    count_at_once(page)
    names = [f"{number}.bin" for number in range(count)]
    with page.network(rate=400_000):
        page.attach(*((name, bytes(50_000)) for name in names))
        page.expect_stored("first.txt", *names)
    assert most_at_once(page) == 3


def test_uploads__one_at_a_time_before(visitor):
    page = visitor.open()
    count_at_once(page)
    with page.network(rate=400_000):
        page.attach(*((f"{number}.bin", bytes(50_000)) for number in range(2)))
        page.expect_stored("0.bin", "1.bin")
    assert most_at_once(page) == 1


def test_add__by_button(visitor):
    page = visitor.open()
    page.attach(("spam.txt", b"spam\n"))
    page.expect_stored("spam.txt")
    expect(page.row("spam.txt")).to_contain_text("5 bytes · Uploaded")
    page.expect_said("spam.txt has been uploaded")
    assert page.heard() == [
        ("added", "spam.txt"),
        ("started", "spam.txt"),
        ("progress", "spam.txt"),
        ("stored", "spam.txt"),
    ]
    with page.page.expect_download() as download:
        page.page.get_by_role("link", name="spam.txt").click()
    assert download.value.suggested_filename == "spam.txt"
    assert download.value.path().read_bytes() == b"spam\n"


@pytest.mark.parametrize(
    "name",
    ["Grüße & Küsse #1 (100%).txt", "delete", "?.txt", "a;b=c.txt", "שלום.txt"],
)
def test_add__any_name(visitor, name):
    page = visitor.open()
    page.attach((name, b"spam"))
    page.expect_stored(name)
    page.page.reload()
    page.expect_stored(name)


def test_add__many_at_once_without_a_session(visitor):
    """The first upload goes alone, else each would begin a session of its own."""
    page = visitor.open()
    names = [f"{number}.txt" for number in range(8)]
    page.attach(*((name, name.encode()) for name in names))
    page.expect_stored(*names)
    page.expect_said("Files uploaded:")
    page.page.get_by_label("Subject").fill("Many")
    page.submit()
    page.expect_sent(*names)


def test_add__empty_file(visitor):
    page = visitor.open()
    page.attach(("empty.txt", b""))
    page.expect_stored("empty.txt")
    expect(page.row("empty.txt")).to_contain_text("0 bytes")


def test_add__by_drop(visitor, tmp_path):
    page = visitor.open()
    for name in ("spam.txt", "egg.txt"):
        (tmp_path / name).write_text(name)
    page.drop(tmp_path / "spam.txt", tmp_path / "egg.txt")
    page.expect_stored("spam.txt", "egg.txt")


def test_add__by_drop_of_a_folder(visitor, tmp_path):
    """All that is in it, however deep; what has the same name is not lost."""
    page = visitor.open()
    deep = tmp_path / "folder" / "deep"
    deep.mkdir(parents=True)
    (deep.parent / "spam.txt").write_text("one")
    (deep / "spam.txt").write_text("two")
    (deep / ".hidden").write_text("hidden")
    (deep / "Thumbs.db").write_text("thumbs")
    (deep / ".git").mkdir()
    (deep / ".git" / "config").write_text("hidden, too")
    page.drop(tmp_path / "folder")
    expect(page.rows).to_have_count(2)
    names = page.element.locator(".name").all_text_contents()
    assert sorted(names) == ["spam (2).txt", "spam.txt"]


def test_add__by_folder_button(visitor, tmp_path):
    page = visitor.open()
    (tmp_path / "folder").mkdir()
    for number in range(2):
        (tmp_path / "folder" / f"{number}.txt").write_text("spam")
    (tmp_path / "folder" / ".git").mkdir()
    (tmp_path / "folder" / ".git" / "config").write_text("hidden")
    page.attach(tmp_path / "folder", button=page.button("Add a folder"))
    expect(page.rows).to_have_count(2)
    expect(page.row("0.txt")).to_contain_text("Uploaded")


def test_add__drop_beside_the_zone_keeps_the_page(visitor, tmp_path):
    """But for file inputs, and for what is no file."""
    page = visitor.open()
    (tmp_path / "spam.txt").write_text("spam")
    page.drop(tmp_path / "spam.txt", on=page.page.get_by_role("heading"))
    prevented = page.page.evaluate(
        """() => {
            const input = document.createElement("input");
            input.type = "file";
            document.body.append(input);
            const drag = (target, type, fill) => {
                const dataTransfer = new DataTransfer();
                fill(dataTransfer);
                const init = {dataTransfer, bubbles: true, cancelable: true};
                return !target.dispatchEvent(new DragEvent(type, init));
            };
            const file = (data) => data.items.add(new File(["x"], "x.txt"));
            const text = (data) => data.setData("text/plain", "x");
            const heading = document.querySelector("h1");
            return [[heading, file], [input, file], [heading, text]].map(
                ([target, fill]) => ["dragover", "drop"].map(
                    (type) => drag(target, type, fill)));
        }"""
    )
    assert prevented == [[True, True], [False, False], [False, False]]
    page.attach(("egg.txt", b"egg"))
    page.expect_stored("egg.txt")


def test_add__drop_anywhere_on_the_form(visitor, tmp_path):
    page = visitor.open("wide/")
    (tmp_path / "spam.txt").write_text("spam")
    page.drop(tmp_path / "spam.txt", on=page.page.get_by_label("Message"))
    page.expect_stored("spam.txt")


def test_add__drop_on_a_form_where_two_fields_want_all(visitor, tmp_path):
    """The first takes it, but for what is dropped on the other one."""
    page = visitor.open("two/")
    first, second = page.element.nth(0), page.element.nth(1)
    for field in (first, second):
        field.evaluate("element => element.setAttribute('drop', 'form')")
    for name in ("spam.txt", "egg.txt"):
        (tmp_path / name).write_text(name)
    page.drop(tmp_path / "spam.txt", on=page.page.get_by_role("button", name="Reset"))
    expect(page.row("spam.txt")).to_contain_text("Uploaded")
    page.drop(tmp_path / "egg.txt", on=second)
    expect(page.row("egg.txt")).to_contain_text("Uploaded")
    expect(first.locator(".name")).to_have_text(["spam.txt"])
    expect(second.locator(".name")).to_have_text(["egg.txt"])


def test_add__drop_on_a_disabled_field_keeps_the_page(visitor, tmp_path):
    """And takes nothing."""
    page = visitor.open("disabled/")
    (tmp_path / "spam.txt").write_text("spam")
    page.drop(tmp_path / "spam.txt")
    prevented = page.element.evaluate(
        """(element) => ["dragover", "drop"].map((type) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "x.txt"));
            const init = {dataTransfer, bubbles: true, cancelable: true};
            return !element.dispatchEvent(new DragEvent(type, init));
        })"""
    )
    assert prevented == [True, True]
    expect(page.element.locator("[data-drop]")).to_have_count(0)
    page.expect_stored()


PASTE = """([selector, files, text]) => {
    const data = new DataTransfer();
    for (const [name, type] of files) data.items.add(new File(["x"], name, {type}));
    if (text) data.setData("text/plain", text);
    const target = selector ? document.querySelector(selector) : document.body;
    const init = {clipboardData: data, bubbles: true, cancelable: true, composed: true};
    return target.dispatchEvent(new ClipboardEvent("paste", init));
}"""


def test_add__by_paste(visitor):
    """Browsers call each pasted image the same."""
    page = visitor.open()
    image = [["image.png", "image/png"]]
    assert page.page.evaluate(PASTE, [None, image, ""]) is False
    page.expect_stored("image.png")
    assert page.page.evaluate(PASTE, ["[name=subject]", image, ""]) is False
    page.expect_stored("image.png", "image (2).png")


def test_add__paste_of_text_with_a_picture_of_it_is_text(visitor):
    page = visitor.open()
    image = [["image.png", "image/png"]]
    assert page.page.evaluate(PASTE, ["[name=subject]", image, "text"]) is True
    assert page.page.evaluate(PASTE, ["[name=subject]", [], "text"]) is True
    page.expect_stored()


def test_add__paste_of_the_real_clipboard(visitors):
    visitor = visitors(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.open()
    page.page.evaluate(
        """async (bytes) => {
            const image = new Blob([new Uint8Array(bytes)], {type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": image})]);
        }""",
        list(picture()),
    )
    page.page.get_by_label("Subject").focus()
    page.page.keyboard.press("Control+V")
    page.expect_stored("image.png")
    expect(page.row("image.png").locator("img")).to_be_visible()


def test_add__preview_of_an_image(visitor):
    """From local data: nothing is downloaded for it, and nothing is leaked."""
    page = visitor.open()
    page.page.evaluate(
        """() => {
            window.urls = new Set();
            const { createObjectURL, revokeObjectURL } = URL;
            URL.createObjectURL = (file) => {
                const url = createObjectURL.call(URL, file);
                window.urls.add(url);
                return url;
            };
            URL.revokeObjectURL = (url) => {
                window.urls.delete(url);
                revokeObjectURL.call(URL, url);
            };
        }"""
    )
    page.attach(("a.png", picture(), "image/png"), ("no.png", b"no", "image/png"))
    page.expect_stored("a.png", "no.png")
    image = page.row("a.png").locator("img")
    wait_until(lambda: image.evaluate("image => image.naturalWidth") == 48)
    expect(page.row("no.png").locator("img")).to_have_count(0)
    assert page.page.evaluate("window.urls.size") == 2
    page.button("Remove a.png").click()
    page.button("Remove no.png").click()
    page.expect_stored()
    assert page.page.evaluate("window.urls.size") == 0


WATCH = """() => {
    window.seen = [];
    const root = document.querySelector("session-attachments").shadowRoot;
    const look = () => {
        const row = root.querySelector("li:last-child");
        if (!row) return;
        const bar = row.querySelector("progress");
        const value = bar.hasAttribute("value") ? bar.value : null;
        const text = row.querySelector(".status").textContent;
        window.seen.push([row.dataset.state, bar.checkVisibility(), value, text]);
    };
    const what = {subtree: true, childList: true, attributes: true};
    new MutationObserver(look).observe(root, what);
}"""


def test_progress__is_honest(visitor):
    page = visitor.open()
    page.page.evaluate(WATCH)
    with page.network(rate=400_000):
        page.attach(("slow.bin", os.urandom(MIB)))
        bar = page.element.get_by_role("progressbar", name="Upload of slow.bin")
        expect(bar).to_be_visible()
        page.expect_stored("slow.bin")
    seen = page.page.evaluate("window.seen")
    states = list(dict.fromkeys(state for state, *_ in seen))
    assert states[-3:] == ["sending", "saving", "stored"]
    assert set(states[:-3]) <= {"waiting"}
    assert all(shown == (state in ("sending", "saving")) for state, shown, *_ in seen)
    on_the_way = [value for state, _, value, _ in seen if state == "sending"]
    assert on_the_way == sorted(on_the_way)
    assert len({value for value in on_the_way if 0 < value < 1}) >= 3
    # The bytes are out and not yet acknowledged: how long that takes nobody knows.
    saving = [(value, text) for state, _, value, text in seen if state == "saving"]
    assert set(saving) == {(None, "Saving…")}


def test_same_name__replaces(visitor):
    """One line; the old file is there until the new one is stored."""
    page = visitor.open()
    page.attach(("spam.bin", b"old"))
    page.expect_stored("spam.bin")
    with page.network(rate=200_000):
        page.attach(("spam.bin", os.urandom(MIB // 2)))
        expect(page.rows).to_have_count(1)
        expect(page.row("spam.bin").get_by_role("progressbar")).to_be_visible()
        link = page.page.get_by_role("link", name="spam.bin")
        old = visitor.context.request.get(
            visitor.site.url + link.get_attribute("href")[1:]
        )
        assert old.body() == b"old"
        page.expect_stored("spam.bin")
    page.expect_said("spam.bin has been replaced")
    expect(page.row("spam.bin")).to_contain_text("512 kB")


def test_same_name__while_it_is_uploaded(visitor):
    """The newer one counts."""
    page = visitor.open()
    with page.network(rate=100_000):
        page.attach(("spam.txt", os.urandom(MIB)))
        expect(page.row("spam.txt").get_by_role("progressbar")).to_be_visible()
        page.attach(("spam.txt", b"new"))
        page.expect_stored("spam.txt")
    expect(page.row("spam.txt")).to_contain_text("3 bytes")


def test_same_name__refused_keeps_the_old_one(visitor, too_large):
    visitor.tolerate("413")
    page = visitor.open()
    page.attach(("spam.bin", b"old"))
    page.expect_stored("spam.bin")
    page.page.evaluate(
        "document.querySelector('session-attachments').removeAttribute('max-size')"
    )
    page.attach(too_large.rename(too_large.with_name("spam.bin")))
    row = page.row("spam.bin")
    expect(row).to_contain_text("The file is larger than 20.0\xa0MB.")
    expect(page.page.get_by_role("link", name="spam.bin")).to_be_visible()
    page.button("Dismiss spam.bin").click()
    page.expect_stored("spam.bin")
    expect(row).to_contain_text("3 bytes")


def test_same_name__refused_while_another_is_uploaded(visitor):
    """Its reason is shown, and the upload goes on."""
    page = visitor.open("limited/")
    with page.network(rate=200_000):
        page.attach(("spam.txt", os.urandom(MIB // 2)))
        row = page.row("spam.txt")
        expect(row.get_by_role("progressbar")).to_be_visible()
        page.attach(("spam.txt", b"x" * (MIB + 1)))
        expect(row).to_contain_text("The file is larger than 1 MB.")
        expect(row.get_by_role("progressbar")).to_be_visible()
        page.button("Dismiss spam.txt").click()
    page.expect_stored("spam.txt")
    expect(row).to_contain_text("512 kB")


def test_same_name__while_the_old_one_is_removed(visitor):
    """The removal does not take the new file with it."""
    page = visitor.open()
    page.attach(("spam.txt", b"old"))
    page.expect_stored("spam.txt")

    def late(route):
        if route.request.method == "DELETE":
            page.page.wait_for_timeout(1000)
        route.fallback()

    page.page.route("**/attachments/**", late)
    page.button("Remove spam.txt").click()
    page.attach(("spam.txt", b"new one"))
    page.expect_stored("spam.txt")
    expect(page.row("spam.txt")).to_contain_text("7 bytes")
    page.page.reload()
    page.expect_stored("spam.txt")
    assert page.heard() == []


def test_same_name__while_the_old_one_cannot_be_removed(visitor):
    """It is replaced: its removal is nobody's trouble any more."""
    visitor.tolerate("500")
    page = visitor.open()
    page.attach(("spam.txt", b"old"))
    page.expect_stored("spam.txt")
    removals = Held(page.page, "DELETE")
    page.button("Remove spam.txt").click()
    page.attach(("spam.txt", b"new one"))
    expect(page.row("spam.txt")).to_contain_text("Waiting")
    removals.take().fulfill(status=500, body="oops")
    page.expect_stored("spam.txt")
    expect(page.row("spam.txt")).to_contain_text("7 bytes · Uploaded")
    expect(page.row("spam.txt")).not_to_contain_text("could not be removed")


def test_refused__before_anything_is_sent(visitor):
    """Too large, of the wrong type, too many: each says the limit."""
    page = visitor.open("limited/")
    sent = []
    page.page.on("request", lambda request: sent.append(request.method))
    page.attach(
        ("big.png", b"x" * (MIB + 1), "image/png"),
        ("fits.png", zlib.compress(b"x"), "image/png"),
        ("film.mp4", b"x", "video/mp4"),
        ("1.txt", b"1"),
        ("2.txt", b"2"),
        ("3.txt", b"3"),
    )
    expect(page.row("big.png")).to_contain_text("The file is larger than 1 MB.")
    expect(page.row("film.mp4")).to_contain_text(
        "Files of this type are not accepted. Accepted: images, TXT, PDF."
    )
    expect(page.row("3.txt")).to_contain_text("There can be 3 files at most.")
    assert ("refused", "3.txt") in page.heard()
    assert ("failed", "3.txt") not in page.heard()
    expect(page.row("2.txt")).to_contain_text("Uploaded")
    assert sent.count("PUT") == 3
    page.expect_said("big.png: The file is larger than 1 MB.")
    page.button("Dismiss big.png").click()
    expect(page.row("big.png")).to_have_count(0)
    # A file that is there already is replaced, also where it is full.
    page.attach(("1.txt", b"new"))
    expect(page.row("1.txt")).to_contain_text("3 bytes · Uploaded")


def test_refused__names_of_which_nothing_is_left(visitor):
    """Each of them, by a name of its own."""
    page = visitor.open()
    page.page.evaluate(
        """() => document.querySelector("session-attachments").add(
            ["\\u200e", "\\u200f"].map((name) => new File(["x"], name)))"""
    )
    expect(page.rows).to_have_count(2)
    for row in page.rows.all():
        expect(row).to_contain_text("The file has no usable name.")


def test_refused__by_the_server(visitor):
    """In its own words: the content is not what the name says."""
    visitor.tolerate("422")
    visitor.tolerate("400")
    page = visitor.open()
    name = "n" * 252 + ".txt"
    page.attach((name, b"spam"))
    row = page.row(name)
    expect(row).to_contain_text("at most 255 bytes long")
    page.expect_said("at most 255 bytes long")
    assert page.heard()[-1] == ("failed", name)
    expect(page.button(f"Retry {name}")).to_have_count(0)


def test_refused__by_the_page(visitor):
    """A page may have rules of its own."""
    page = visitor.open()
    page.page.evaluate(
        """() => document.addEventListener("attachment-added", (event) => {
            if (event.detail.name.startsWith("no")) event.preventDefault();
        })"""
    )
    page.attach(("no.txt", b"no"), ("yes.txt", b"yes"))
    page.expect_stored("yes.txt")


def test_cancel__while_it_is_uploaded(visitor):
    page = visitor.open()
    with page.network(rate=100_000):
        page.attach(("slow.bin", os.urandom(2 * MIB)))
        expect(page.row("slow.bin").get_by_role("progressbar")).to_be_visible()
        page.button("Cancel slow.bin").click()
        expect(page.rows).to_have_count(0)
    page.expect_said("slow.bin has been cancelled")
    assert page.heard()[-1] == ("cancelled", "slow.bin")
    page.attach(("next.txt", b"next"))
    page.expect_stored("next.txt")


def test_cancel__after_the_last_byte(visitor):
    """The server stores it all the same: then it is removed."""
    page = visitor.open()
    hold = []

    def late(route):
        if route.request.method == "PUT":
            hold.append((route, route.fetch()))
        else:
            route.continue_()

    page.page.route("**/attachments/**", late)
    page.attach(("spam.txt", b"spam"))
    wait_until(lambda: hold or page.page.wait_for_timeout(50))
    page.button("Cancel spam.txt").click()
    expect(page.rows).to_have_count(0)
    page.page.wait_for_timeout(1500)
    page.expect_stored()
    bundle = page.element.get_attribute("url")
    wait_until(
        lambda: visitor.context.request.get(visitor.site.url + bundle[1:]).json() == []
    )


def test_cancel__of_a_replacement_after_the_last_byte(visitor):
    """The old file is gone: what is there now is said, and can be removed."""
    page = visitor.open()
    page.attach(("spam.txt", b"old"))
    page.expect_stored("spam.txt")
    upload = Held(page.page, "PUT")
    page.attach(("spam.txt", b"brand new"))
    assert upload.take().fetch().status == 200
    page.button("Cancel spam.txt").click()
    page.expect_said("spam.txt has been replaced")
    expect(page.row("spam.txt")).to_contain_text("9 bytes · Uploaded")
    assert page.heard()[-1] == ("stored", "spam.txt")
    page.element.evaluate("element => element.refresh()")
    expect(page.live.get_by_text("spam.txt has been replaced")).to_have_count(1)


def test_remove__with_the_keyboard(visitor):
    """The focus goes on to the next line's button, after the last one to Add."""
    page = visitor.open()
    page.attach(*((f"{number}.txt", b"x") for number in range(3)))
    page.expect_stored("0.txt", "1.txt", "2.txt")
    page.button("Remove 1.txt").focus()
    page.page.keyboard.press("Enter")
    page.expect_stored("0.txt", "2.txt")
    expect(page.button("Remove 2.txt")).to_be_focused()
    page.expect_said("1.txt has been removed")
    page.page.keyboard.press("Space")
    page.expect_stored("0.txt")
    expect(page.add).to_be_focused()
    assert page.heard()[-2:] == [("removing", "2.txt"), ("removed", "2.txt")]


def test_remove__gone_already(visitor):
    page = visitor.open("shared/")
    visitor.tolerate("404")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    bundle = visitor.site.url + "attachments/shared/"
    page.page.evaluate(
        """async (url) => {
            const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
            await fetch(url, {method: "DELETE", headers: {"X-CSRFToken": token}});
        }""",
        bundle,
    )
    page.button("Remove spam.txt").click()
    page.expect_stored()


def test_remove__the_page_asks_first(visitor):
    page = visitor.open()
    page.page.evaluate(
        """() => document.addEventListener(
            "attachment-removing", (event) => event.preventDefault())"""
    )
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    page.button("Remove spam.txt").click()
    page.page.wait_for_timeout(300)
    page.expect_stored("spam.txt")


def test_single__a_new_file_replaces_the_old_one(visitor):
    page = visitor.open("single/")
    expect(page.button("Add a folder")).to_have_count(0)
    page.attach(("old.txt", b"old"))
    page.expect_stored("old.txt")
    with page.network(rate=200_000):
        page.attach(("new.bin", os.urandom(MIB // 2)))
        expect(page.row("new.bin").get_by_role("progressbar")).to_be_visible()
        expect(page.row("old.txt")).to_be_visible()
        page.expect_stored("new.bin")
    page.submit()
    page.expect_sent("new.bin")


def test_single__a_failed_one_leaves_the_old_one(visitor):
    page = visitor.open("single/")
    page.attach(("old.txt", b"old"))
    page.expect_stored("old.txt")
    page.attach(("big.txt", b"x" * (5 * MIB + 1)))
    expect(page.row("big.txt")).to_contain_text("The file is larger than 5 MB.")
    expect(page.row("old.txt")).to_contain_text("Uploaded")


def test_single__several_are_dropped(visitor, tmp_path):
    page = visitor.open("single/")
    for name in ("spam.txt", "egg.txt"):
        (tmp_path / name).write_text(name)
    page.drop(tmp_path / "spam.txt", tmp_path / "egg.txt")
    expect(page.row("spam.txt")).to_contain_text("Uploaded")
    expect(page.row("egg.txt")).to_contain_text("There can be only one file.")


def test_api__files_and_methods(visitor):
    page = visitor.open()
    seen = page.page.evaluate(
        """async () => {
            const element = document.querySelector("session-attachments");
            element.add([new File(["spam"], "spam.txt"), new File(["egg"], "egg.txt")]);
            const before = [element.busy, element.files.map((file) => file.state)];
            await element.settled();
            const { name, size, state, progress, url, error } = element.files[0];
            await element.removeFile("egg.txt");
            return [
                before, { name, size, state, progress, error }, url.startsWith("/"),
                element.busy, element.failed, element.files.length, element.name,
                element.type, element.form === document.forms[0],
            ];
        }"""
    )
    assert seen == [
        [True, ["waiting", "waiting"]],
        {
            "name": "spam.txt",
            "size": 4,
            "state": "stored",
            "progress": 1,
            "error": None,
        },
        True,
        False,
        False,
        1,
        "attachments",
        "session-attachments",
        True,
    ]


def test_api__files_for_an_element_that_has_not_started(visitor):
    page = visitor.open("shared/")
    page.page.evaluate(
        """() => {
            const element = document.createElement("session-attachments");
            element.add([new File(["spam"], "spam.txt")]);
            element.setAttribute("multiple", "");
            element.setAttribute("url", "/attachments/another/");
            document.querySelector("session-attachments").replaceWith(element);
        }"""
    )
    page.expect_stored("spam.txt")


def test_api__another_url(visitor):
    """A list that was asked for before is not this bundle's."""
    page = visitor.open("shared/")
    page.attach(("spam.txt", b"spam"))
    page.expect_stored("spam.txt")
    lists = Held(page.page, "GET", "**/attachments/shared/")
    page.element.evaluate("element => void element.refresh()")
    late = lists.take()
    page.element.evaluate(
        "element => element.setAttribute('url', '/attachments/another/')"
    )
    page.element.evaluate("element => element.refresh()")
    with page.page.expect_response("**/attachments/shared/"):
        late.continue_()
    page.element.evaluate("element => element.refresh()")
    expect(page.rows).to_have_count(0)


def test_module__leaves_no_globals(visitor):
    page = visitor.open()
    names = """() => {
        const frame = document.createElement("iframe");
        document.body.append(frame);
        const clean = new Set(Object.getOwnPropertyNames(frame.contentWindow));
        const test = ["violated", "heard"];
        return Object.getOwnPropertyNames(window).filter(
            (name) => !clean.has(name) && !/^\\d+$/.test(name) && !test.includes(name)
                && !name.startsWith("__p"));
    }"""
    assert page.page.evaluate(names) == []
