"""A shell over `sweep.remove_outdated`, for Django's own tasks (Django 6.0 and later).

from session_attachments.background_tasks import remove_outdated_attachments

remove_outdated_attachments.enqueue()
"""

from __future__ import annotations

import dataclasses

from django.tasks import task

from . import sweep
from .conf import duration


@task
def remove_outdated_attachments(
    older_than: str | float | None = None,
) -> dict[str, int]:
    """Remove what was not claimed for `older_than`, or for the site's lifetime.

    `older_than` is written as for the command: days, or `12h`. What was done is
    returned in files, and their `size` in bytes.
    """
    lifetime = None if older_than is None else duration(older_than)
    return dataclasses.asdict(sweep.remove_outdated(lifetime=lifetime))
