import inspect
from pathlib import Path

import pytest

from session_attachments.models import Attachment
from tests.rows import DAY, HOUR, exists, make

pytestmark = [
    pytest.mark.django_from(6, 0),
    pytest.mark.django_db(transaction=True),
]

EXAMPLE = """
from session_attachments.background_tasks import remove_outdated_attachments

remove_outdated_attachments.enqueue()
"""


@pytest.fixture
def task():
    from session_attachments.background_tasks import remove_outdated_attachments

    return remove_outdated_attachments


def names():
    return sorted(Attachment.objects.values_list("name", flat=True))


def test_task__removes_what_is_outdated_and_says_so(task):
    """Django's default backend runs a task at once."""
    old = make("old", age=3 * DAY)
    make("new", age=DAY)
    result = task.enqueue()
    assert result.status.name == "SUCCESSFUL"
    assert result.return_value == {
        "expired": 1,
        "abandoned": 0,
        "removed": 1,
        "failed": 0,
        "size": 5,
    }
    assert names() == ["new"]
    assert not exists(old)


@pytest.mark.parametrize("older_than", [0.5, "12h"])
def test_task__takes_what_the_command_takes(task, older_than):
    make("old", age=13 * HOUR)
    make("new", age=11 * HOUR)
    assert task.enqueue(older_than).status.name == "SUCCESSFUL"
    assert names() == ["new"]


@pytest.mark.parametrize("older_than", [-1, "spam"])
def test_task__refuses_what_is_no_duration(task, older_than):
    make(age=9 * DAY)
    result = task.enqueue(older_than=older_than)
    assert result.status.name == "FAILED"
    assert result.errors[0].exception_class is ValueError
    assert names() == ["spam.txt"]


def test_example__of_the_documentation_and_of_the_module_runs(task):
    from session_attachments import background_tasks

    documentation = Path(__file__).parent.parent / "docs" / "expiry.md"
    assert EXAMPLE in documentation.read_text("utf-8")
    assert EXAMPLE.strip() in inspect.getdoc(background_tasks)
    make(age=9 * DAY)
    exec(EXAMPLE, {})
    assert names() == []
