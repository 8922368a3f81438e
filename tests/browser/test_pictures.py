"""The pictures of the documentation."""

import re

import pytest

from .pictures import DOCUMENTED, ROOT

PAGES = [ROOT / "README.md", ROOT / "demo" / "README.md", *ROOT.glob("docs/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures__are_there_and_small(page):
    for address in re.findall(r"!\[[^]]*\]\(([^)]+\.png)\)", page.read_text()):
        assert (page.parent / address).stat().st_size < 150_000, address


def test_pictures__are_all_shown():
    text = "".join(page.read_text() for page in PAGES)
    assert [path.name for path in DOCUMENTED.iterdir() if path.name not in text] == []
