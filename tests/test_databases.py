"""The attachments in a database of their own, which a router sends them to."""

import pytest

from session_attachments import storage
from tests import commands

WHERE = """
from django.test import Client
from session_attachments.models import Attachment
Client().put("/attachments/foo/a.txt", b"spam")
print(Attachment.objects.get().key.split("/")[0])
"""

VISIT = """
from django.test import Client
visitor = Client()
print(visitor.put("/attachments/foo/a.txt", b"spam").status_code)
print([item["name"] for item in visitor.get("/attachments/foo/").json()])
print(b"".join(visitor.get("/attachments/foo/a.txt").streaming_content))
"""

pytestmark = pytest.mark.once


@pytest.fixture
def run(tmp_path):
    """Run a management command of a site with two databases; what it prints."""

    def call(*arguments):
        databases = {
            name: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(tmp_path / name),
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
                "ATOMIC_REQUESTS": True,
            }
            for name in ("default", "files")
        }
        done = commands.manage(
            *arguments,
            DATABASES=databases,
            DATABASE_ROUTERS=["tests.routers.Files"],
            SILENCED_SYSTEM_CHECKS=["session_attachments.E014"],
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return call


def test_database__of_its_own(run):
    for name in ("default", "files"):
        run("migrate", f"--database={name}", "--verbosity=0")
    assert run("shell", "--no-imports", "--command", VISIT).splitlines() == [
        "201",
        "['a.txt']",
        "b'spam'",
    ]
    assert "Expired: 1." in run("remove_outdated_attachments", "--older-than=0")
    assert "Would remove 0 files" in run("remove_outdated_attachments", "--dry-run")


def test_database__of_its_own_is_written_to_without_the_requests_transaction(run):
    for name in ("default", "files"):
        run("migrate", f"--database={name}", "--verbosity=0")
    done = run("shell", "--no-imports", "--command", WHERE)
    assert done.strip() == storage.PREFIX


def test_database__of_its_own_can_be_left(run):
    run("migrate", "--database=files", "--verbosity=0")
    run("migrate", "session_attachments", "zero", "--database=files")
