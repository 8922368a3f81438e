"""docs/widget.md: its examples run, its tables are complete."""

import os
import re

import pytest
from playwright.sync_api import expect

from ..browsing import wait_until
from ..pictures import MODULES
from .conftest import ROOT
from .examples import DOCUMENTATION, EXAMPLES

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("widget")]

MIB = 2**20


@pytest.fixture(params=["htmx2", "htmx4"])
def htmx(request):
    if not (MODULES / request.param).exists():
        pytest.skip("there is no htmx: npm install in tests/js")
    return request.param.removeprefix("htmx")


def test_by_hand(visitor):
    page = visitor.open("examples/by-hand.html/")
    page.attach(("spam.txt", b"spam"), ("a.pdf", b"%PDF-1.4", "application/pdf"))
    expect(page.row("a.pdf")).to_contain_text("Uploaded")
    expect(page.row("spam.txt")).to_contain_text("Accepted: images, PDF.")
    page.page.reload()
    page.expect_stored("a.pdf")


def test_htmx__with_the_element(visitor, htmx):
    page = visitor.open(f"examples/htmx-element.html/?htmx={htmx}")
    page.page.get_by_label("Subject").fill("By htmx")
    with page.network(rate=300_000):
        page.attach(("slow.bin", os.urandom(MIB // 4)))
        page.submit()
        expect(page.notice).to_be_visible()
        expect(page.page.locator("#answer")).to_have_text(f"slow.bin: {MIB // 4}")


def test_htmx__with_the_element__one_mail_after_the_other(visitor, htmx):
    """The second one has a bundle of its own, and nothing of the first."""
    page = visitor.open(f"examples/htmx-element.html/?htmx={htmx}")
    answer = page.page.locator("#answer")
    for name in ("one.txt", "two.txt"):
        page.page.get_by_label("Subject").fill("By htmx")
        page.attach((name, b"spam"))
        page.expect_stored(name)
        page.submit()
        expect(answer).to_have_text(f"{name}: 4")
        page.expect_stored()


def test_htmx__with_an_input(visitor, htmx, too_large):
    page = visitor.open(f"examples/htmx-input.html/?htmx={htmx}").page
    files = page.get_by_label("Files")
    files.set_input_files(
        {"name": "spam.txt", "mimeType": "text/plain", "buffer": b"spam"}
    )
    expect(page.get_by_role("listitem")).to_have_text("spam.txt (4\xa0bytes)")
    files.set_input_files(too_large)
    expect(page.get_by_role("alert")).to_contain_text("larger than 20.0\xa0MB")


def test_fetch(visitor):
    visitor.tolerate("400")
    page = visitor.open("empty/").page
    seen = page.evaluate(
        """async () => {
            const { upload, list, remove } = await import("/examples/fetch.js");
            const item = await upload(new File(["spam"], "spam & egg.txt"));
            await upload(new File(["egg"], "egg.txt"));
            const names = (await list()).map(({ name }) => name);
            await remove(item);
            const long = new File(["x"], "n".repeat(256));
            const error = await upload(long).catch(({ message }) => message);
            return [item.size, names, (await list()).length, error];
        }"""
    )
    assert seen[:3] == [4, ["egg.txt", "spam & egg.txt"], 1]
    assert "at most 255 bytes" in seen[3]


def test_queue(visitor):
    page = visitor.open("empty/").page
    lines = []
    page.on("console", lambda message: lines.append(message.text))
    page.evaluate(
        """async () => {
            const { start } = await import("/examples/queue.js");
            await start([new File(["spam"], "spam.txt")]);
        }"""
    )
    wait_until(
        lambda: (
            page.wait_for_timeout(50) or any("spam.txt stored 1" in x for x in lines)
        )
    )


SCRIPT = (
    ROOT / "session_attachments/static/session_attachments/attachments.js"
).read_text()


def table(heading):
    """The code words in the first column of the table with that heading."""
    text = DOCUMENTATION.read_text()
    rows = re.search(rf"^\| {heading} \|.*?(?=\n\n)", text, re.DOTALL | re.MULTILINE)
    cells = [row.split("|")[1] for row in rows.group().splitlines()[2:]]
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_table__of_custom_properties():
    used = re.findall(r"var\((--attachments-\w+)", SCRIPT)
    assert sorted(table("Custom property")) == sorted(set(used))


def test_table__of_parts():
    used = re.findall(r'part: "([^"]+)"', SCRIPT)
    used = {part for parts in used for part in parts.split()} | {"file"}
    documented = set(table("Part")) | {"retry", "end"}
    assert documented == used


def test_table__of_events():
    single = [*re.findall(r'#emit\(\s*(?:.*\? )?"(\w+)"', SCRIPT), "failed"]
    plural = {"waiting", "undecided"}
    names = {f"attachment{'s' if name in plural else ''}-{name}" for name in single} | {
        "change"
    }
    assert set(table("Event")) == names


def test_table__of_attributes():
    read = set(re.findall(r'[aA]ttribute\("([a-z-]+)"\)', SCRIPT))
    read |= set(re.findall(r'number\("([a-z-]+)"\)', SCRIPT))
    read -= {"href", "value", "aria-describedby", "aria-invalid", "id", "part"}
    assert set(table("Attribute")) - {"disabled"} == read - {"disabled"}


def test_table__of_methods(visitor):
    page = visitor.open("several/")
    names = [re.match(r"\w+", name).group() for name in table("On the element")]
    missing = """names => names.filter(
        (name) => !(name in customElements.get("session-attachments").prototype))"""
    assert page.page.evaluate(missing, names) == []


def test_examples__are_all_run():
    """By a test, by the site, or by another example."""
    here = ROOT / "tests/browser/widget"
    run = "".join(
        (here / name).read_text() for name in ("test_examples.py", "pages.py")
    )
    run += EXAMPLES["htmx_files.py"]
    assert [name for name in EXAMPLES if name not in run] == []
