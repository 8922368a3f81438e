"""docs/forms.md shows code that the tests of the mailbox run."""

import inspect
import re
from pathlib import Path

import pytest
from django.conf import settings

from session_attachments import claims, exceptions, submissions, testing, workflow
from session_attachments.exceptions import (
    AccessRefused,
    BadName,
    Busy,
    ClaimConflict,
    Maintenance,
    StorageFailed,
)
from session_attachments.forms import UNUSABLE, AttachmentsField
from session_attachments.models import Attachment, AttachmentFile

TEXT = (settings.BASE_DIR / "docs" / "forms.md").read_text(encoding="utf-8")
MAILBOX = Path(__file__).parent / "mailbox"
SOURCES = {
    "python": [path.read_text(encoding="utf-8") for path in MAILBOX.glob("*.py")],
    "html": [path.read_text(encoding="utf-8") for path in MAILBOX.rglob("*.html")],
}
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def table(heading):
    """The first column of the table below a heading, as it is between backquotes."""
    _, _, rest = TEXT.partition(f"# {heading}\n")
    section = rest.partition("\n#")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_code__is_run_by_the_tests(language, code):
    # One module has all paragraphs, though it may have more between them.
    paragraphs = [f"\n{paragraph.rstrip()}\n" for paragraph in code.split("\n\n")]
    assert any(
        all(paragraph in f"\n{source}" for paragraph in paragraphs)
        for source in SOURCES[language]
    )


def test_code__is_found():
    assert len(BLOCKS) == TEXT.count("```") // 2 > 0


def test_options__are_those_of_the_field():
    own = inspect.signature(AttachmentsField).parameters.keys() - {"kwargs"}
    inherited = {"required", "validators", "error_messages"}
    assert set(table("Options")) == own | inherited


# Of the whole field, and worded by the exception.
REFUSALS = [
    AccessRefused(),
    Maintenance(),
    BadName(UNUSABLE),
    Busy(),
    ClaimConflict(),
    StorageFailed(),
]


def test_codes__are_those_of_the_field_and_of_what_refuses_it():
    codes = table("What a visitor reads")
    own = set(AttachmentsField().error_messages)
    assert len(codes) == len(set(codes))
    assert set(codes) == own | {refusal.code for refusal in REFUSALS}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_messages__are_those_of_what_refuses_the_field(refusal):
    assert f"| `{refusal.code}` | {refusal} " in TEXT


@pytest.mark.parametrize("function", [claims.claim, submissions.submit, workflow.admit])
def test_codes__name_what_the_field_asks_for(function):
    """Each of these says what it raises."""
    said = re.findall(r"`(\w+)`", inspect.getdoc(function))
    raised = {name for name in said if hasattr(exceptions, name)}
    assert raised
    assert raised <= {type(refusal).__name__ for refusal in REFUSALS}


@pytest.mark.parametrize("code", ["missing", "spent", "gone", "required"])
def test_messages__are_those_of_the_field(code):
    assert f"| `{code}` | {AttachmentsField().error_messages[code]} |" in TEXT


def test_helpers__have_their_parameters():
    for helper in table("Test your site"):
        name, _, parameters = helper.rstrip(")").partition("(")
        signature = inspect.signature(getattr(testing, name))
        assert parameters.split(", ") == list(signature.parameters)


def test_names__exist():
    assert callable(Attachment.claim_for)
    assert isinstance(AttachmentFile.temporary_file_path, property)
    for anchor in re.findall(r"\]\(#([\w-]+)\)", TEXT):
        headings = [
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
        ]
        assert anchor in headings
