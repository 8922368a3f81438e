import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.core.management.base import CommandParser
from django.utils import timezone

from session_attachments import storage, sweep
from session_attachments.management.commands.remove_outdated_attachments import (
    Command,
)
from session_attachments.models import Attachment, State
from tests import commands
from tests.rows import DAY, HOUR, MINUTE, exists, make, obstacle, unremovable, unsaved

COMMAND = "remove_outdated_attachments"
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments, **options):
    """What the command prints."""
    out = io.StringIO()
    call_command(COMMAND, *arguments, stdout=out, **options)
    return out.getvalue()


def names():
    """Of the files that are left, by their rows."""
    return sorted(Attachment.objects.values_list("name", flat=True))


# -- which files


@pytest.mark.parametrize(
    ("older_than", "limit"),
    [
        ("2", 2 * DAY),
        ("2d", 2 * DAY),
        ("1.5d", 36 * HOUR),
        ("12h", 12 * HOUR),
        ("0.5h", 30 * MINUTE),
        ("30m", 30 * MINUTE),
        ("45s", 45 * SECOND),
        (2, 2 * DAY),
        (0.5, 12 * HOUR),
    ],
)
@pytest.mark.parametrize("how", ["argument", "option"])
def test_older_than__is_the_limit(older_than, limit, how):
    old = make("old", age=limit + 10 * SECOND)
    new = make("new", age=limit - 10 * SECOND)
    if how == "argument":
        run(f"--older-than={older_than}")
    else:
        run(older_than=older_than)
    assert names() == ["new"]
    assert (exists(old), exists(new)) == (False, True)


@pytest.mark.parametrize("zero", ["0", "0h", 0, 0.0])
def test_older_than__zero_is_everything(zero):
    make("new", age=SECOND)
    run(older_than=zero)
    assert names() == []


@pytest.mark.parametrize("days", [2, 0.5])
def test_older_than__left_out_is_the_setting(settings, days):
    settings.SESSION_ATTACHMENTS_LIFETIME = days
    make("old", age=days * DAY + MINUTE)
    make("new", age=days * DAY - MINUTE)
    run()
    assert names() == ["new"]


@pytest.mark.parametrize("wrong", ["-1", "-1h", "spam", "", "1w", "nan", "99999999"])
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_older_than__refused(wrong, dry_run):
    make(age=9 * DAY)
    with pytest.raises(CommandError, match=r"--older-than: .* is (not|too)"):
        run(f"--older-than={wrong}", *dry_run)
    assert names() == ["spam.txt"]


@pytest.mark.parametrize("wrong", [-1, -0.5, float("nan"), True, [], timedelta(-1)])
def test_older_than__refused_from_code(wrong):
    make(age=9 * DAY)
    with pytest.raises(CommandError, match="is not a duration"):
        run(older_than=wrong)
    assert names() == ["spam.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--older-than=spam"], "'spam' is not a duration. Write a number of days"),
        (["--older-than", "-1"], "'-1' is not a duration"),
        (["--older-than"], "expected one argument"),
    ],
)
def test_older_than__refused_on_the_command_line(arguments, message):
    make(age=9 * DAY)
    done = commands.manage(COMMAND, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert names() == ["spam.txt"]


def test_sweep__leaves_what_is_alive_and_what_is_claimed():
    kept = [
        make("stored", age=DAY),
        make("claimed", State.CLAIMED, age=9 * DAY),
        make("uploading", State.UPLOADING, age=14 * MINUTE),
        make("replaced", State.DOOMED, created=timezone.now(), age=20 * SECOND),
    ]
    run()
    assert names() == sorted(row.name for row in kept)
    assert all(map(exists, kept))


def test_sweep__removes_what_expired_lapsed_or_was_doomed():
    gone = [
        make("expired", age=3 * DAY),
        make("lapsed", State.UPLOADING, age=9 * DAY),
        make("doomed", State.DOOMED, age=9 * DAY),
        make("replaced", State.DOOMED, created=timezone.now(), age=40 * SECOND),
    ]
    assert run() == (
        "Removed 4 files, 20\N{NO-BREAK SPACE}bytes. Expired: 1. Uploads given up: 1.\n"
    )
    assert not any(map(exists, gone))
    # The writer of "lapsed" may not have noticed yet: its row waits.
    assert names() == ["lapsed"]
    Attachment.objects.update(modified=timezone.now() - 2 * DAY)
    run()
    assert names() == []


def test_sweep__removes_strays():
    row = make(age=DAY)
    disk = storages[storage.alias()]
    stray = disk.save(storage.new_key(joined=True), ContentFile(b"spam\n"))
    spool = storage.spool_path(stray)
    spool.write_bytes(b"spam\n")
    recent = disk.save(storage.new_key(joined=True), ContentFile(b"spam\n"))
    long_ago = (timezone.now() - 2 * DAY).timestamp()
    for path in (disk.path(stray), spool):
        os.utime(path, (long_ago, long_ago))
    assert run().startswith("Removed 2 files")
    assert not disk.exists(stray)
    assert not spool.exists()
    assert disk.exists(recent)
    assert exists(row)


# -- what it says


def test_output__of_nothing():
    assert run() == (
        "Removed 0 files, 0\N{NO-BREAK SPACE}bytes. Expired: 0. Uploads given up: 0.\n"
    )


def test_output__of_one():
    make(age=9 * DAY, data=b"x" * 2048)
    assert run().startswith("Removed 1 file, 2.0\N{NO-BREAK SPACE}KB. Expired: 1.")


def test_dry_run__removes_nothing_and_says_how_many():
    rows = [
        make("expired", age=3 * DAY),
        make("lapsed", State.UPLOADING, age=HOUR),
        make("doomed", State.DOOMED, age=HOUR),
        make("new", age=HOUR),
    ]
    before = list(Attachment.objects.order_by("pk").values())
    assert run("--dry-run") == "Would remove 3 files.\n"
    assert run("--dry-run", "--older-than=0") == "Would remove 4 files.\n"
    assert list(Attachment.objects.order_by("pk").values()) == before
    assert all(map(exists, rows))


def test_dry_run__does_not_count_what_has_no_file():
    """A row that waits for a writer, who must be dead by then, is not a file."""
    make("lapsed", State.UPLOADING, age=HOUR)
    run()
    assert names() == ["lapsed"]
    assert run("--dry-run", "--verbose") == "Would remove 0 files.\n"


@pytest.mark.parametrize("options", [{"verbose": True}, {"verbosity": 2}])
@pytest.mark.parametrize("dry_run", [True, False])
def test_verbose__names_every_file(options, dry_run):
    make("spam.txt", age=9 * DAY)
    make("\N{SNOWMAN}.txt", State.DOOMED, bundle_id="bar", age=9 * DAY)
    make("new.txt")
    lines = run(dry_run=dry_run, **options).splitlines()
    assert sorted(lines[:-1]) == [
        "bar/\N{SNOWMAN}.txt (to be removed)",
        "foo/spam.txt (stored)",
    ]
    assert "2 files" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "named", "summed_up"),
    [
        (["--verbosity=0"], False, False),
        (["--verbosity=1"], False, True),
        (["--verbosity=2"], True, True),
        (["--verbosity=3"], True, True),
        (["--verbose"], True, True),
        (["-v2"], True, True),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_verbosity__says_so_much(arguments, named, summed_up, dry_run):
    make(age=9 * DAY)
    text = run(*arguments, *dry_run)
    assert ("foo/spam.txt" in text) == named
    assert ("1 file" in text) == summed_up
    assert bool(text) == summed_up


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_verbosity__zero_is_silence(dry_run):
    """Of the site's checks, too, which cron would mail every time."""
    make(age=9 * DAY)
    done = commands.manage(COMMAND, "--verbosity=0", *dry_run)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check__that_fails_does_not_stop_it():
    row = make(age=9 * DAY)
    done = commands.manage(COMMAND, STATIC_URL="no slash", FORMAT_MODULE_PATH=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert not exists(row)


def test_options__are_documented():
    text = Path(__file__).parent.parent.joinpath("docs", "expiry.md").read_text("utf-8")
    documented = re.findall(r"^\| `(--[\w-]+)", text, re.MULTILINE)
    parser = CommandParser(add_help=False)
    Command().add_arguments(parser)
    assert documented == [action.option_strings[0] for action in parser._actions]


# -- the progress bar


def on_a_terminal(*arguments):
    """What the command shows on a terminal."""
    controller, terminal = os.openpty()
    rows_and_columns = struct.pack("HHHH", 24, 80, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, rows_and_columns)
    with (
        open(controller, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-m", "django", COMMAND, *arguments],
            env=commands.environment(),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        ) as process,
    ):
        os.close(terminal)
        shown = b""
        try:
            while data := screen.read(4096):
                shown += data
        except OSError:  # Linux's way to say that the other end was closed
            pass
    assert process.returncode == 0, shown
    return shown.decode()


def test_progress__on_a_terminal():
    make(age=9 * DAY)
    shown = on_a_terminal()
    assert re.search(r"0%\|\s+\| 0/1 ", shown)
    assert "Removed 1 file" in shown
    # The bar is wiped before the last word.
    assert re.search(r"\r +\rRemoved", shown)


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--verbosity=0"]])
def test_progress__only_of_what_is_done_and_told(arguments):
    make(age=9 * DAY)
    assert "%|" not in on_a_terminal(*arguments)


def test_progress__not_elsewhere():
    make(age=9 * DAY)
    done = commands.manage(COMMAND)
    assert done.stdout.startswith("Removed 1 file")
    assert done.stderr == ""


def test_progress__not_for_code_that_runs_on_a_terminal(monkeypatch, capsys):
    make(age=9 * DAY)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run().startswith("Removed 1 file")
    assert capsys.readouterr().err == ""


# -- trouble


def test_failure__does_not_stop_it(caplog):
    stuck = unremovable(age=9 * DAY)
    others = [make(f"{n}.txt", age=9 * DAY) for n in range(3)]
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 file could not be removed: the log"):
        call_command(COMMAND, stdout=out)
    assert "Removed 3 files" in out.getvalue()
    assert not any(map(exists, others))
    assert "could not be removed" in caplog.text
    assert names() == ["stuck.txt"]
    stuck.refresh_from_db()
    assert stuck.state == State.DOOMED


def test_failure__is_tried_again():
    stuck = unremovable(age=9 * DAY)
    with pytest.raises(CommandError):
        run()
    storages[stuck.storage].delete(obstacle(stuck))
    Attachment.objects.update(modified=timezone.now() - MINUTE)  # past the grace
    assert run().startswith("Removed 1 file")
    assert names() == []


def test_failure__of_several_batches(monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    for n in range(6):
        make(f"{n}.txt", age=9 * DAY)
        unremovable(f"stuck{n}.txt", age=9 * DAY)
    with pytest.raises(CommandError, match="6 files could not be removed"):
        run(verbosity=0)
    assert names() == [f"stuck{n}.txt" for n in range(6)]


def test_failure__is_the_exit_code():
    unremovable(age=9 * DAY)
    make(age=9 * DAY)
    done = commands.manage(COMMAND)
    assert done.returncode == 1
    assert done.stdout.startswith("Removed 1 file,")
    assert "CommandError: 1 file could not be removed" in done.stderr
    assert "Directory not empty" in done.stderr  # from the log
    assert "Traceback" in done.stderr  # of the log, above the last line
    assert done.stderr.splitlines()[-1].startswith("CommandError")


def test_settings__wrong_ones_are_named():
    row = make(age=9 * DAY)
    done = commands.manage(COMMAND, SESSION_ATTACHMENTS_LIFETIME="2")
    assert done.returncode != 0
    assert "SESSION_ATTACHMENTS_LIFETIME is '2'; write: days" in done.stderr
    assert exists(row)


# -- many files, many machines


def peak_of_sweeping(count):
    """Bytes that Python held at most, while so many expired."""
    rows = (unsaved(f"{n}.txt", age=9 * DAY) for n in range(count))
    Attachment.objects.bulk_create(rows, batch_size=100)
    tracemalloc.start()
    try:
        run(verbosity=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert names() == []


def test_memory__does_not_grow_with_the_table(monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 100)
    peak_of_sweeping(10)  # what is loaded once
    few, many = peak_of_sweeping(200), peak_of_sweeping(2000)
    # One batch or two, as it happens; all of them would be ten times as much.
    assert many < 4 * few


def test_another_run__at_the_same_time():
    rows = [make(f"{n}.txt", age=9 * DAY) for n in range(200)]
    rows += [make(f"d{n}.txt", State.DOOMED, age=9 * DAY) for n in range(100)]
    processes = [commands.start("django", COMMAND) for _ in range(3)]
    expired = 0
    for process in processes:
        with process:
            out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        expired += int(re.search(r"Expired: (\d+)", out)[1])
    assert expired == 200
    assert names() == []
    assert not any(map(exists, rows))


LOCAL_TIME = """
from tests.rows import DAY, HOUR, MINUTE, make
for name, age in ("new", MINUTE), ("older", 12 * HOUR), ("oldest", 2 * DAY):
    make(name, age=age)
"""


def test_time_zone__may_be_none():
    """With USE_TZ = False the database holds local time without an offset."""

    def manage(*arguments):
        done = commands.manage(*arguments, USE_TZ=False, TIME_ZONE="Asia/Tokyo")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    manage("shell", "--no-imports", "-c", LOCAL_TIME)
    for older_than, count in (("13h", 1), ("11h", 1), ("1h", 0), ("0", 1)):
        assert f"Expired: {count}." in manage(COMMAND, "--older-than", older_than)
    assert names() == []
