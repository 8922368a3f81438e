"""A shell over `sweep.remove_outdated`, for cron."""

from __future__ import annotations

import datetime
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from tqdm import tqdm

from session_attachments import sweep
from session_attachments.conf import Conf, duration


class Command(BaseCommand):
    """Removes attachments that nobody has claimed in time."""

    help = (
        "Removes attachments that were not claimed in time, uploads that were given "
        "up, and what is left of removed files. Safe to run at any time, as often as "
        "you like, on several machines at once."
    )
    # The disk must not fill up because of something else that is wrong with the site;
    # nor does cron want to hear its warnings every time.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            metavar="N",
            help="remove files that are older than N days; also 12h, 30m or 45s "
            f"(default: {Conf.lifetime.name})",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="only say how many files would be removed",
        )
        parser.add_argument(
            "--verbose", action="store_true", help="name every file, as -v 2 does"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        lifetime, now = _lifetime(options["older_than"]), timezone.now()
        quiet = options["verbosity"] < 1
        # A row that bills nothing has no file left, and waits for a late writer.
        files = sweep.outdated(lifetime=lifetime, now=now).exclude(reserved=0)
        if options["verbose"] or options["verbosity"] > 1:
            for row in files.iterator():
                self.stdout.write(
                    f"{row.bundle_id}/{row.name} ({row.get_state_display()})"
                )
        if options["dry_run"]:
            if not quiet:
                self.stdout.write(f"Would remove {_files(files.count())}.")
            return
        hidden = quiet or not (self.stdout.isatty() and sys.stderr.isatty())
        with tqdm(
            total=None if hidden else files.count(),
            unit="file",
            disable=hidden,
            leave=False,
        ) as progress:
            report = sweep.remove_outdated(
                lifetime=lifetime, now=now, advance=progress.update
            )
        if not quiet:
            self.stdout.write(
                f"Removed {_files(report.removed)}, {filesizeformat(report.size)}. "
                f"Expired: {report.expired}. Uploads given up: {report.abandoned}."
            )
        if report.failed:
            raise CommandError(
                f"{_files(report.failed)} could not be removed: the log says why. The "
                "next run tries again."
            )


def _lifetime(older_than: str | float | None) -> datetime.timedelta | None:
    if older_than is None:
        return None
    try:
        return duration(older_than)
    except ValueError as error:
        raise CommandError(f"--older-than: {error}") from error


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
