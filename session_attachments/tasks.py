"""A shell over `sweep.remove_outdated`, for Celery.

CELERY_BEAT_SCHEDULE = {
    "remove-outdated-attachments": {
        "task": "session_attachments.tasks.remove_outdated_attachments",
        "schedule": 15 * 60,
    },
}
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

from . import sweep
from .conf import duration

# Other task queues look for modules of this name in every app too, and end where one
# cannot be imported.
if find_spec("celery"):
    from celery import shared_task

    @shared_task(ignore_result=True)
    def remove_outdated_attachments(
        older_than: str | float | None = None,
    ) -> dict[str, int]:
        """Remove what was not claimed for `older_than`, or for the site's lifetime.

        `older_than` is written as for the command: days, or `12h`. What was done is
        returned in files, and their `size` in bytes.
        """
        lifetime = None if older_than is None else duration(older_than)
        return dataclasses.asdict(sweep.remove_outdated(lifetime=lifetime))
