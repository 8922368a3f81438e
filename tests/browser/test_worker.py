"""The demo's worker, whose queue is a folder."""

import time

import pytest

from .browsing import PATIENCE
from .conftest import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

# Everything is outdated at once, and removed each second.
HURRIED = """
from mailer.settings import *

SESSION_ATTACHMENTS_LIFETIME = 1e-9
SESSION_ATTACHMENTS_GRACE = 1e-9
for entry in CELERY_BEAT_SCHEDULE.values():
    entry["schedule"] = 1
"""


def test_worker__removes_what_nobody_sent(demo, visitor, tmp_path):
    mail = visitor.compose()
    mail.attach(("spam.txt", b"spam"))
    mail.expect_stored("spam.txt")

    def files():
        return [
            path for path in (demo.var / "attachments").rglob("*") if path.is_file()
        ]

    assert files()
    (tmp_path / "hurried.py").write_text(HURRIED)
    command = ("-m", "celery", "--app=mailer", "worker", "--beat", "--loglevel=INFO")
    settings = {
        "DJANGO_SETTINGS_MODULE": "hurried",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    with demo.running(*command, **settings):
        deadline = time.monotonic() + PATIENCE / 1000
        while files():
            assert time.monotonic() < deadline
            time.sleep(0.2)
    mail.page.reload()
    mail.expect_stored()
