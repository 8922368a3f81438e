"""What is measured. Each function is run by both sides, and timed from yield to yield.

What it does before the first is preparation, and what it does after the second is
cleaning up.
"""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.core.files.storage import storages
from django.utils import timezone

from session_attachments import storage, sweep
from session_attachments.models import Attachment, State

from .client import Client

KB, MB, GB = 2**10, 2**20, 2**30

BIG = 100 * MB
SMALL = 10 * KB
#: Requests that are timed together, where one takes too short a time.
MANY = 50
EXPIRED = 20_000

Work = Callable[[Client], Iterator[None]]


@dataclass(frozen=True)
class Case:
    """One line of the table: how fast each side does its work.

    `amount` is what is done in one repetition, `unit` that of the speed, `goal` our
    speed as a multiple of theirs, `least` the least number of repetitions.
    """

    title: str
    amount: float
    unit: str
    ours: Work
    theirs: Work
    goal: float | None = None
    least: int = 5


def upload_form(site: Client) -> Iterator[None]:
    yield
    site.post("file", BIG)
    yield
    site.clear()


def upload_raw(site: Client) -> Iterator[None]:
    yield
    site.put("file", BIG)
    yield
    site.clear()


def upload_small(site: Client) -> Iterator[None]:
    yield
    for number in range(MANY):
        site.post(f"file {number}", SMALL)
    yield
    site.clear()


def show_list(site: Client) -> Iterator[None]:
    for number in range(10):
        site.post(f"file {number}", SMALL)
    yield
    for _ in range(MANY):
        site.list()
    yield
    site.clear()


def download(site: Client) -> Iterator[None]:
    site.put("file", BIG)
    yield
    site.get("file")
    yield
    site.clear()


def expire(site: Client) -> Iterator[None]:
    """What the management command does."""
    _store_many()
    yield
    report = sweep.remove_outdated(lifetime=timedelta(0))
    yield
    assert report.removed == EXPIRED
    _remove_folders()


def remove_at_once(site: Client) -> Iterator[None]:
    """What cannot be beaten by much: one `rm -rf` and one DELETE."""
    _store_many()
    yield
    _remove_folders()
    Attachment.objects.filter(created__lt=timezone.now())._raw_delete("default")
    yield


def _store_many() -> None:
    now = timezone.now()
    rows = [
        Attachment(
            state=State.STORED,
            session_key=f"{number // 10:064}",
            bundle_id="b",
            bundle_digest=f"{number // 10:064}",
            name_digest=f"{number:064}",
            name=f"file {number}",
            storage=storage.alias(),
            key=storage.new_key(joined=False),
            size=1,
            reserved=4096,
            mimetype="text/plain",
            created=now,
            modified=now,
        )
        for number in range(EXPIRED)
    ]
    Attachment.objects.bulk_create(rows, batch_size=10_000)
    for row in rows:
        path = Path(storages[row.storage].path(row.key))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _remove_folders() -> None:
    folder = storages[storage.alias()].path(storage.PREFIX)
    subprocess.run(["rm", "-rf", folder], check=True)


CASES = [
    Case("form, 100 MB", 100, "MB/s", upload_form, upload_form, goal=1.3),
    Case("PUT, 100 MB; theirs: form", 100, "MB/s", upload_raw, upload_form, goal=1.8),
    Case("PUT, 100 MB", 100, "MB/s", upload_raw, upload_raw),
    Case("download, 100 MB", 100, "MB/s", download, download),
    Case("form, 10 KB", MANY, "/s", upload_small, upload_small, goal=0.5),
    Case("list of 10", MANY, "/s", show_list, show_list, goal=0.85),
    Case("expiry", EXPIRED, "files/s", expire, remove_at_once, least=1),
]
