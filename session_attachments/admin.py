"""A list for the site's staff: what is there, and its removal.

Read-only but for that. There is no download: a file is its visitor's alone.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from .models import Attachment


@admin.register(Attachment)
class AttachmentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Neither the session's pin nor where the bytes are is shown."""

    list_display = (
        "name",
        "bundle_id",
        "state",
        "readable_size",
        "mimetype",
        "created",
    )
    list_filter = ("state", "created", "storage", "mimetype")
    search_fields = ("name", "bundle_id", "public_id")
    ordering = ("-pk",)
    show_full_result_count = False
    fields = (
        "name",
        "bundle_id",
        "state",
        "readable_size",
        "mimetype",
        "storage",
        "public_id",
        "created",
        "modified",
    )
    readonly_fields = fields

    @admin.display(description=_("size"), ordering="size")
    def readable_size(self, attachment: Attachment) -> str | None:
        """The size for people; it is known when the file is complete."""
        if attachment.created is None:
            return None
        return filesizeformat(attachment.size)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """What is not shown cannot be guessed either, by filters in the URL."""
        return lookup.partition("__")[0] in self.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
