"""What templates are given."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .conf import Conf


def filesize(request: HttpRequest) -> dict[str, Any]:
    """The largest file's size in MiB, as SESSION_ATTACHMENTS_MAX_FILE_SIZE."""
    return {Conf.max_file_size.name: Conf.max_file_size.raw}
