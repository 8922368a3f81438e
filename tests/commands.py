"""Commands of the test project in processes of their own."""

import json
import os
import subprocess
import sys
from typing import Any

from django.conf import settings
from django.db import connection


def environment(**replaced: Any) -> dict[str, str]:
    """The variables by which a process shares the test's database and folders.

    `replaced` are settings, as far as JSON can hold them.
    """
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_ROOT": str(settings.TEST_ROOT),
        "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "TEST_SETTINGS": json.dumps(replaced),
    }


def start(*arguments: str, **replaced: Any) -> "subprocess.Popen[str]":
    """Run `python -m` with these arguments; its output can be read."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=settings.BASE_DIR,
        env=environment(**replaced),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def manage(*arguments: str, **replaced: Any) -> "subprocess.CompletedProcess[str]":
    """Run a management command until it ends."""
    with start("django", *arguments, **replaced) as process:
        out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
