import inspect
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery.schedules import maybe_schedule

from session_attachments import tasks
from session_attachments.models import Attachment, State
from session_attachments.tasks import remove_outdated_attachments
from tests import commands
from tests.celery import app
from tests.rows import DAY, HOUR, exists, make, unremovable

SECONDS_TO_WAIT = 60

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "expiry.md"

pytestmark = pytest.mark.django_db(transaction=True)


def names():
    return sorted(Attachment.objects.values_list("name", flat=True))


# -- the task


def test_task__removes_what_is_outdated_and_says_so():
    gone = make("expired", age=3 * DAY, data=b"x" * 10)
    make("new", age=DAY)
    make("lapsed", State.UPLOADING, age=HOUR)
    unremovable("stuck", age=3 * DAY)
    assert remove_outdated_attachments.apply().get() == {
        "expired": 2,
        "abandoned": 1,
        "removed": 2,
        "failed": 1,
        "size": 15,
    }
    assert not exists(gone)
    assert names() == ["lapsed", "new", "stuck"]


@pytest.mark.parametrize("older_than", [0.5, "0.5", "12h", "720m"])
def test_task__takes_what_the_command_takes(older_than):
    make("old", age=13 * HOUR)
    make("new", age=11 * HOUR)
    remove_outdated_attachments.apply(kwargs={"older_than": older_than}).get()
    assert names() == ["new"]


def test_task__zero_is_everything():
    make("new", age=HOUR)
    remove_outdated_attachments.apply([0]).get()
    assert names() == []


@pytest.mark.parametrize("older_than", [-1, "spam", float("nan"), 10**6])
def test_task__refuses_what_is_no_duration(older_than):
    make(age=9 * DAY)
    with pytest.raises(ValueError, match=r"is (not a duration|too long)"):
        remove_outdated_attachments.apply([older_than]).get()
    assert names() == ["spam.txt"]


DISCOVER = """
import sys
sys.modules["celery"] = None  # Nobody can import it.
import django
django.setup()
from django.utils.module_loading import autodiscover_modules
autodiscover_modules("tasks")
print(vars(sys.modules["session_attachments.tasks"]).get("remove_outdated_attachments"))
"""


def test_tasks__can_be_discovered_without_celery():
    """As Huey, dramatiq and others do it, for tasks of their own."""
    done = subprocess.run(
        [sys.executable, "-c", DISCOVER],
        cwd=DOCUMENTATION.parent.parent,
        env=commands.environment(),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("None\n", "")


# -- beat


def documented_schedule():
    """What the documentation tells a site to write."""
    [example] = re.findall(
        r"^```python\n(CELERY_BEAT_SCHEDULE.*?)^```",
        DOCUMENTATION.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return evaluate(example)


def evaluate(example):
    names = {}
    exec(example, names)
    return names["CELERY_BEAT_SCHEDULE"]


def test_schedule__names_a_task_that_a_worker_finds():
    app.loader.import_default_modules()
    [entry] = documented_schedule().values()
    assert app.tasks[entry["task"]].name == remove_outdated_attachments.name
    assert maybe_schedule(entry["schedule"]).is_due(app.now())


def test_schedule__is_the_same_in_the_module():
    _title, example = inspect.getdoc(tasks).split("\n\n")
    assert evaluate(example) == documented_schedule()


# -- a worker


@contextmanager
def worker(broker, **replaced):
    """A real worker of the test project, with beat; it ends with the block."""
    # Beat's usual file is SQLite on Python 3.13, where a fork of the worker may fail
    # to lock it ("locking protocol"). This scheduler keeps its times in memory.
    scheduler = "celery.beat:Scheduler"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "--app=tests.celery", "worker"),
            *("--pool=solo", "--beat", f"--scheduler={scheduler}"),
            *("--without-gossip", "--without-mingle", "--loglevel=INFO"),
        ],
        cwd=DOCUMENTATION.parent.parent,
        env=commands.environment(CELERY_BROKER_URL=broker, **replaced),
        stdin=subprocess.DEVNULL,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until(happened, process):
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not happened():
        assert process.poll() is None, "the worker has died"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


def test_worker__expires_a_file_by_the_documented_schedule(redis_url):
    schedule = documented_schedule()
    for entry in schedule.values():
        entry["schedule"] = 1
    old = make("old", age=3 * DAY)
    new = make("new", age=DAY)
    with worker(redis_url, CELERY_BEAT_SCHEDULE=schedule) as process:
        wait_until(lambda: names() == ["new"], process)
        assert not exists(old)
        # Again and again, not once.
        later = make("later", age=3 * DAY)
        wait_until(lambda: names() == ["new"], process)
    assert process.returncode == 0
    assert not exists(later)
    assert exists(new)
