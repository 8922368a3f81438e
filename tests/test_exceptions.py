"""What can be refused: codes, statuses, and the table that documents them."""

import json
import re
from http import HTTPStatus

import pytest
from django.conf import settings
from django.utils import translation

from session_attachments import exceptions, responses
from session_attachments.exceptions import AttachmentError, LimitError

ARGUMENTS = {
    exceptions.MethodNotAllowed: [["GET", "PUT"]],
    exceptions.RangeNotSatisfiable: [5],
}


def descendants(error):
    for child in error.__subclasses__():
        yield from descendants(child)
        if child is not LimitError and child.__module__ == exceptions.__name__:
            yield child


ERRORS = sorted(set(descendants(AttachmentError)), key=lambda error: error.__name__)


def make(error):
    default = [2 * 2**20] if issubclass(error, LimitError) else []
    return error(*ARGUMENTS.get(error, default))


def table(heading, columns):
    """The rows of the table below the heading, without the table's own head."""
    text = (settings.BASE_DIR / "docs/http.md").read_text(encoding="utf-8")
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    assert {len(row) for row in cells} == {columns}
    return cells[2:]


def test_documentation__has_each_code_once():
    documented = [
        (code.strip("`"), int(status)) for code, status, _ in table("## Errors", 3)
    ]
    raised = {(error.code, error.status.value) for error in ERRORS}
    assert sorted(documented) == sorted(raised)


def test_documentation__names_what_each_limit_is_called():
    for code, _, meaning in table("## Errors", 3):
        if code.strip("`") in {
            *(error.code for error in ERRORS if issubclass(error, LimitError)),
            "disk_full",
            "type_not_allowed",
        }:
            assert "`SESSION_ATTACHMENTS_" in meaning


def test_documentation__says_who_may_try_again():
    for code, _, meaning in table("## Errors", 3):
        hinted = any(e.retry_after for e in ERRORS if e.code == code.strip("`"))
        assert ("With `Retry-After`" in meaning) == hinted


@pytest.mark.parametrize("error", ERRORS)
def test_error__is_a_problem_document(error):
    response = responses.problem(make(error))
    body = json.loads(response.content)
    assert list(body)[:5] == ["type", "title", "status", "code", "detail"]
    assert list(body)[5:] == ["limit"] * issubclass(error, LimitError)
    assert body["type"] == "about:blank"
    assert body["title"] == HTTPStatus(body["status"]).phrase
    assert body["status"] == response.status_code == error.status
    assert 400 <= body["status"] < 600
    assert re.fullmatch(r"[a-z_]+", body["code"])
    assert body["detail"].endswith(".")
    assert "%" not in body["detail"]
    assert response["Content-Type"] == "application/problem+json"
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("error", ERRORS)
def test_error__retry_after(error):
    response = responses.problem(make(error))
    assert response.get("Retry-After") == (
        str(error.retry_after) if error.retry_after else None
    )
    assert (error.status == HTTPStatus.SERVICE_UNAVAILABLE) == bool(error.retry_after)


@pytest.mark.parametrize("error", ERRORS)
def test_error__reads_as_its_detail(error):
    refused = make(error)
    assert str(refused) == refused.detail
    assert refused.args == (refused.detail,)


def test_error__limit_in_its_unit():
    assert exceptions.TooLarge(2 * 2**20).detail == "The file is larger than 2.0\xa0MB."
    assert exceptions.BundleFull(3).detail == "There are more than 3 files."
    assert exceptions.BundleFull(3).limit == 3


def test_error__is_translated_when_it_is_raised(monkeypatch):
    with translation.override("de"):
        assert "2,0\xa0MB" in exceptions.TooLarge(2 * 2**20).detail


def test_not_found__is_a_key_error():
    with pytest.raises(KeyError):
        raise exceptions.NotFound
